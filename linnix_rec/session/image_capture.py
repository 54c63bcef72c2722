"""Writes what is in a ring's image as a capture. Knows no kernel: the image may come from anywhere.

What an image holds is the last lap: its first event is seldom the first of all. So such a capture begins at
that event's ticket, and whoever started before it, and a margin, was born before.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from linnix_rec.capture import files
from linnix_rec.capture.directory import check_directory, discard_capture, prepare_directory
from linnix_rec.capture.document import CaptureDocument, ClockSample, Started, Stopped
from linnix_rec.capture.writer import CaptureWriter
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.ring.image import RingImage
from linnix_rec.session import clock
from linnix_rec.session.request import owner
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.image import begin_of, image_batches
from linnix_rec.sources.syscalls import syscall_names

#: A birth is traced after the task's start, and the clocks of two CPUs differ by microseconds: who started
#: so long after the first event has taken a later ticket than it.
MARGIN_NS: Final = 1_000_000

Redact = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True)
class Written:
    """What a capture from an image came to: rows, tickets in its gaps, bytes, and its first ticket."""

    events: int
    lost: int
    bytes: int
    first_seq: int


def write_image(
    image: RingImage,
    document: CaptureDocument,
    directory: Path,
    *,
    force: bool,
    redact: Redact | None,
) -> Written:
    """Make the capture `directory` of an image; raises LinnixRecError.

    `document` is the recording's own, with the clock, the accounts and the listing of the image's moment.
    """
    check_directory(directory, force)
    sample = document.clock[-1]
    decoder = Decoder(
        document.host.page_size_bytes,
        sample.realtime_ns - sample.boot_ns,
        with_argv=document.filter.argv,
        syscall_names=syscall_names(document.host.machine) if document.filter.is_wide else None,
        redact=redact,
    )
    begun = _begun(image, document, sample, redacted=redact is not None)
    prepare_directory(directory, force, owner())
    try:
        writer = CaptureWriter(directory, replace(begun, accounts=None), owner=owner())
        lost = 0
        for batch in image_batches(image, decoder):
            writer.write(batch)
            lost += sum(batch.column("lost").drop_null().to_pylist())
        now = Stopped("dump", "the ring's last lap", clock.rfc3339(sample.realtime_ns), sample.boot_ns)
        writer.close(now, begun.accounts)
    except LinnixRecError as error:
        discard_capture(directory)
        if isinstance(error.__cause__, OSError):  # the writer's own words say what can be read
            why = files.reason(error.__cause__)
            raise RecordingError(f"can't write to {directory}: {why}; nothing was written") from error
        raise
    return Written(writer.rows_written, lost, writer.bytes_written, begun.started.first_seq)


def _begun(
    image: RingImage, document: CaptureDocument, sample: ClockSample, *, redacted: bool
) -> CaptureDocument:
    begin = begin_of(image)
    boot_ns = sample.boot_ns if begin.boot_ns is None else begin.boot_ns
    whole = begin.seq == document.started.first_seq
    realtime_ns = max(0, sample.realtime_ns - sample.boot_ns + boot_ns)
    return replace(
        document,
        capture_id=str(uuid.uuid4()),
        started=Started(
            time=clock.rfc3339(realtime_ns),
            boot_ns=boot_ns,
            attached_boot_ns=document.started.attached_boot_ns if whole else boot_ns + MARGIN_NS,
            first_seq=begin.seq,
        ),
        filter=replace(document.filter, redacted=document.filter.redacted or redacted),
        stopped=None,
        perf=None,
        connector=None,
        pin=None,
        resumptions=(),
        pruned=None,
        segments=(),
    )
