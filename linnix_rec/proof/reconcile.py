"""Sets two recordings of one host beside each other: what has one that the other lacks? Knows no kernel.

Both saw whatever happened in their *common time*: from when the later one's last program was attached until
the earlier one stopped, which it notes before it detaches. Each reads the clock itself, so one event has two
times, microseconds apart, or as long as an interrupt or a hypervisor takes between two programs; the process
connector's messages are made later than the tracepoints' events, an exit's some way down do_exit(). So near
the ends of the common time an event may be within it by one clock alone. Events up to an *edge* outside are
matched, too, and what is in one only, less than an edge from either end, is counted as being there and never
called missing: 10 ms, with the process connector 100 ms.

An unfinished recording is taken to end a second before its last event: what its channel's buffers still held
came after that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.document import FAILURE, CaptureDocument, Filter
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.schema import EXEC, EXIT, FORK, GAP, KINDS
from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.proof.inversions import count_inversions
from linnix_rec.proof.reconcile_matching import (
    MATCHED_COLUMNS,
    Events,
    Flags,
    Takeover,
    Times,
    events_of,
    pair_takeovers,
    takeovers_of,
    unmatched,
)
from linnix_rec.proof.verdict import FIRST_OFFENCES, Inversions

EDGE_NS: Final = 10_000_000
CONNECTOR_EDGE_NS: Final = 100_000_000
UNFINISHED_NS: Final = 1_000_000_000
#: The kinds that are compared; a `task` event is the recorder's own.
COMPARED: Final = (FORK, EXEC, EXIT)
#: Two weeks of windows of 10 s.
WINDOWS_MAX: Final = 1 << 17
#: Later than any kernel has run, and far from where int64 ends.
_LATEST_NS: Final = 1 << 62

_CONNECTOR: Final = "connector"
_WHOLE_HOST: Final = "all"
_TOLD: Final = ("seq", "kind", "boot_ns", "tid", "tgid", "child_tid", "child_tgid", "comm")
BATCH_ROWS: Final = 1 << 16


@dataclass(frozen=True)
class Sighting:
    """An event that is in one capture only; `tid` and `tgid` are a fork's child's, `comm` who acted."""

    seq: int
    kind: str
    boot_ns: int
    tid: int
    tgid: int
    comm: str


@dataclass(frozen=True)
class Side:
    """One of the two captures.

    events: by kind, within the common time; alone: those of them that the other lacks, and the first of these
    lost, gaps: what the gaps of the whole recording count (`unit`), and how many there are
    lost_by_kind: events claimed in the kernel, and not here, of the whole recording; None if nobody counted
    largest_lag: events (or tickets) that its reader was behind at most, when it looked; None if nobody knows
    """

    source: str
    ordered: bool
    finished: bool
    events: Mapping[str, int]
    alone: Mapping[str, int]
    first: tuple[Sighting, ...]
    lost: int
    gaps: int
    lost_by_kind: Mapping[str, int] | None
    inversions: Inversions
    largest_lag: int | None = None


@dataclass(frozen=True)
class Window:
    """A part of the common time, ns since boot; pairs are of the first capture and the second.

    The last takes a rest that is shorter than half a window.
    events: there; alone: in that one only; lost: in gaps that were noticed then
    """

    from_ns: int
    end_ns: int
    events: tuple[int, int]
    alone: tuple[int, int]
    lost: tuple[int, int]
    both: int

    @property
    def share(self) -> float:
        """How much of all that either has is missing on the other side, 0 to 1."""
        missing = sum(self.alone)
        return missing / (missing + self.both) if missing else 0.0


@dataclass(frozen=True)
class Reconciliation:
    """What two captures have of their common time, ns since boot.

    both: events in both, by kind; at_edges: events in one only, too near the ends to be called missing
    """

    from_ns: int
    end_ns: int
    both: Mapping[str, int]
    at_edges: int
    sides: tuple[Side, Side]
    windows: tuple[Window, ...]

    def bad_windows(self, tolerance: float) -> list[bool]:
        """Say of each window whether more than a share `tolerance` (0 to 1) of its events is missing."""
        return [window.share > tolerance for window in self.windows]

    def longest_bad_run(self, tolerance: float) -> int:
        """Give how many windows in a row are bad, at most."""
        longest = run = 0
        for bad in self.bad_windows(tolerance):
            run = run + 1 if bad else 0
            longest = max(longest, run)
        return longest


def reconcile(a: Capture, b: Capture, *, window_ns: int) -> Reconciliation:
    """Compare two captures, window by window; raises UsageError if they can't be, UnreadableCaptureError."""
    for capture in (a, b):
        if lack := capture.lack():
            raise UnreadableCaptureError(f"{lack}: what they held would seem to be missing")
    _check_comparable(a, b)
    connector = _CONNECTOR in (a.document.source, b.document.source)
    edge_ns = CONNECTOR_EDGE_NS if connector else EDGE_NS
    from_ns, end_ns = _common_time(a, b)
    if end_ns - from_ns <= 2 * edge_ns:
        raise UsageError(
            f"{a.path} and {b.path} have no time in common, or less than {2 * edge_ns // 10**6} ms: "
            "record both at once, as by --shadow"
        )
    count = max(1, (end_ns - from_ns + window_ns // 2) // window_ns)
    if count > WINDOWS_MAX:
        raise UsageError(f"{count:,} windows are too many: take longer ones (--window)")
    time = _Time(from_ns, end_ns, edge_ns, window_ns, count)
    inversions = count_inversions(a), count_inversions(b)  # first, as it takes much memory for a while
    found_a, found_b = _read(a, time), _read(b, time)
    missing = unmatched(found_a.events, found_b.events, by_start=not connector)
    sides = (found_a.events, missing[0]), (found_b.events, missing[1])
    if b.document.source == _CONNECTOR != a.document.source:
        pair_takeovers(_takeovers(a), *sides)
    elif a.document.source == _CONNECTOR != b.document.source:
        pair_takeovers(_takeovers(b), *sides[::-1])
    return _compared((a, b), (found_a, found_b), inversions, missing, time)


# ---- whether they can be compared ----


def _check_comparable(a: Capture, b: Capture) -> None:
    here, there = a.document, b.document
    if here.host.boot_id != there.host.boot_id:
        hosts = here.host.hostname, there.host.hostname
        why = "hosts" if hosts[0] != hosts[1] else "boots of a host"
        raise UsageError(f"{a.path} and {b.path} are of different {why}: their events have nothing in common")
    if not _same_tasks(here.filter, there.filter):
        raise UsageError(
            f"{a.path} is of {_told_filter(here.filter)}, {b.path} of {_told_filter(there.filter)}: "
            "record the same with both"
        )


def _same_tasks(here: Filter, there: Filter) -> bool:
    if _WHOLE_HOST in (here.mode, there.mode):
        return here.mode == there.mode
    if here.pid is not None and there.pid is not None:
        return here.pid == there.pid
    return (here.mode, here.command) == (there.mode, there.command)


def _told_filter(wanted: Filter) -> str:
    if wanted.mode == _WHOLE_HOST:
        return "the whole host"
    return "a command's tree" if wanted.pid is None else f"the tree of pid {wanted.pid}"


def _common_time(a: Capture, b: Capture) -> tuple[int, int]:
    from_ns = max(capture.document.births_known_from_ns for capture in (a, b))
    return min(from_ns, _LATEST_NS), min(_end_ns(a), _end_ns(b), _LATEST_NS)


def _end_ns(capture: Capture) -> int:
    stopped = capture.document.stopped
    if stopped is not None and stopped.reason != FAILURE:
        return stopped.boot_ns
    last_ns = 0
    first_seq = capture.segments[-1].metadata.first_seq if capture.segments else 0
    for batch in capture.batches(["boot_ns"], first_seq=first_seq):
        known = columns.int64(batch, "boot_ns")[columns.valid(batch, "boot_ns")]
        last_ns = max(last_ns, int(known.max(initial=0)))
    return last_ns - UNFINISHED_NS


# ---- what is there ----


class _Time(NamedTuple):
    """The common time, its edge, and how it is divided."""

    from_ns: int
    end_ns: int
    edge_ns: int
    window_ns: int
    windows: int

    def inner(self, boot_ns: Times, edge_ns: int = 0) -> Flags:
        """Mark what is within, at least so far from its ends."""
        return (boot_ns >= self.from_ns + edge_ns) & (boot_ns < self.end_ns - edge_ns)

    def counted(self, boot_ns: Times, weights: NDArray[np.int64] | None = None) -> list[int]:
        """Count by window, or add up, what is within."""
        inner = self.inner(boot_ns)
        window = np.minimum((boot_ns[inner] - self.from_ns) // self.window_ns, self.windows - 1)
        totals = np.zeros(self.windows, np.int64)
        np.add.at(totals, window, 1 if weights is None else weights[inner])
        listed: list[int] = totals.tolist()
        return listed


class _Found(NamedTuple):
    """What a capture has: events up to an edge outside, and its gaps with what they count, (gaps,)."""

    events: Events
    gap_ns: Times
    lost: NDArray[np.int64]


def _read(capture: Capture, time: _Time) -> _Found:
    gaps = any(segment.metadata.rows.get("gap", 0) for segment in capture.segments)
    parts, gap_ns, lost = [], [], []
    latest_ns = capture.document.started.boot_ns
    names = (*MATCHED_COLUMNS, "lost") if gaps else MATCHED_COLUMNS
    for batch in capture.batches(names, batch_rows=BATCH_ROWS):
        parts.append(events_of(batch, time.from_ns - time.edge_ns, time.end_ns + time.edge_ns))
        if gaps:
            times, counts, latest_ns = _gaps_of(batch, latest_ns)
            gap_ns.append(times)
            lost.append(counts)
    nothing = np.zeros(0, np.int64)
    return _Found(Events.joined(parts), np.concatenate([nothing, *gap_ns]), np.concatenate([nothing, *lost]))


def _gaps_of(batch: pa.RecordBatch, latest_ns: int) -> tuple[Times, NDArray[np.int64], int]:
    """Give when each gap was noticed, by the row before it, what it counts, and the last row's time."""
    here = columns.kind_codes(batch) == GAP
    boot_ns = columns.int64(batch, "boot_ns")
    last = np.maximum.accumulate(np.where(here, -1, np.arange(here.size)))
    times = np.where(last >= 0, boot_ns[last], latest_ns)
    lost = np.minimum(columns.uint64(batch, "lost")[here], np.uint64(1 << 53)).astype(np.int64)
    return times[here], lost, int(times[-1])


def _takeovers(capture: Capture) -> Iterator[Takeover]:
    for batch in capture.batches(("kind", "tid", "old_tid"), kinds=("exec",), batch_rows=BATCH_ROWS):
        yield from takeovers_of(batch)


# ---- what it comes to ----


def _compared(
    captures: tuple[Capture, Capture],
    found: tuple[_Found, _Found],
    inversions: tuple[Inversions, Inversions],
    missing: tuple[Flags, Flags],
    time: _Time,
) -> Reconciliation:
    alone = tuple(
        side.events.only(flags & time.inner(side.events.boot_ns, time.edge_ns))
        for side, flags in zip(found, missing, strict=True)
    )
    at_edges = sum(
        int(np.count_nonzero(flags & time.inner(side.events.boot_ns))) - only.seq.size
        for side, flags, only in zip(found, missing, alone, strict=True)
    )
    matched = found[0].events.only(~missing[0] & time.inner(found[0].events.boot_ns))
    sides = [_side(*of_side, time) for of_side in zip(captures, found, alone, inversions, strict=True)]
    return Reconciliation(
        time.from_ns,
        time.end_ns,
        _by_kind(matched.kind),
        at_edges,
        (sides[0], sides[1]),
        tuple(_windows(found, (alone[0], alone[1]), matched, time)),
    )


def _side(capture: Capture, found: _Found, alone: Events, inversions: Inversions, time: _Time) -> Side:
    document = capture.document
    rows = [segment.metadata for segment in capture.segments]
    pruned = document.pruned
    return Side(
        source=document.source,
        ordered=document.ordered,
        finished=document.stopped is not None and document.stopped.reason != FAILURE,
        events=_by_kind(found.events.kind[time.inner(found.events.boot_ns)]),
        alone=_by_kind(alone.kind),
        first=tuple(_sightings(capture, alone.seq[:FIRST_OFFENCES].tolist())),
        lost=sum(sum(each.lost.values()) for each in rows) + (sum(pruned.lost.values()) if pruned else 0),
        gaps=sum(each.rows.get("gap", 0) for each in rows) + (pruned.rows.get("gap", 0) if pruned else 0),
        lost_by_kind=_lost_by_kind(document, capture),
        inversions=inversions,
        largest_lag=document.largest_lag,
    )


def _windows(
    found: tuple[_Found, _Found], alone: tuple[Events, Events], matched: Events, time: _Time
) -> Iterator[Window]:
    both = time.counted(matched.boot_ns)
    pairs = [
        list(zip(*counts, strict=True))
        for counts in (
            [time.counted(side.events.boot_ns) for side in found],
            [time.counted(events.boot_ns) for events in alone],
            [time.counted(side.gap_ns, side.lost) for side in found],
        )
    ]
    for number, (events, only, lost) in enumerate(zip(*pairs, strict=True)):
        from_ns = time.from_ns + number * time.window_ns
        end_ns = from_ns + time.window_ns if number + 1 < time.windows else time.end_ns
        yield Window(from_ns, end_ns, events, only, lost, both[number])


def _by_kind(kind: NDArray[np.uint8]) -> dict[str, int]:
    return {KINDS[code]: int(np.count_nonzero(kind == code)) for code in COMPARED}


def _lost_by_kind(document: CaptureDocument, capture: Capture) -> dict[str, int] | None:
    accounts, pruned = document.accounts, document.pruned
    if accounts is None or accounts.running or document.stopped is None or document.stopped.reason == FAILURE:
        return None
    lost = {}
    for code in COMPARED:
        kind = KINDS[code]
        kept = sum(segment.metadata.rows.get(kind, 0) for segment in capture.segments)
        gone = pruned.rows.get(kind, 0) if pruned else 0
        claimed = accounts.events[kind].claimed if kind in accounts.events else 0
        lost[kind] = max(0, claimed - kept - gone)
    return lost


def _sightings(capture: Capture, seqs: list[int]) -> Iterator[Sighting]:
    """Tell of events by their seqs, in order; those near each other are read at once."""
    while seqs:
        near = [seq for seq in seqs if seq < seqs[0] + BATCH_ROWS]
        for batch in capture.batches(_TOLD, first_seq=near[0], end_seq=near[-1] + 1):
            chosen = np.isin(columns.uint64(batch, "seq"), np.array(near, np.uint64))
            yield from map(_sighting, batch.filter(pa.array(chosen)).to_pylist())
        seqs = seqs[len(near) :]


def _sighting(row: Mapping[str, Any]) -> Sighting:
    of_child = "child_" if row["kind"] == KINDS[FORK] else ""
    tid, tgid = row[f"{of_child}tid"] or 0, row[f"{of_child}tgid"] or 0
    return Sighting(row["seq"], row["kind"], row["boot_ns"] or 0, tid, tgid, row["comm"] or "")
