"""Writes event batches into a capture's segments and keeps its capture.json; knows no source.

A segment is written under a name that no `*.parquet` glob matches, and gets its own once it is whole and
synced; capture.json is replaced after it. So a recorder killed at any moment leaves a readable capture
that lacks at most the open segment.
"""

import errno
import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linnix_rec.capture import columns, files
from linnix_rec.capture.document import (
    DOCUMENT_NAME, Accounts, CaptureDocument, ClockSample, Segment, Stopped,
)  # fmt: skip
from linnix_rec.capture.parquet import ROW_GROUP_ROWS, SegmentMetadata, parquet_writer
from linnix_rec.capture.schema import EVENT_SCHEMA, GAP, KINDS
from linnix_rec.errors import RecordingError, UsageError

SEGMENT_ROWS: Final = 1_000_000
SEGMENT_SECONDS: Final = 10.0

_DISK_FULL: Final = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)
)


def segment_name(first_seq: int) -> str:
    """Give the file name of the segment that begins with this ticket."""
    return f"segment-{first_seq:020d}.parquet"


class _OpenSegment:
    """The one segment being written: a Parquet writer over a file that hashes what it is given."""

    def __init__(self, path: Path, first_seq: int, owner: files.Owner | None) -> None:
        self.path = path
        self.first_seq = first_seq
        self.end_seq = first_seq
        self.rows: Counter[str] = Counter()
        self.opened = time.monotonic()
        self.bytes_written = 0
        self._digest = hashlib.sha256()
        self._file = os.fdopen(files.create(path, owner), "wb", buffering=0)
        self._parquet = parquet_writer(pa.PythonFile(self, mode="w"))

    # The file protocol that pyarrow writes to.
    closed = False

    def write(self, chunk: Any) -> int:
        view = memoryview(chunk)
        self._digest.update(view)
        self.bytes_written += len(view)
        while view:
            view = view[self._file.write(view) :]
        return len(chunk)

    def tell(self) -> int:
        return self.bytes_written

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def add_row_group(self, table: pa.Table) -> None:
        self._parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def finish(self, metadata: SegmentMetadata) -> str:
        """Complete the file, sync it, and give its SHA-256."""
        self._parquet.add_key_value_metadata(metadata.as_keys())
        self._parquet.close()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Remove the file, whatever state it is in."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class CaptureWriter:
    """Writes one capture; used by one thread, in seq order."""

    def __init__(
        self,
        directory: Path,
        document: CaptureDocument,
        *,
        segment_rows: int = SEGMENT_ROWS,
        segment_seconds: float = SEGMENT_SECONDS,
        owner: files.Owner | None = None,
    ) -> None:
        self._directory = directory
        self._document = document
        self._segment_rows = segment_rows
        self._segment_seconds = segment_seconds
        self._owner = owner
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._open: _OpenSegment | None = None
        self._closed_bytes = 0
        self._durable_seq = document.started.first_seq
        self._rows_written = 0
        self._end_seq = document.started.first_seq
        self._write_document()

    @property
    def document(self) -> CaptureDocument:
        """The document as last written."""
        return self._document

    @property
    def bytes_written(self) -> int:
        """Bytes of Parquet so far."""
        return self._closed_bytes + (self._open.bytes_written if self._open else 0)

    @property
    def rows_written(self) -> int:
        """Events taken so far, buffered ones included."""
        return self._rows_written

    @property
    def end_seq(self) -> int:
        """One past the last ticket taken so far."""
        return self._end_seq

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch in EVENT_SCHEMA; raises RecordingError if the disk is full."""
        while batch.num_rows:
            segment = self._segment_for(batch)
            room = min(ROW_GROUP_ROWS - self._pending_rows, self._segment_rows - segment.rows.total())
            part, batch = batch.slice(0, room), batch.slice(room)
            self._take(segment, part)
            if segment.rows.total() >= self._segment_rows:
                self.turn_over()
            elif self._pending_rows >= ROW_GROUP_ROWS:
                self._flush_row_group(segment)
        self.turn_over_if_due()

    def turn_over_if_due(self) -> None:
        """Close the open segment if it is older than `segment_seconds`."""
        if self._open is not None and time.monotonic() - self._open.opened >= self._segment_seconds:
            self.turn_over()

    def turn_over(self) -> None:
        """Close the open segment, if any: what was written until now is durable."""
        segment = self._open
        if segment is None:
            return
        self._flush_row_group(segment)
        segments = self._document.segments
        try:
            sha256 = segment.finish(
                SegmentMetadata(
                    capture_id=self._document.capture_id,
                    first_seq=segment.first_seq,
                    end_seq=segment.end_seq,
                    rows={kind: segment.rows[kind] for kind in KINDS if segment.rows[kind]},
                    clock_offset_ns=_clock_offset_ns(self._document),
                    previous_sha256=segments[-1].sha256 if segments else "",
                )
            )
            name = segment_name(segment.first_seq)
            files.publish(segment.path, self._directory / name)
        except OSError as error:
            self._fail(error)
        self._open = None
        self._closed_bytes += segment.bytes_written
        self._durable_seq = segment.end_seq
        entry = Segment(name, sha256, segment.first_seq, segment.end_seq, segment.rows.total())
        self._document = replace(self._document, segments=(*segments, entry))
        self._write_document()

    def close(
        self,
        stopped: Stopped,
        accounts: Accounts | None,
        *,
        clock: Sequence[ClockSample] = (),
        cgroups: Mapping[str, str] | None = None,
    ) -> CaptureDocument:
        """Write what is left and the final capture.json, and give it."""
        self._document = replace(
            self._document,
            clock=(*self._document.clock, *clock),
            cgroups={**self._document.cgroups, **(cgroups or {})},
        )
        self.turn_over()
        self._document = replace(self._document, stopped=stopped, accounts=accounts)
        self._write_document()
        return self._document

    def _segment_for(self, batch: pa.RecordBatch) -> _OpenSegment:
        if self._open is None:
            first_seq = batch.column("seq")[0].as_py()
            partial = self._directory / (segment_name(first_seq) + files.PARTIAL_SUFFIX)
            try:
                self._open = _OpenSegment(partial, first_seq, self._owner)
            except OSError as error:
                self._fail(error)
        return self._open

    def _take(self, segment: _OpenSegment, part: pa.RecordBatch) -> None:
        counts = np.bincount(columns.kind_codes(part), minlength=len(KINDS))
        segment.rows.update({kind: int(counts[code]) for code, kind in enumerate(KINDS)})
        segment.end_seq = self._end_seq = _end_seq(part)
        self._pending.append(part)
        self._pending_rows += part.num_rows
        self._rows_written += part.num_rows

    def _flush_row_group(self, segment: _OpenSegment) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, EVENT_SCHEMA).unify_dictionaries()
        self._pending, self._pending_rows = [], 0
        try:
            segment.add_row_group(table)
        except OSError as error:
            self._fail(error)

    def _write_document(self) -> None:
        try:
            files.write_whole(self._directory / DOCUMENT_NAME, self._document.dump(), self._owner)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> Any:
        if self._open is not None:
            self._open.abandon()
            self._open = None
        self._pending, self._pending_rows = [], 0
        why = "the disk is full" if error.errno in _DISK_FULL else f"{error.strerror or error}"
        raise RecordingError(
            f"can't write to {self._directory}: {why}; recorded until seq {self._durable_seq}, what is there is readable"
        ) from error


def _clock_offset_ns(document: CaptureDocument) -> int | None:
    if not document.clock:
        return None
    return document.clock[-1].realtime_ns - document.clock[-1].boot_ns


def _end_seq(batch: pa.RecordBatch) -> int:
    last = batch.num_rows - 1
    first_ticket: int = batch.column("seq")[last].as_py()
    tickets = "lost" if columns.kind_codes(batch.slice(last))[0] == GAP else "slots"
    return first_ticket + (batch.column(tickets)[last].as_py() or 0)


def prepare_directory(path: Path, force: bool, owner: files.Owner | None = None) -> None:
    """Make the directory of a new capture; raises UsageError if something is there.

    With `force` a capture that is there is removed first, and nothing else ever is.
    """
    try:
        if path.exists() or path.is_symlink():
            _remove_capture(path, force)
        files.make_directory(path, owner)
    except OSError as error:
        raise UsageError(f"can't make {path}: {error.strerror}") from error


def _remove_capture(path: Path, force: bool) -> None:
    if not force:
        raise UsageError(f"{path} exists; choose another name with -o, or replace it with --force")
    if path.is_symlink() or not path.is_dir():
        raise UsageError(f"{path} exists and is not a capture: --force replaces only captures")
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if not _is_of_capture(name)]
    if foreign or (names and DOCUMENT_NAME not in names):
        raise UsageError(f"{path} exists and is not only a capture ({(foreign or names)[0]}): --force leaves it alone")
    for name in names:
        (path / name).unlink()
    path.rmdir()


def discard_capture(path: Path) -> None:
    """Remove a capture that holds nothing worth keeping, if it is there."""
    if path.is_dir() and not path.is_symlink():
        _remove_capture(path, force=True)


def _is_of_capture(name: str) -> bool:
    whole = name.removesuffix(files.PARTIAL_SUFFIX)
    return whole == DOCUMENT_NAME or (whole.startswith("segment-") and whole.endswith(".parquet"))
