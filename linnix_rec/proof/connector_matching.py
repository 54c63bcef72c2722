"""Cancels events against messages as multisets of (kind, thread id, process id); knows no file and no window.

A thread id comes back when it is reused, and an exec can follow the other: so it is counted how often a key
occurs on either side. The sides are fed in turns, in their order, and what has cancelled out is forgotten:
memory is that of what is unmatched.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EXEC, EXIT, FORK

#: So many keys that do not agree are held; beyond, comparing ends.
UNMATCHED_KEYS: Final = 1 << 22

_TID_BITS: Final = 31
_TID_MASK: Final = np.uint64((1 << _TID_BITS) - 1)

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]


class Key(NamedTuple):
    """A kind, and whom it is about: the new task of a fork, else who acts."""

    kind: int
    tid: int
    tgid: int


def keys_of(kind: NDArray[np.uint8], tid: NDArray[np.int32], tgid: NDArray[np.int32]) -> Keys:
    """Pack columns, (n,) each."""
    packed: Keys = kind.astype(np.uint64) << np.uint64(2 * _TID_BITS)
    packed |= (tid.astype(np.uint64) & _TID_MASK) << np.uint64(_TID_BITS)
    packed |= tgid.astype(np.uint64) & _TID_MASK
    return packed


def kinds_of(keys: Keys) -> Keys:
    """Give the kinds of packed keys, (n,)."""
    kinds: Keys = keys >> np.uint64(2 * _TID_BITS)
    return kinds


def unpacked(keys: Keys) -> list[Key]:
    """Give packed keys as tuples."""
    kinds = kinds_of(keys).tolist()
    tids = (keys >> np.uint64(_TID_BITS) & _TID_MASK).tolist()
    tgids = (keys & _TID_MASK).tolist()
    return [Key(*parts) for parts in zip(kinds, tids, tgids, strict=True)]


@dataclass(frozen=True)
class Side:
    """Some forks, execs and exits of one side, columns (n,)."""

    keys: Keys
    tid: NDArray[np.int32]
    boot_ns: NDArray[np.int64]
    actor_tid: NDArray[np.int32]

    @property
    def last_ns(self) -> int:
        """The latest time, -1 if there is none."""
        return int(self.boot_ns.max()) if len(self.boot_ns) else -1

    def where(self, wanted: NDArray[np.bool_]) -> "Side":
        """Give some of them, by (n,) bool."""
        return Side(self.keys[wanted], self.tid[wanted], self.boot_ns[wanted], self.actor_tid[wanted])


def side_of(batch: pa.RecordBatch, kind: NDArray[np.uint8]) -> Side:
    """Take a batch's forks, execs and exits, by each row's kind.

    Works for events and for messages: the columns have the same names.
    """
    at = np.flatnonzero((kind == FORK) | (kind == EXEC) | (kind == EXIT))
    kind = kind[at]
    is_fork = kind == FORK
    actor_tid, actor_tgid = (columns.int32(batch, name)[at] for name in ("tid", "tgid"))
    tid = np.where(is_fork, columns.int32(batch, "child_tid")[at], actor_tid)
    tgid = np.where(is_fork, columns.int32(batch, "child_tgid")[at], actor_tgid)
    boot_ns = columns.int64(batch, "boot_ns")[at]
    return Side(keys_of(kind, tid, tgid), tid, boot_ns, actor_tid)


class Surplus:
    """Which keys occur more often on one side, and by how much: above 0 events, below 0 messages."""

    def __init__(self) -> None:
        self.keys: Keys = np.zeros(0, np.uint64)
        self.counts: Counts = np.zeros(0, np.int64)

    @property
    def overflows(self) -> bool:
        """Whether more keys disagree than are held in memory."""
        return len(self.keys) > UNMATCHED_KEYS

    def add(self, keys: Keys, sign: int) -> None:
        """Count events (sign 1) or messages (sign -1)."""
        every = np.concatenate((self.keys, keys))
        counts = np.concatenate((self.counts, np.full(len(keys), sign, np.int64)))
        order = np.argsort(every, kind="stable")
        every, counts = every[order], counts[order]
        first = np.flatnonzero(np.append(True, every[1:] != every[:-1])) if len(every) else order
        sums = np.add.reduceat(counts, first) if len(first) else counts
        left = sums != 0
        self.keys, self.counts = every[first][left], sums[left]
