"""Reads a capture, whole, damaged or unfinished; knows no rule about events, only files.

What can be read is read; that it is not what was written is a `Finding`. What can't be read raises
`UnreadableCaptureError` with the file's name.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linnix_rec.capture import columns as views
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument
from linnix_rec.capture.parquet import SegmentMetadata
from linnix_rec.capture.schema import EVENT_SCHEMA, KIND_CODES, NAME
from linnix_rec.errors import UnreadableCaptureError

BATCH_ROWS: Final = 1 << 16

_READ_DICTIONARY: Final = [field.name for field in EVENT_SCHEMA if field.type == NAME]


@dataclass(frozen=True)
class Finding:
    """One disagreement between files: `code` names it, `segment` is the file's name or ""."""

    code: str
    segment: str
    message: str


@dataclass(frozen=True)
class SegmentFile:
    """A segment as found in the directory, with what its own footer says."""

    path: Path
    metadata: SegmentMetadata
    rows: int


@dataclass(frozen=True)
class Capture:
    """An opened capture; `segments` are in seq order."""

    path: Path
    document: CaptureDocument
    segments: tuple[SegmentFile, ...]

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch that is read with all columns."""
        return EVENT_SCHEMA

    def batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        first_seq: int | None = None,
        end_seq: int | None = None,
        kinds: Collection[str] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the events of tickets first_seq (included) to end_seq (not), of these kinds, in seq order."""
        schema = EVENT_SCHEMA if columns is None else pa.schema([EVENT_SCHEMA.field(name) for name in columns])
        wanted = list(dict.fromkeys([*schema.names, *(["kind"] if kinds is not None else [])]))
        low, high = first_seq or 0, (1 << 64) if end_seq is None else end_seq
        if (low > 0 or end_seq is not None) and "seq" not in wanted:
            wanted.append("seq")
        for segment in self.segments:
            for batch in _segment_batches(segment.path, wanted, low, high, batch_rows):
                kept = _filtered(batch, low, high, kinds, whole=low == 0 and end_seq is None)
                if kept.num_rows:
                    yield kept.select(schema.names).cast(schema)

    def findings(self) -> list[Finding]:
        """Say where the files disagree with capture.json and with each other."""
        listed = {segment.name: segment for segment in self.document.segments}
        found: list[Finding] = []
        previous = ""
        for segment in self.segments:
            digest = _sha256(segment.path)
            entry = listed.pop(segment.path.name, None)
            if entry is None:
                found.append(Finding("extra", segment.path.name, "is not listed in capture.json"))
            elif entry.sha256 != digest:
                found.append(Finding("edited", segment.path.name, "has another SHA-256 than capture.json says"))
            if segment.metadata.capture_id != self.document.capture_id:
                found.append(Finding("foreign", segment.path.name, "belongs to another capture"))
            if segment.metadata.previous_sha256 != previous:
                found.append(Finding("chain", segment.path.name, "does not follow the segment before it"))
            previous = digest
        found.extend(Finding("missing", name, "is listed in capture.json, but not there") for name in listed)
        return found


def open_capture(path: Path) -> Capture:
    """Open the capture in directory `path`; raises UnreadableCaptureError."""
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise UnreadableCaptureError(f"{path} {what}: a capture is a directory NAME.lrec with {DOCUMENT_NAME}")
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    segments = [_open_segment(file) for file in sorted(path.glob("*.parquet"))]
    segments.sort(key=lambda segment: segment.metadata.first_seq)
    return Capture(path, document, tuple(segments))


def _parquet_file(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, read_dictionary=_READ_DICTIONARY, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _open_segment(path: Path) -> SegmentFile:
    with _parquet_file(path) as file:
        metadata = SegmentMetadata.from_keys(file.metadata.metadata or {}, str(path))
        return SegmentFile(path, metadata, file.metadata.num_rows)


def _segment_batches(path: Path, wanted: list[str], low: int, high: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with _parquet_file(path) as file:
        groups = [
            group for group in range(file.num_row_groups) if _group_overlaps(file.metadata.row_group(group), low, high)
        ]
        if not groups:
            return
        try:
            yield from file.iter_batches(batch_rows, groups, wanted, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from error


def _group_overlaps(group: pq.RowGroupMetaData, low: int, high: int) -> bool:
    statistics = group.column(0).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min < high and statistics.max >= low)


def _filtered(
    batch: pa.RecordBatch, low: int, high: int, kinds: Collection[str] | None, *, whole: bool
) -> pa.RecordBatch:
    keep = np.ones(batch.num_rows, np.bool_)
    if not whole:
        seq = views.uint64(batch, "seq")
        keep &= (seq >= low) & (seq <= min(high, 1 << 64) - 1)
    if kinds is not None:
        keep &= np.isin(views.kind_codes(batch), [KIND_CODES[kind] for kind in kinds])
    return batch if keep.all() else batch.filter(pa.array(keep))


def _damaged(path: Path, error: Exception) -> UnreadableCaptureError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UnreadableCaptureError(f"can't read segment {path}: {reason}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise _damaged(path, error) from error
    return digest.hexdigest()
