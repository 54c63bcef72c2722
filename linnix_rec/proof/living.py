"""Tasks as columns, and those that are alive between two batches; knows no rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tids = NDArray[np.uint32]
Starts = NDArray[np.uint64]
Flags = NDArray[np.bool_]


class Tasks(NamedTuple):
    """Mentions of tasks, in any order; columns (n,)."""

    tid: Tids
    tgid: Tids
    start_ns: Starts

    @staticmethod
    def nobody() -> "Tasks":
        """Give no mention."""
        return Tasks(np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros(0, np.uint64))

    def only(self, chosen: Flags | NDArray[np.intp]) -> "Tasks":
        """Give some of them, by a mask or by their places."""
        return Tasks(self.tid[chosen], self.tgid[chosen], self.start_ns[chosen])

    def identities(self, wanted: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Give those of the wanted identities (tid, start_ns) that are mentioned."""
        starts = np.fromiter((start_ns for _, start_ns in wanted), np.uint64, len(wanted))
        near = np.flatnonzero(np.isin(self.start_ns, starts))
        return wanted.intersection(zip(self.tid[near].tolist(), self.start_ns[near].tolist(), strict=True))


def joined_tasks(parts: Sequence[Tasks]) -> Tasks:
    """Give several parts as one."""
    return Tasks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Living:
    """Tasks that are alive, at most one a tid, sorted by that; columns (n,)."""

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
