"""Writes event batches into a capture's segments and keeps its capture.json; knows no source.

A segment is durable once it is closed: it is written under a name that no `*.parquet` glob matches, gets
its own when it is whole and synced, and then capture.json is replaced. So a recorder killed at any moment
leaves a readable capture that lacks the open segment only: at most SEGMENT_SECONDS of events. Turning over
costs some 11 ms and 15 KB each time (38 columns have a long footer), so ten seconds cost 0.1 % of a core and
130 MB a day on an idle host; a storm of 100,000 events/s reaches SEGMENT_ROWS (about 12 MB) in the same time.
Peak private memory beside pyarrow's own 20 MB is 40 MB with the system's allocator, 85 MB with pyarrow's.

With retention old segments go as new ones come: first capture.json says so, durably, then their files are
removed. A crash in between leaves files that no reader looks at and that the next recorder removes.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa

from linnix_rec.capture import columns, files
from linnix_rec.capture.directory import RESERVE_NAME, discard_capture, is_of_writer, prepare_directory
from linnix_rec.capture.document import (
    DOCUMENT_NAME,
    Accounts,
    CaptureDocument,
    Resumption,
    Segment,
    Stopped,
)
from linnix_rec.capture.parquet import ROW_GROUP_ROWS, SegmentMetadata, segment_metadata
from linnix_rec.capture.pending import PendingRows
from linnix_rec.capture.resumption import take_up
from linnix_rec.capture.retention import NamedCgroups, Retention, is_leftover, summed
from linnix_rec.capture.schema import FORMAT_VERSION
from linnix_rec.capture.segment import OpenSegment, segment_name
from linnix_rec.errors import RecordingError, UnreadableCaptureError

__all__ = ["CaptureWriter", "discard_capture", "prepare_directory", "segment_name"]

SEGMENT_ROWS: Final = 8 * ROW_GROUP_ROWS
SEGMENT_SECONDS: Final = 10.0
#: A segment stays open for at least this part of what the capture spans: a year of them is some 60,000, and
#: capture.json, which lists them all, stays readable (capture/limits.py: DOCUMENT_BYTES).
SEGMENTS_A_SPAN: Final = 1 << 13

#: Kept free for the last capture.json, which may have doubled by then: 1,000 segments are some 300 KB of it.
RESERVE_BYTES: Final = 256 << 10


def boot_ns() -> int:
    """Give the time since boot, in ns, sleep included; where there is no such clock, one that never steps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


class CaptureWriter:
    """Writes one capture, from where `document` ends; for one thread, batches in seq order.

    After a RecordingError it takes no more events, and `close` still writes the last capture.json.
    `first_segment_seconds`, if given, is doubled with each segment up to `segment_seconds`: of a short
    recording that is killed little is lost. `keep_bytes` bounds the closed segments, `keep_seconds` the time
    since the oldest was closed; both are looked at when a segment is closed, and that one always stays.
    `lock` is the directory's, if the caller has it: it is the writer's from then on.
    """

    def __init__(
        self,
        directory: Path,
        document: CaptureDocument,
        *,
        segment_rows: int = SEGMENT_ROWS,
        segment_seconds: float = SEGMENT_SECONDS,
        first_segment_seconds: float | None = None,
        keep_bytes: int | None = None,
        keep_seconds: float | None = None,
        owner: files.Owner | None = None,
        lock: files.Lock | None = None,
        clock: Callable[[], int] = boot_ns,
    ) -> None:
        self._directory = directory
        if document.filter.is_wide:
            document = replace(document, format_version=FORMAT_VERSION)
        self._document = document
        self._segment_rows = segment_rows
        self._segment_seconds = segment_seconds
        self._open_seconds = min(segment_seconds, first_segment_seconds or segment_seconds)
        self._retention = Retention(keep_bytes, None if keep_seconds is None else int(keep_seconds * 1e9))
        self._cgroups = NamedCgroups(document.cgroups, document.durable_seq)
        self._owner = owner
        self._clock = clock
        self._pending = PendingRows()
        self._open: OpenSegment | None = None
        self._failure: RecordingError | None = None
        self._closed_bytes = sum(entry.bytes for entry in document.segments)
        self._rows_written = 0
        self._reserve_bytes = 0
        self._end_seq = self._durable_seq = document.durable_seq
        self._lock = lock or files.Lock()
        try:
            if lock is None:
                self._lock = files.lock_directory(directory)
            self._remove_leftovers()
            self._reserve(RESERVE_BYTES)
            self._write_document()
        except OSError as error:
            self._lock.close()
            self._fail(error)

    @classmethod
    def resume(
        cls,
        directory: Path,
        resumption: Resumption,
        *,
        segment_rows: int = SEGMENT_ROWS,
        segment_seconds: float = SEGMENT_SECONDS,
        first_segment_seconds: float | None = None,
        keep_bytes: int | None = None,
        keep_seconds: float | None = None,
        owner: files.Owner | None = None,
        clock: Callable[[], int] = boot_ns,
    ) -> "CaptureWriter":
        """Go on with an unfinished capture at its `durable_seq`, which the resumption gets as its seq.

        Raises UsageError if the capture is being recorded to, is finished or was not pinned,
        UnreadableCaptureError if its end is not what was written, RecordingError if the disk fails.
        """
        document, lock = take_up(directory)
        resumption = replace(resumption, seq=document.durable_seq)
        return cls(
            directory,
            replace(document, resumptions=(*document.resumptions, resumption)),
            segment_rows=segment_rows,
            segment_seconds=segment_seconds,
            first_segment_seconds=first_segment_seconds,
            keep_bytes=keep_bytes,
            keep_seconds=keep_seconds,
            owner=owner,
            lock=lock,
            clock=clock,
        )

    @property
    def document(self) -> CaptureDocument:
        """The document as last written."""
        return self._document

    @property
    def bytes_written(self) -> int:
        """Bytes of Parquet that the capture has now; neither buffered rows nor what retention removed."""
        return self._closed_bytes + (self._open.size_bytes if self._open else 0)

    @property
    def rows_written(self) -> int:
        """Events taken so far, buffered ones included."""
        return self._rows_written

    @property
    def end_seq(self) -> int:
        """One past the last ticket taken so far."""
        return self._end_seq

    @property
    def durable_seq(self) -> int:
        """One past the last ticket that a closed segment holds."""
        return self._durable_seq

    def note(self, *, at_once: bool = False, **changes: Any) -> None:
        """Have the next capture.json say this, too, by the document's fields; or write one now.

        Raises RecordingError.
        """
        self._cgroups.learn(changes.get("cgroups", {}))
        self._document = replace(self._document, **changes)
        if at_once:
            try:
                self._write_document()
            except OSError as error:
                self._fail(error)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch in EVENT_SCHEMA or WIDE_SCHEMA, always the same one; raises RecordingError."""
        if self._failure is not None:
            raise self._failure
        try:
            while batch.num_rows:
                batch = self._take_some(batch)
        except OSError as error:
            self._fail(error)
        self.turn_over_if_due()

    def turn_over_if_due(self) -> None:
        """Close the open segment if it has been open for long enough; raises RecordingError."""
        if self._open is not None and self._open.age_s >= max(
            self._open_seconds, self._span_s / SEGMENTS_A_SPAN
        ):
            self._open_seconds = min(2 * self._open_seconds, self._segment_seconds)
            self.turn_over()

    @property
    def _span_s(self) -> float:
        """Seconds since the oldest segment was closed."""
        if not self._document.segments or not self._document.segments[0].closed_boot_ns:
            return 0.0
        return (self._clock() - self._document.segments[0].closed_boot_ns) / 1e9

    def turn_over(self) -> None:
        """Close the open segment, if any: what was taken until now is durable. Raises RecordingError."""
        if self._open is None:
            return
        try:
            self._publish(self._open)
            gone = self._take_off_due()
            self._write_document()
            for entry in gone:
                files.remove(self._directory / entry.name)
        except OSError as error:
            self._fail(error)

    def close(self, stopped: Stopped, accounts: Accounts | None) -> CaptureDocument:
        """Write what is left and the final capture.json, and give it; raises RecordingError."""
        self.turn_over()
        self._document = replace(self._document, stopped=stopped, accounts=accounts)
        try:
            self._write_document()
            files.remove(self._directory / RESERVE_NAME)
            self._remove_leftovers()
        except OSError as error:
            self._fail(error)
        finally:
            self._lock.close()
        return self._document

    def abandon(self) -> None:
        """Drop what no closed segment holds, and leave the capture as a crash would: unfinished."""
        self._drop_open()
        self._lock.close()

    def _drop_open(self) -> None:
        if self._open is not None:
            self._open.abandon()
            self._open = None
        self._pending.clear()

    def _take_some(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Take as many rows as the segment and its row group have room for, and give the rest."""
        if self._open is None:
            first_seq = int(columns.uint64(batch, "seq")[0])
            self._open = OpenSegment(self._directory, first_seq, self._owner, batch.schema)
        segment = self._open
        room = min(self._pending.room, self._segment_rows - segment.rows)
        part = batch if batch.num_rows <= room else batch.slice(0, room)
        segment.count(part)
        self._end_seq = segment.end_seq
        self._pending.add(part)
        self._rows_written += part.num_rows
        if segment.rows >= self._segment_rows:
            self.turn_over()
        elif self._pending.room == 0:
            segment.write_row_group(self._pending.take())
        return batch.slice(part.num_rows)

    def _publish(self, segment: OpenSegment) -> None:
        if self._pending.rows:
            segment.write_row_group(self._pending.take())
        closed_boot_ns = self._clock()
        digest = segment.publish(
            SegmentMetadata(
                capture_id=self._document.capture_id,
                first_seq=segment.first_seq,
                end_seq=segment.end_seq,
                rows=segment.rows_by_kind,
                clock_offset_ns=_clock_offset_ns(self._document),
                previous_sha256=self._document.last_sha256,
                lost=segment.lost,
                closed_boot_ns=closed_boot_ns,
                schema_version=self._document.format_version,
            )
        )
        self._open = None
        self._closed_bytes += segment.size_bytes
        self._durable_seq = segment.end_seq
        self._cgroups.named(segment.cgroup_ids, segment.end_seq)
        entry = Segment(
            segment.name,
            digest,
            segment.first_seq,
            segment.end_seq,
            segment.rows,
            segment.size_bytes,
            closed_boot_ns,
            segment.lost.total(),
        )
        self._document = replace(self._document, segments=(*self._document.segments, entry))

    def _take_off_due(self) -> tuple[Segment, ...]:
        """Take off the document the segments that retention lets go, sum them up there, and give them.

        The paths of cgroups that only these named go, too.
        """
        segments = self._document.segments
        count = self._retention.due(segments, self._clock())
        gone, kept = segments[:count], segments[count:]
        if gone:
            pruned = summed(self._document.pruned, ((entry, self._metadata_of(entry)) for entry in gone))
            self._document = replace(self._document, segments=kept, pruned=pruned)
            self._closed_bytes -= sum(entry.bytes for entry in gone)
        if self._document.pruned is not None:
            self.note(cgroups=self._cgroups.kept(self._document.pruned.end_seq))
        return gone

    def _metadata_of(self, entry: Segment) -> SegmentMetadata | None:
        try:
            return segment_metadata(self._directory / entry.name)
        except UnreadableCaptureError:
            return None

    def _remove_leftovers(self) -> None:
        """Remove what a crash left: half-written files, and segments that retention had already let go."""
        for path in self._directory.iterdir():
            partial = path.name.endswith(files.PARTIAL_SUFFIX) and is_of_writer(path)
            if partial or is_leftover(path.name, self._document.pruned):
                files.remove(path)

    def _reserve(self, size_bytes: int) -> None:
        files.write_whole(self._directory / RESERVE_NAME, bytes(size_bytes), self._owner)
        self._reserve_bytes = size_bytes

    def _write_document(self) -> None:
        path, content = self._directory / DOCUMENT_NAME, self._document.dump()
        try:
            if 2 * len(content) > self._reserve_bytes:
                self._reserve(4 * len(content))
            files.write_whole(path, content, self._owner)
        except OSError as error:
            if not files.no_room(error):
                raise
            files.remove(self._directory / RESERVE_NAME)
            files.write_whole(path, content, self._owner)

    def _fail(self, error: OSError) -> NoReturn:
        self._drop_open()
        begun = self._document.segments or self._document.pruned
        kept = (
            f"the recording stops before seq {self._durable_seq}, what was recorded before can be read"
            if begun
            else "nothing was written"
        )
        self._failure = RecordingError(f"can't write to {self._directory}: {files.reason(error)}; {kept}")
        raise self._failure from error


def _clock_offset_ns(document: CaptureDocument) -> int | None:
    if not document.clock:
        return None
    return document.clock[-1].realtime_ns - document.clock[-1].boot_ns
