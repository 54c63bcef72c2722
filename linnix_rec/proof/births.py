"""Remembers the newest births exactly, in bounded memory; knows no rule and no row.

A birth is an identity (tid, start_ns). Start times come nearly in stream order, so what is remembered is
a window of the last births, and `floor`: of identities that started later than `floor` everything is
known, of the others nothing may be. Who needs to know more reads the capture again.
"""

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
Marks = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class _Chunk:
    """Births sorted by start_ns, all columns (n,), n > 0. Chunks hardly overlap: most say no at once."""

    def __init__(self, start_ns: Starts, tid: Tids, marks: Marks) -> None:
        self.start_ns, self.tid, self.marks = start_ns, tid, marks
        self.first_ns, self.last_ns = int(start_ns[0]), int(start_ns[-1])

    def place(self, tid: int, start_ns: int) -> int | None:
        at, end = (int(self.start_ns.searchsorted(np.uint64(start_ns), side)) for side in ("left", "right"))
        here = np.flatnonzero(self.tid[at:end] == tid)
        return at + int(here[0]) if here.size else None


def _joined(*chunks: tuple[Starts, Tids, Marks]) -> _Chunk:
    start_ns, tid, marks = (np.concatenate(column) for column in zip(*chunks, strict=True))
    order = np.argsort(start_ns, kind="stable")
    return _Chunk(start_ns[order], tid[order], marks[order])


class BirthWindow:
    """The newest births. Rows of one batch are noted one by one or added at once, then `slide`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._chunk_births = min(_CHUNK, capacity // 16)
        self._chunks: list[_Chunk] = []
        self._noted: dict[tuple[int, int], int] = {}
        self._latest_ns = -1
        #: Everything is known of identities with start_ns > floor.
        self.floor = -1

    def marks(self, tid: int, start_ns: int) -> int | None:
        """Give what is known of an identity, or None if it is not in the window."""
        noted = self._noted.get((tid, start_ns))
        if noted is not None:
            return noted
        found = self._find(tid, start_ns)
        return None if found is None else int(found[0].marks[found[1]])

    def note(self, tid: int, start_ns: int, mark: int) -> None:
        """Add a mark to an identity, which enters the window if it was not there."""
        found = self._find(tid, start_ns)
        if found is None:
            self._noted[tid, start_ns] = self._noted.get((tid, start_ns), 0) | mark
        else:
            found[0].marks[found[1]] |= mark

    def _find(self, tid: int, start_ns: int) -> tuple[_Chunk, int] | None:
        if start_ns > self._latest_ns:
            return None
        for chunk in self._chunks:
            if chunk.first_ns <= start_ns <= chunk.last_ns:
                at = chunk.place(tid, start_ns)
                if at is not None:
                    return chunk, at
        return None

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
        first_ns = int(start_ns[0])
        for chunk in self._chunks:
            if chunk.last_ns >= first_ns:
                known = chunk.start_ns[np.searchsorted(chunk.start_ns, start_ns[0]) :]
                near = slice(0, int(np.searchsorted(start_ns, known[-1], side="right")))
                place = np.searchsorted(known, start_ns[near])
                found[near] |= known[place] == start_ns[near]
        return found

    def slide(self, start_ns: Starts, tid: Tids) -> None:
        """Add a batch's forks, sorted by start_ns, and what was noted; forget the oldest beyond capacity."""
        parts = []
        if self._noted:
            noted = np.array(list(self._noted), np.uint64).reshape(-1, 2)
            marks = np.array(list(self._noted.values()), np.uint8)
            parts.append((noted[:, 1], noted[:, 0].astype(np.uint32), marks))
            self._noted.clear()
        if start_ns.size:
            parts.append((start_ns, tid, np.full(start_ns.size, FORKED, np.uint8)))
        # Few and large chunks: a lookup asks each.
        if parts and self._chunks and self._chunks[-1].tid.size < self._chunk_births:
            last = self._chunks.pop()
            parts.append((last.start_ns, last.tid, last.marks))
        if parts:
            self._chunks.append(_joined(*parts))
            self._latest_ns = max(self._latest_ns, self._chunks[-1].last_ns)
        while self._chunks and sum(chunk.tid.size for chunk in self._chunks[1:]) >= self._capacity:
            self.floor = max(self.floor, self._chunks.pop(0).last_ns)
