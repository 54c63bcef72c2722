"""Which process a task belongs to, for many tasks at once. Knows numbers only, no events.

A pid is reused, and a row of a thread names the process's id but not the start of its leader. Yet among
all processes with one id, the thread's is the one whose leader started last at or before the thread did:
a process's id is free only after its last thread has gone, and a start is read after the id was taken
(kernel/fork.c: copy_process()). A thread that takes the process over by exec inherits the leader's
start (fs/exec.c: de_thread()), so this holds across takeovers, whatever order the rows come in.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Stands for "no such process" in an array of process numbers.
NOBODY: Final = -1

_PID_SHIFT: Final = np.uint64(32)
_RANK_MASK: Final = np.uint64(0xFFFF_FFFF)


class Identities:
    """The processes that a set of leaders (`tgid`, `start_ns`) make up, numbered from 0.

    Processes of which only threads are known (a gap hides the leader) come from `leaderless`, process
    ids; they count as started before all others with the same id.
    """

    def __init__(
        self,
        tgid: NDArray[np.int32],
        start_ns: NDArray[np.uint64],
        leaderless: Sequence[NDArray[np.int32]] = (),
    ) -> None:
        self._starts = _distinct(start_ns)
        self._keys = _distinct(np.concatenate([self._key(tgid, start_ns), *map(_shifted, leaderless)]))

    def __len__(self) -> int:
        return self._keys.size

    def _key(self, tgid: NDArray[np.int32], start_ns: NDArray[np.uint64]) -> NDArray[np.uint64]:
        ranks = np.searchsorted(self._starts, start_ns, side="right").astype(np.uint64)
        return _shifted(tgid) | ranks

    def find(self, tgid: NDArray[np.int32], start_ns: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the process of each task (process id, own start), (n,) int64; `NOBODY` if unknown."""
        if not len(self):
            return np.full(tgid.size, NOBODY, np.int64)
        at = np.searchsorted(self._keys, self._key(tgid, start_ns), side="right") - 1
        known = (at >= 0) & (self._keys[at] >> _PID_SHIFT == _shifted(tgid) >> _PID_SHIFT)
        return np.where(known, at, NOBODY)

    @property
    def pids(self) -> NDArray[np.int32]:
        """Give each process's id, (n,) int32."""
        pids: NDArray[np.int32] = (self._keys >> _PID_SHIFT).astype(np.int32)
        return pids

    @property
    def starts_ns(self) -> NDArray[np.uint64]:
        """Give each leader's start, ns since boot, (n,) uint64; 0 where it is unknown."""
        by_rank = np.concatenate([np.zeros(1, np.uint64), self._starts])
        starts_ns: NDArray[np.uint64] = by_rank[self._keys & _RANK_MASK]
        return starts_ns


def _shifted(tgid: NDArray[np.int32]) -> NDArray[np.uint64]:
    shifted: NDArray[np.uint64] = tgid.astype(np.uint32).astype(np.uint64) << _PID_SHIFT
    return shifted


def _distinct(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sort values and drop the repeated; of numbers that come almost sorted far faster than np.unique."""
    ordered = np.sort(values)
    new = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]
