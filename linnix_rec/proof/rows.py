"""The columns that the causal rules look at, as numpy, in batches of a useful size; knows no rule."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EXEC, GAP

#: Small batches are put together until they have as many rows: each batch costs some passes over the live.
ENOUGH_ROWS: Final = 1 << 16

#: The columns read; a reader may leave out the others.
CAUSAL_COLUMNS: Final = (
    "seq", "kind", "boot_ns", "tid", "tgid", "start_ns",
    "child_tid", "child_tgid", "child_start_ns", "old_tid", "last_thread",
)  # fmt: skip


def _tids(batch: pa.RecordBatch, name: str) -> NDArray[np.uint32]:
    return columns.int32(batch, name).view(np.uint32)


class Rows(NamedTuple):
    """Columns, each (n,). Thread ids are unsigned; where a column does not apply its value is arbitrary."""

    seq: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    boot_ns: NDArray[np.int64]
    tid: NDArray[np.uint32]
    tgid: NDArray[np.uint32]
    start_ns: NDArray[np.uint64]
    child_tid: NDArray[np.uint32]
    child_tgid: NDArray[np.uint32]
    child_start_ns: NDArray[np.uint64]
    old_tid: NDArray[np.uint32]
    last_thread: NDArray[np.bool_]
    takes_over: NDArray[np.bool_]


def rows_of(batch: pa.RecordBatch) -> Rows:
    """Give a batch's columns; views of it where they can be."""
    kind = columns.kind_codes(batch)
    tid = _tids(batch, "tid")
    old_tid = _tids(batch, "old_tid")
    takes_over = kind == EXEC
    if takes_over.any():
        takes_over &= old_tid != tid
    if takes_over.any():
        takes_over &= columns.valid(batch, "old_tid")
    return Rows(
        columns.uint64(batch, "seq"),
        kind,
        columns.int64(batch, "boot_ns"),
        tid,
        _tids(batch, "tgid"),
        columns.uint64(batch, "start_ns"),
        _tids(batch, "child_tid"),
        _tids(batch, "child_tgid"),
        columns.uint64(batch, "child_start_ns"),
        old_tid,
        # Null is "not known to be the last": a leader then may be waiting.
        columns.boolean(batch, "last_thread") & columns.valid(batch, "last_thread"),
        takes_over,
    )


def joined(parts: list[Rows]) -> Rows:
    """Give consecutive rows as one."""
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Gaps:
    """Where the gaps lie, and whose births they can hide.

    A fork took its ticket after its child's start_ns was set. So a gap hides no birth of an identity that
    started after the boot_ns of the first row behind the gap: that one's ticket was taken later still, and
    its boot_ns read after the ticket.
    """

    def __init__(self) -> None:
        self._count = 0
        self._horizon_ns = -1
        self._open = False  # the last row so far was a gap
        self._at: NDArray[np.intp] = np.zeros(0, np.intp)
        self._horizons_ns: NDArray[np.int64] = np.full(1, -1, np.int64)

    def take(self, rows: Rows) -> None:
        """Go on to these rows, that follow the last ones taken."""
        self._count += self._at.size
        here = rows.kind == GAP
        self._at = np.flatnonzero(here)
        if self._at.size == 0 and not self._open:
            self._horizons_ns = np.full(1, self._horizon_ns, np.int64)
            return
        others = np.flatnonzero(~here)
        behind = np.append(rows.boot_ns[others], np.int64(-1))  # -1: behind a gap that ends the batch
        starts = np.append(others[:0] if not self._open else np.zeros(1, np.intp), self._at)
        horizons = behind[np.searchsorted(others, starts)]
        if not self._open:
            horizons = np.append(np.int64(-1), horizons)
        horizons[0] = max(int(horizons[0]), self._horizon_ns)
        self._horizons_ns = np.maximum.accumulate(horizons)
        self._horizon_ns = int(self._horizons_ns[-1])
        self._open = bool(here[-1]) if here.size else self._open

    @property
    def horizon_ns(self) -> int:
        """The furthest horizon of all gaps so far; of one that nothing stands behind yet, there is none."""
        return (1 << 63) - 1 if self._open else self._horizon_ns

    def before(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Give how many gaps lie before rows of those taken last, and their horizons; (n,) each."""
        passed = np.searchsorted(self._at, rows)
        return passed + self._count, self._horizons_ns[passed]


def batches_of_rows(parts: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
    """Give a stream's rows in batches of at least ENOUGH_ROWS, but the last."""
    held: list[Rows] = []
    for batch in parts:
        held.append(rows_of(batch))
        if sum(rows.kind.size for rows in held) >= ENOUGH_ROWS:
            yield joined(held)
            held = []
    if held:
        yield joined(held)
