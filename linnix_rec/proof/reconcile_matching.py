"""Finds which events of two captures are in one only, by task and kind; knows no file and no window.

An event is a task's fork, exec or exit: (kind, tid, start_ns), of a fork the child's. Of each such key one
side may have more than the other: only so many are missing there, and these are taken to be those that are
farthest in time from any of the other's. Forks and exits mostly have one of a key, so there is nothing to
choose.

Memory is some 80 bytes an event, of both sides together.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EXEC, EXIT, FORK

#: The columns read; a reader may leave out the others.
MATCHED_COLUMNS = ("seq", "kind", "boot_ns", "tid", "start_ns", "child_tid", "child_start_ns")

Flags = NDArray[np.bool_]
Numbers = NDArray[np.intp]
Times = NDArray[np.int64]

#: Farther than any two events are.
_FAR = np.int64((1 << 62) - 1)


class Events(NamedTuple):
    """Forks, execs and exits of one capture, columns (n,); `tid` and `start_ns` are a fork's child's."""

    seq: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    tid: NDArray[np.int32]
    start_ns: NDArray[np.uint64]
    boot_ns: Times

    def only(self, chosen: Flags) -> "Events":
        """Give some of them."""
        seq, kind, tid, start_ns, boot_ns = self
        return Events(seq[chosen], kind[chosen], tid[chosen], start_ns[chosen], boot_ns[chosen])

    @staticmethod
    def joined(parts: "list[Events]") -> "Events":
        """Give several parts as one, in their order."""
        return Events(*map(np.concatenate, zip(_NOTHING, *parts, strict=True)))


_NOTHING = Events(
    np.zeros(0, np.uint64),
    np.zeros(0, np.uint8),
    np.zeros(0, np.int32),
    np.zeros(0, np.uint64),
    np.zeros(0, np.int64),
)


def events_of(batch: pa.RecordBatch, from_ns: int, end_ns: int) -> Events:
    """Take a batch's forks, execs and exits of some time."""
    kind, boot_ns = columns.kind_codes(batch), columns.int64(batch, "boot_ns")
    at = np.flatnonzero((kind >= FORK) & (kind <= EXIT) & (boot_ns >= from_ns) & (boot_ns < end_ns))
    kind = kind[at]
    is_fork = kind == FORK
    return Events(
        columns.uint64(batch, "seq")[at],
        kind,
        np.where(is_fork, columns.int32(batch, "child_tid")[at], columns.int32(batch, "tid")[at]),
        np.where(is_fork, columns.uint64(batch, "child_start_ns")[at], columns.uint64(batch, "start_ns")[at]),
        boot_ns[at],
    )


def unmatched(a: Events, b: Events, *, by_start: bool = True) -> tuple[Flags, Flags]:
    """Say of each event of either side whether it is missing on the other; (n,) each.

    Not `by_start` if one side knows no start of a task: then a thread id and the time must do.
    """
    of_b = np.zeros(a.seq.size + b.seq.size, np.bool_)
    of_b[a.seq.size :] = True
    group = _keys(a, b, by_start=by_start)
    groups = int(group.max(initial=-1)) + 1
    in_b = np.bincount(group[of_b], minlength=groups)
    surplus = np.bincount(group[~of_b], minlength=groups) - in_b  # of a; below 0, of b
    missing = (surplus != 0)[group]
    missing &= of_b == (surplus < 0)[group]
    # Where the other side has some of a key, but fewer, it is to be chosen which are missing.
    at = np.flatnonzero(((surplus > 0) & (in_b > 0) | (surplus < 0) & (in_b + surplus > 0))[group])
    if at.size:
        boot_ns = np.concatenate((a.boot_ns, b.boot_ns))[at]
        missing[at] = _farthest(group[at], missing[at], boot_ns, np.abs(surplus))
    return missing[: a.seq.size], missing[a.seq.size :]


class Takeover(NamedTuple):
    """An exec by a thread that became its process's leader: its old thread id, and its new one."""

    old_tid: int
    tid: int


def takeovers_of(batch: pa.RecordBatch) -> Iterator[Takeover]:
    """Give a batch's takeovers; it has `kind`, `tid` and `old_tid`."""
    tid, old_tid = columns.int32(batch, "tid"), columns.int32(batch, "old_tid")
    here = (columns.kind_codes(batch) == EXEC) & (old_tid != tid) & columns.valid(batch, "old_tid")
    yield from map(Takeover, old_tid[here].tolist(), tid[here].tolist())


def pair_takeovers(
    takeovers: Iterable[Takeover], traced: tuple[Events, Flags], heard: tuple[Events, Flags]
) -> None:
    """Take away from what is missing on either side the exits of leaders that were taken over.

    The exit of such a leader is traced with its thread id, and the process connector tells of it when the
    thread that took its place has exchanged ids with it: with that one's old id (fs/exec.c: de_thread()).
    """
    of_leaders, of_takers = _missing_exits(*traced), _missing_exits(*heard)
    for old_tid, tid in takeovers:
        if of_leaders[tid] and of_takers[old_tid]:
            traced[1][of_leaders[tid].pop()] = False
            heard[1][of_takers[old_tid].pop()] = False


def _missing_exits(events: Events, missing: Flags) -> defaultdict[int, list[int]]:
    """Give the places of exits that are missing, by thread id, the last first."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(missing & (events.kind == EXIT))[::-1].tolist():
        places[int(events.tid[place])].append(place)
    return places


def _keys(a: Events, b: Events, *, by_start: bool) -> Numbers:
    """Number the keys; give that of each event, those of `b` behind those of `a`."""
    who = np.concatenate((a.tid, b.tid)).view(np.uint32).astype(np.uint64)
    who <<= np.uint64(8)
    who |= np.concatenate((a.kind, b.kind))
    if by_start:
        start_ns = np.concatenate((a.start_ns, b.start_ns))
        order = np.lexsort((who, start_ns))
        start_ns = start_ns[order]
        heads = start_ns[1:] != start_ns[:-1]
        del start_ns
    else:
        order = np.argsort(who, kind="stable")
        heads = np.zeros(max(0, order.size - 1), np.bool_)
    who = who[order]
    heads |= who[1:] != who[:-1]
    del who
    group = np.empty(order.size, np.intp)
    group[order[:1]] = 0
    group[order[1:]] = np.cumsum(heads)
    return group


def _farthest(group: Numbers, more: Flags, boot_ns: Times, surplus: Numbers) -> Flags:
    """Choose, of each key, `surplus` events of the side that has `more`: the farthest from the other's."""
    order = np.lexsort((boot_ns, group))
    group, more, boot_ns = group[order], more[order], boot_ns[order]
    distance = np.minimum(_since_other(group, more, boot_ns), _until_other(group, more, boot_ns))
    distance[~more] = -1
    by_distance = np.lexsort((-distance, group))
    sorted_group = group[by_distance]
    first = np.searchsorted(sorted_group, sorted_group)
    rank = np.arange(order.size) - first
    chosen = np.empty(order.size, np.bool_)
    chosen[order[by_distance]] = rank < surplus[sorted_group]
    return chosen


def _since_other(group: Numbers, more: Flags, boot_ns: Times) -> Times:
    """Give how long before each event the last one of the other side was, of the same key."""
    last = np.maximum.accumulate(np.where(more, -1, np.arange(group.size)))
    known = (last >= 0) & (group[last] == group)
    return np.where(known, boot_ns - boot_ns[last], _FAR)


def _until_other(group: Numbers, more: Flags, boot_ns: Times) -> Times:
    since = _since_other(group[::-1], more[::-1], -boot_ns[::-1])
    return since[::-1]
