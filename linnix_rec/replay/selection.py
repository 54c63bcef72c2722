"""Which events a question is about: by kind, process, thread, name, seq and time. Knows no files."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EXEC, FORK, GAP, KIND_CODES

Flags = NDArray[np.bool_]

#: What a selection may look at, to ask of a reader.
COLUMNS: Final = (
    *("seq", "kind", "boot_ns", "time", "tid", "tgid", "comm", "child_tid", "child_tgid", "old_tid"),
)


@dataclass(frozen=True)
class Bound:
    """A limit on one column (`time` in µs since 1970)."""

    column: Literal["seq", "boot_ns", "time"]
    value: int


@dataclass(frozen=True)
class Selection:
    """What to keep; None asks for nothing. Ranges are half-open: since ≤ event < until.

    A process's own fork belongs to it, and so does a thread's, although the forker did it. A gap
    may hide any event, so it is kept whatever is asked, unless by kind or outside of the range.
    """

    kinds: Collection[str] | None = None
    pid: int | None = None
    tid: int | None = None
    comm: str | None = None
    since: Bound | None = None
    until: Bound | None = None


class Selector:
    """Applies a selection to batches in order of seq."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._last_known: dict[str, int] = {}

    def select(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the batch's rows that are asked for."""
        keep = self._keep(batch)
        return batch if keep.all() else batch.filter(pa.array(keep))

    def _keep(self, batch: pa.RecordBatch) -> Flags:
        wanted = self._selection
        kinds = columns.kind_codes(batch)
        keep = np.ones(batch.num_rows, np.bool_)
        if wanted.pid is not None:
            keep &= _names_task(batch, kinds, wanted.pid, "tgid", "child_tgid")
        if wanted.tid is not None:
            keep &= _names_task(batch, kinds, wanted.tid, "tid", "child_tid")
            # A thread that takes over its process by exec ends as that thread.
            keep |= (kinds == EXEC) & (columns.int32(batch, "old_tid") == wanted.tid)
        if wanted.comm is not None:
            keep &= _matches(batch, "comm", wanted.comm)
        keep |= kinds == GAP
        if wanted.kinds is not None:
            keep &= np.isin(kinds, [KIND_CODES[kind] for kind in wanted.kinds])
        if wanted.since is not None:
            keep &= self._compare(batch, wanted.since, np.greater_equal)
        if wanted.until is not None:
            keep &= self._compare(batch, wanted.until, np.less)
        return keep

    def _compare(self, batch: pa.RecordBatch, bound: Bound, holds: Callable[..., Flags]) -> Flags:
        if bound.column == "seq":
            return holds(columns.uint64(batch, "seq"), bound.value)
        return holds(self._times(batch, bound.column), bound.value)

    def _times(self, batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
        """Give a column of times, in which a gap has that of the event before it."""
        values = columns.microseconds(batch, name) if name == "time" else columns.int64(batch, name)
        known = columns.valid(batch, name)
        latest = np.maximum.accumulate(np.where(known, np.arange(known.size), -1))
        before = self._last_known.get(name, np.iinfo(np.int64).min)
        filled = np.where(latest >= 0, values[latest], before)
        if filled.size:
            self._last_known[name] = int(filled[-1])
        return filled


def _names_task(batch: pa.RecordBatch, kinds: NDArray[np.uint8], number: int, own: str, child: str) -> Flags:
    flags: Flags = columns.int32(batch, own) == number
    flags |= (kinds == FORK) & (columns.int32(batch, child) == number)
    return flags


def _matches(batch: pa.RecordBatch, name: str, glob: str) -> Flags:
    indices, dictionary = columns.names(batch, name)
    fits = np.array([fnmatchcase(text, glob) for text in dictionary] or [False], np.bool_)
    flags: Flags = fits[np.clip(indices, 0, fits.size - 1)] & columns.valid(batch, name)
    return flags
