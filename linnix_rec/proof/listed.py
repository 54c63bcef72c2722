"""What stands in and behind a listing of the tasks, as columns; knows no rule.

A listing is one run of the kernel's task iterator: `task` rows among other events, from one ticket to
another. It is read on its own, so the main reading of a capture is spared its columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.document import Listing
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.schema import EXIT, FORK, TASK
from linnix_rec.proof.living import Flags, Tasks, Tids, joined_tasks
from linnix_rec.proof.rows import CAUSAL_COLUMNS, Gaps, rows_of

#: No kernel has more tasks (PID_MAX_LIMIT, include/linux/threads.h): more rows are no listing.
MAX_ROWS: Final = 1 << 22

_PF_EXITING: Final = 0x4
_STATE_COLUMNS: Final = ("exit_state", "task_flags", "cpu_ns")

Seqs = NDArray[np.uint64]


class Listed(NamedTuple):
    """The tasks of a listing, and what the kernel says of each, (n,).

    running: neither dead nor exiting, dead: exited, has_run: it has used CPU time
    """

    seq: Seqs
    tasks: Tasks
    running: Flags
    dead: Flags
    has_run: Flags


class Events(NamedTuple):
    """What else stands there: exits, the children of forks, and the processes that may be taken over."""

    exit_seq: Seqs
    exits: Tasks
    births: Tasks
    taken_over: Tids


_NO_SEQ: Final = np.zeros(0, np.uint64)
_NO_FLAG: Final = np.zeros(0, np.bool_)
_NOBODY: Final = Listed(_NO_SEQ, Tasks.nobody(), _NO_FLAG, _NO_FLAG, _NO_FLAG)
_NOTHING: Final = Events(_NO_SEQ, Tasks.nobody(), Tasks.nobody(), np.zeros(0, np.uint32))


def is_there(capture: Capture, listing: Listing) -> bool:
    """Say whether all tickets of a listing are in the capture's files, as rows or as gaps."""
    kept_from, end = capture.document.kept_from_seq, 0
    if capture.segments:
        end = max(segment.metadata.end_seq for segment in capture.segments)
    missing = any(
        entry.first_seq < listing.end_seq and listing.first_seq < entry.end_seq for entry in capture.missing
    )
    return kept_from <= listing.first_seq <= listing.end_seq <= max(end, kept_from) and not missing


def read_listed(capture: Capture, listing: Listing) -> Listed | None:
    """Read a listing's tasks alone; None if they are more than there can be."""
    names, listed, rows = ("seq", "kind", "tid", "tgid", "start_ns", *_STATE_COLUMNS), [_NOBODY], 0
    for batch in _batches(capture, names, listing.first_seq, listing.end_seq):
        rows += batch.num_rows
        if rows > MAX_ROWS:
            return None
        listed.append(_listed(batch))
    return _joined(listed)


def read_listing(capture: Capture, listing: Listing, gaps: Gaps) -> tuple[Listed, Events] | None:
    """Read a listing's tasks, and what else happened meanwhile; None if it is more than there can be.

    `gaps` takes all of it.
    """
    names = (*CAUSAL_COLUMNS, *_STATE_COLUMNS)
    listed, happened, rows = [_NOBODY], [_NOTHING], 0
    for batch in _batches(capture, names, listing.first_seq, listing.end_seq):
        rows += batch.num_rows
        if rows > MAX_ROWS:
            return None
        listed.append(_listed(batch))
        happened.append(_events(batch, gaps))
    exit_seq, exits, births, taken_over = zip(*happened, strict=True)
    events = Events(
        np.concatenate(exit_seq), joined_tasks(exits), joined_tasks(births), np.concatenate(taken_over)
    )
    return _joined(listed), events


def read_behind(capture: Capture, seq: int, gaps: Gaps) -> Iterator[Events]:
    """Read what happened from a ticket on, a batch at a time; `gaps` takes it too."""
    for batch in _batches(capture, CAUSAL_COLUMNS, seq, None):
        yield _events(batch, gaps)


def _batches(
    capture: Capture, names: Sequence[str], first_seq: int, end_seq: int | None
) -> Iterator[pa.RecordBatch]:
    # Opening a segment costs some milliseconds: only those that say they hold such tickets. Should they
    # lie, `sequence` or `digest` breaks.
    near = tuple(
        segment
        for segment in capture.segments
        if first_seq < segment.metadata.end_seq and (end_seq is None or segment.metadata.first_seq < end_seq)
    )
    return replace(capture, segments=near).batches(names, first_seq=first_seq, end_seq=end_seq)


def _joined(parts: list[Listed]) -> Listed:
    seq, tasks, *flags = zip(*parts, strict=True)
    return Listed(np.concatenate(seq), joined_tasks(tasks), *(np.concatenate(column) for column in flags))


def _events(batch: pa.RecordBatch, gaps: Gaps) -> Events:
    rows = rows_of(batch)
    gaps.take(rows)
    born = Tasks(rows.child_tid, rows.child_tgid, rows.child_start_ns).only(rows.kind == FORK)
    exits = rows.kind == EXIT
    exited = Tasks(rows.tid, rows.tgid, rows.start_ns).only(exits)
    taken_over = rows.takes_over | (exits & ~rows.last_thread & (rows.tid == rows.tgid))
    return Events(rows.seq[exits], exited, born, rows.tgid[taken_over])


def _listed(batch: pa.RecordBatch) -> Listed:
    here = columns.kind_codes(batch) == TASK
    tid, tgid = (columns.int32(batch, name).view(np.uint32) for name in ("tid", "tgid"))
    state, flags = columns.uint32(batch, "exit_state"), columns.uint32(batch, "task_flags")
    told = columns.valid(batch, "exit_state") & columns.valid(batch, "task_flags")
    return Listed(
        columns.uint64(batch, "seq")[here],
        Tasks(tid, tgid, columns.uint64(batch, "start_ns")).only(here),
        (told & (state == 0) & (flags & _PF_EXITING == 0))[here],
        (told & (state != 0))[here],
        (columns.valid(batch, "cpu_ns") & (columns.uint64(batch, "cpu_ns") > 0))[here],
    )
