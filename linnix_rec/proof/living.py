"""The tasks that are alive between two batches, at most one a tid, as sorted columns; knows no rule."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tids = NDArray[np.uint32]
Starts = NDArray[np.uint64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Living:
    """Tasks sorted by tid, each tid once; columns (n,)."""

    tid: Tids
    start_ns: Starts
    tgid: Tids

    @staticmethod
    def nobody() -> "Living":
        """Give an empty table."""
        return Living(np.zeros(0, np.uint32), np.zeros(0, np.uint64), np.zeros(0, np.uint32))

    def find(self, tid: Tids) -> tuple[NDArray[np.intp], Flags]:
        """Give the places of tids (sorted is quicker), and which of them are there at all; (n,) each."""
        if self.tid.size == 0:
            return np.zeros(tid.size, np.intp), np.zeros(tid.size, np.bool_)
        place = np.searchsorted(self.tid, tid)
        place[place == self.tid.size] = 0
        return place, self.tid[place] == tid

    def replaced(self, gone: Flags, tid: Tids, start_ns: Starts, tgid: Tids) -> "Living":
        """Give the table without those `gone` ((n,) bool), and with others, in any order."""
        stay = ~gone
        tids = np.concatenate((self.tid[stay], tid))
        order = np.argsort(tids, kind="stable")
        return Living(
            tids[order],
            np.concatenate((self.start_ns[stay], start_ns))[order],
            np.concatenate((self.tgid[stay], tgid))[order],
        )
