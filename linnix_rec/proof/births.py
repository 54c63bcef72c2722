"""Remembers the newest births exactly, in bounded memory; knows no rule and no row.

A birth is an identity (tid, start_ns). Start times come nearly in stream order, so what is remembered is
a window of the last births, and `floor`: of identities that started later than `floor` everything is
known, of the others nothing may be. Who needs to know more reads the capture again.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: What is known of an identity in the window. 0: it acted, and no fork of it was seen.
FORKED: Final = 1
TAKEN: Final = 2  # it took over its process, and so ended without an exit

#: Births remembered: 13 bytes each, some seconds of the fastest fork storm.
CAPACITY: Final = 1 << 18
_CHUNK: Final = 1 << 14

Starts = NDArray[np.uint64]
Tids = NDArray[np.uint32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class _Chunk:
    """Births sorted by start_ns, all columns (n,)."""

    start_ns: Starts
    tid: Tids
    marks: NDArray[np.uint8]

    def place(self, tid: int, start_ns: int) -> int | None:
        first = np.searchsorted(self.start_ns, np.uint64(start_ns))
        end = np.searchsorted(self.start_ns, np.uint64(start_ns), side="right")
        for at in range(int(first), int(end)):
            if self.tid[at] == tid:
                return at
        return None


def _sorted_chunk(start_ns: Starts, tid: Tids, marks: NDArray[np.uint8]) -> _Chunk:
    order = np.argsort(start_ns)
    return _Chunk(start_ns[order], tid[order], marks[order])


class BirthWindow:
    """The newest births. Rows of one batch are noted one by one or added at once, then `slide`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._chunk = min(_CHUNK, capacity // 16)
        self._chunks: list[_Chunk] = []
        self._noted: dict[tuple[int, int], int] = {}
        #: Everything is known of identities with start_ns > floor.
        self.floor = -1

    def marks(self, tid: int, start_ns: int) -> int | None:
        """Give what is known of an identity, or None if it is not in the window."""
        noted = self._noted.get((tid, start_ns))
        if noted is not None:
            return noted
        for chunk in self._chunks:
            at = chunk.place(tid, start_ns)
            if at is not None:
                return int(chunk.marks[at])
        return None

    def note(self, tid: int, start_ns: int, mark: int) -> None:
        """Add a mark to an identity, which enters the window if it was not there."""
        for chunk in self._chunks:
            at = chunk.place(tid, start_ns)
            if at is not None:
                chunk.marks[at] |= mark
                return
        self._noted[tid, start_ns] = self._noted.get((tid, start_ns), 0) | mark

    def suspects(self, start_ns: Starts) -> Flags:
        """Say of start times, sorted, which may be known already, or are too old to tell; (n,) bool."""
        found = np.zeros(start_ns.size, np.bool_)
        if start_ns.size == 0:
            return found
        same = start_ns[1:] == start_ns[:-1]
        found[1:] |= same
        found[:-1] |= same
        if self.floor >= 0:
            found |= start_ns <= np.uint64(self.floor)
        for chunk in self._chunks:
            if chunk.start_ns[-1] >= start_ns[0]:
                known = chunk.start_ns[np.searchsorted(chunk.start_ns, start_ns[0]) :]
                near = slice(0, int(np.searchsorted(start_ns, known[-1], side="right")))
                place = np.searchsorted(known, start_ns[near])
                found[near] |= known[place] == start_ns[near]
        return found

    def slide(self, start_ns: Starts, tid: Tids) -> None:
        """Add a batch's forks, sorted by start_ns, and what was noted; forget the oldest beyond capacity."""
        if self._noted:
            noted = np.array(list(self._noted), np.uint64).reshape(-1, 2)
            self._append(
                _sorted_chunk(
                    noted[:, 1], noted[:, 0].astype(np.uint32), np.array(list(self._noted.values()), np.uint8)
                )
            )
            self._noted.clear()
        if start_ns.size:
            self._append(_Chunk(start_ns, tid, np.full(start_ns.size, FORKED, np.uint8)))
        while self._chunks and sum(chunk.tid.size for chunk in self._chunks[1:]) >= self._capacity:
            self.floor = max(self.floor, int(self._chunks.pop(0).start_ns[-1]))

    def _append(self, chunk: _Chunk) -> None:
        # Few and large chunks: a lookup asks each.
        if self._chunks and self._chunks[-1].tid.size + chunk.tid.size <= self._chunk:
            last = self._chunks.pop()
            chunk = _sorted_chunk(
                np.concatenate((last.start_ns, chunk.start_ns)),
                np.concatenate((last.tid, chunk.tid)),
                np.concatenate((last.marks, chunk.marks)),
            )
        self._chunks.append(chunk)
