"""Reads a capture, whole, damaged or unfinished; knows no rule about events, only files.

What can be read is read; where the files are not what was written, `Capture.findings` says so. What can't
be read raises `UnreadableCaptureError` with the file's name. Nothing in a file is believed: types, nulls
and text are checked on the way in, so a consumer meets EVENT_SCHEMA (of a capture with syscalls or failed
execs, WIDE_SCHEMA) or that error.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from linnix_rec.capture import columns as views
from linnix_rec.capture import limits
from linnix_rec.capture.digest import Finding, SegmentFile, compare_files, sha256_of
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, Segment
from linnix_rec.capture.opening import open_file
from linnix_rec.capture.pages import RowGroup, check_pages, read_footer, read_row_groups
from linnix_rec.capture.parquet import SegmentMetadata, parquet_file
from linnix_rec.capture.retention import is_leftover
from linnix_rec.capture.schema import EVENT_SCHEMA, SYSCALL_COLUMNS, WIDE_SCHEMA
from linnix_rec.capture.text import printable
from linnix_rec.capture.values import check_values
from linnix_rec.errors import UnreadableCaptureError

__all__ = ["Capture", "Finding", "SegmentFile", "adopted", "open_capture"]

BATCH_ROWS: Final = 1 << 16
#: How often to look again, should retention remove a segment between capture.json and the look at it.
_LOOKS: Final = 5
#: So many missing segments are named in one line.
_NAMED_MISSING: Final = 3

#: What pyarrow raises on a file that is not what it says it is; ArrowException covers most.
_DAMAGE: Final = (OSError, pa.ArrowException, ValueError, TypeError, KeyError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Capture:
    """An opened capture: `segments` hold its events, in seq order; `strays` are other Parquet files."""

    path: Path
    document: CaptureDocument
    segments: tuple[SegmentFile, ...]
    strays: tuple[Path, ...] = ()

    @property
    def missing(self) -> tuple[Segment, ...]:
        """The segments that capture.json lists and that are not there: known without reading any."""
        there = {segment.path.name for segment in self.segments}
        return tuple(entry for entry in self.document.segments if entry.name not in there)

    @property
    def missing_tickets(self) -> int:
        """How many tickets the missing segments took with them."""
        return sum(max(0, entry.end_seq - entry.first_seq) for entry in self.missing)

    def lack(self) -> str:
        """Say which segments are missing, with their tickets, in one line; empty if all are there.

        `batches` passes over them: whoever reads must ask for this, and say it.
        """
        named = [
            f"{entry.name} (tickets {entry.first_seq} to {entry.end_seq - 1})"
            for entry in self.missing[:_NAMED_MISSING]
        ]
        if not named:
            return ""
        more = len(self.missing) - len(named)
        listed = ", ".join(named) + (f" and {more} more" if more else "")
        return f"{self.path} is incomplete: {listed} {'is' if len(self.missing) == 1 else 'are'} missing"

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches, if all columns are read."""
        return WIDE_SCHEMA if self.document.filter.is_wide else EVENT_SCHEMA

    def batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        first_seq: int | None = None,
        end_seq: int | None = None,
        kinds: Collection[str] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield events in seq order: those of tickets first_seq (included) to end_seq (not), of these kinds.

        Batches have up to `batch_rows` rows, and the columns asked for, in that order and in WIDE_SCHEMA's
        types; without `columns`, those of `schema`. What a capture has no column for is null. Segments and
        row groups that can't hold such an event are not read; memory is that of one row group.
        Raises UnreadableCaptureError.
        """
        schema = self.schema
        if columns is not None:
            schema = pa.schema([WIDE_SCHEMA.field(name) for name in columns])
        chosen = _Choice(first_seq, end_seq, None if kinds is None else frozenset(kinds))
        read = list(dict.fromkeys([*schema.names, *chosen.columns]))
        for segment in self.segments:
            if not chosen.may_be_in_segment(segment.metadata):
                continue
            for batch in _segment_batches(segment.path, read, chosen, batch_rows):
                kept = chosen.rows_of(batch)
                if kept.num_rows:
                    yield _in_schema(kept, schema)

    def findings(self) -> list[Finding]:
        """Say where files are missing, extra, swapped, edited, foreign, out of the chain, or miscounted.

        Reads every byte of the segments once; raises UnreadableCaptureError.
        """
        return compare_files(self.document, self.segments, self.strays)


@dataclass(frozen=True)
class _Choice:
    """Which events were asked for."""

    first_seq: int | None
    end_seq: int | None
    kinds: frozenset[str] | None

    @property
    def columns(self) -> list[str]:
        """What must be read to choose."""
        return ([] if self.all_seqs else ["seq"]) + ([] if self.kinds is None else ["kind"])

    @property
    def all_seqs(self) -> bool:
        return self.first_seq is None and self.end_seq is None

    def overlaps(self, lowest: int, highest: int) -> bool:
        starts_before_end = self.end_seq is None or lowest < self.end_seq
        return starts_before_end and (self.first_seq is None or highest >= self.first_seq)

    def may_be_in_segment(self, metadata: SegmentMetadata) -> bool:
        # Row groups say their seqs themselves; the kinds of a segment stand only in its metadata.
        return self.kinds is None or any(metadata.rows.get(kind, 0) for kind in self.kinds)

    def may_be_in_row_group(self, group: RowGroup, seq_column: int) -> bool:
        if self.all_seqs or not 0 <= seq_column < len(group.columns):
            return True
        bounds = group.columns[seq_column].bounds()
        return bounds is None or self.overlaps(*bounds)

    def rows_of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        keep: NDArray[np.bool_] = np.ones(batch.num_rows, np.bool_)
        if not self.all_seqs:
            seq = views.uint64(batch, "seq")
            keep &= seq >= np.uint64(min(max(self.first_seq or 0, 0), (1 << 64) - 1))
            if self.end_seq is not None and self.end_seq < 1 << 64:
                keep &= seq < np.uint64(max(self.end_seq, 0))
        if self.kinds is not None:
            indices, names = views.names(batch, "kind")
            keep &= np.array([name in self.kinds for name in names] or [False])[indices]
        return batch if keep.all() else batch.filter(pa.array(keep))


def _in_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Columns that the file lacks are null."""
    if set(schema.names) <= set(batch.schema.names):
        return batch.select(schema.names).cast(schema)
    there = set(batch.schema.names)
    arrays = [
        batch.column(field.name).cast(field.type)
        if field.name in there
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def open_capture(path: Path) -> Capture:
    """Open the capture in directory `path`; raises UnreadableCaptureError.

    Segments are the files that capture.json lists, and, if the recording was cut off between a segment
    and its entry there, those that continue the chain. Other Parquet files are strays: told, not read;
    those that retention was about to remove are passed over.
    """
    try:
        problem = _no_capture(path)
    except OSError as error:  # a directory that may not be entered, a name too long
        raise UnreadableCaptureError(f"can't read {path}: {error.strerror}") from error
    if problem:
        raise UnreadableCaptureError(f"{problem}: a capture is a directory NAME.lrec that `record` made")
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    capture = _look(path, document)
    for _ in range(_LOOKS):
        if document.stopped is not None or not capture.missing:
            break
        before, document = document, CaptureDocument.load(path / DOCUMENT_NAME)
        if document.pruned == before.pruned:  # they did not go by retention
            break
        capture = _look(path, document)
    return capture


def _look(path: Path, document: CaptureDocument) -> Capture:
    listed = {entry.name for entry in document.segments}
    found = [file for file in sorted(path.glob("*.parquet")) if not is_leftover(file.name, document.pruned)]
    opened = [_open_if_there(file) for file in found if file.name in listed]
    segments = [segment for segment in opened if segment is not None]
    unlisted = [file for file in found if file.name not in listed]
    more = adopted(document, unlisted) if document.stopped is None else []
    segments += more
    strays = [file for file in unlisted if all(file != segment.path for segment in more)]
    segments.sort(key=lambda segment: (segment.metadata.first_seq, segment.path.name))
    return Capture(path, document, tuple(segments), tuple(strays))


def _open_if_there(path: Path) -> SegmentFile | None:
    """Open a segment, unless it has gone since its directory was read."""
    try:
        return _open_segment(path)
    except UnreadableCaptureError:
        if os.path.lexists(path):
            raise
        return None


def _no_capture(path: Path) -> str:
    """Why there is no capture at `path`; empty if there may be one."""
    if (path / DOCUMENT_NAME).is_file():  # not a pipe, which would never end
        return ""
    if (path / DOCUMENT_NAME).exists():
        return f"{path / DOCUMENT_NAME} is no file"
    if path.is_dir():
        return f"{path} has no {DOCUMENT_NAME}"
    return f"{path} is not a directory" if path.exists() else f"{path} does not exist"


def adopted(document: CaptureDocument, strays: Sequence[Path]) -> list[SegmentFile]:
    """Give the segments among these files that go on where an unfinished capture's list ends."""
    found = []
    last_sha256 = document.last_sha256
    for stray in sorted(strays):
        try:
            candidate = _open_segment(stray)
        except UnreadableCaptureError:
            continue
        metadata = candidate.metadata
        if metadata.capture_id == document.capture_id and metadata.previous_sha256 == last_sha256:
            found.append(candidate)
            last_sha256 = sha256_of(stray)
    return found


@contextmanager
def _open(path: Path) -> Iterator[tuple[pq.ParquetFile, FileIO, bytes]]:
    """Open a segment, its bytes and its footer; what is wrong is an UnreadableCaptureError inside, too."""
    if not os.path.lexists(path):
        raise UnreadableCaptureError(f"can't read segment {path}: it has been removed meanwhile")
    with open_file(path, "segment ") as raw:
        try:
            footer = read_footer(raw)
            with parquet_file(pa.OSFile(os.fsencode(path), "rb")) as file:
                yield file, raw, footer
        except _DAMAGE as error:
            raise _damaged(path, error) from error


def _open_segment(path: Path) -> SegmentFile:
    with _open(path) as (file, _, _):
        metadata = SegmentMetadata.from_keys(file.metadata.metadata or {}, str(path))
        if file.metadata.num_rows > limits.SEGMENT_ROWS or file.metadata.num_columns > limits.COLUMNS:
            claims = f"{file.metadata.num_rows} rows of {file.metadata.num_columns} columns"
            raise UnreadableCaptureError(f"can't read segment {path}: it claims {claims}")
        _check_columns(file.schema_arrow, path)
        return SegmentFile(path, metadata, file.metadata.num_rows)


def _check_columns(schema: pa.Schema, path: Path) -> None:
    for field in WIDE_SCHEMA:
        if schema.get_field_index(field.name) < 0:
            if field in SYSCALL_COLUMNS:
                continue
            raise UnreadableCaptureError(f"can't read segment {path}: it has no column {field.name}")
        found = schema.field(field.name).type
        if found != field.type:
            raise UnreadableCaptureError(
                f"can't read segment {path}: its column {field.name} is {found}, not {field.type}"
            )


def _segment_batches(
    path: Path, read: list[str], chosen: _Choice, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    with _open(path) as (file, raw, footer):
        there = set(file.schema_arrow.names)
        read = [name for name in read if name in there]
        leaves, nested = _leaves(file.schema, read)
        seq_column = next(iter(_leaves(file.schema, ["seq"])[0]), -1)
        row_groups = read_row_groups(footer, raw.seek(0, os.SEEK_END))
        groups = [
            number for number, group in enumerate(row_groups) if chosen.may_be_in_row_group(group, seq_column)
        ]
        for number in groups:
            check_pages(raw, row_groups[number], leaves, nested)
        for batch in file.iter_batches(batch_rows, groups, read, use_threads=False):
            check_values(batch)
            yield batch


def _leaves(schema: pq.ParquetSchema, read: list[str]) -> tuple[dict[int, str], list[int]]:
    """Parquet's columns that are read for ours, by number, and those of them that are within lists."""
    paths = [schema.column(number).path.partition(".") for number in range(len(schema.names))]
    leaves = {number: name for number, (name, _, _) in enumerate(paths) if name in read}
    return leaves, [number for number in leaves if paths[number][1]]


def _damaged(path: Path, error: BaseException) -> UnreadableCaptureError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return UnreadableCaptureError(f"can't read segment {path}: {printable(reason)}")
