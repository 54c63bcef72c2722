"""What a capture says at its beginning: of this host, of the object, of what was asked. Knows no ring."""

import hashlib
import os
import platform
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from linnix_rec import __version__
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.document import CaptureDocument, ClockSample, Filter, Host, ObjectFile, Started
from linnix_rec.capture.text import decode_bytes
from linnix_rec.session import clock
from linnix_rec.session.request import Request
from linnix_rec.sources.sequencer import OBJECT_NAME, SequencerSource


def first_document(request: Request, source: SequencerSource, now: ClockSample) -> CaptureDocument:
    """The document of a recording whose programs have just been attached."""
    return CaptureDocument(
        tool_version=__version__,
        capture_id=str(uuid.uuid4()),
        host=this_host(),
        object=ObjectFile(OBJECT_NAME, hashlib.sha256(read_object(OBJECT_NAME)).hexdigest()),
        ring_slots=source.ring_slots,
        filter=_filter(request),
        started=Started(
            time=clock.rfc3339(now.realtime_ns),
            boot_ns=now.boot_ns,
            attached_boot_ns=source.attached_boot_ns,
            first_seq=0,
        ),
        clock=(now,),
        accounts_at_start=source.accounts(runs=request.prove, running=True),
        pin=request.pin,
    )


def this_host() -> Host:
    """The machine that is recorded."""
    uname = platform.uname()
    return Host(
        hostname=uname.node,
        kernel_release=uname.release,
        machine=uname.machine,
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        cpus=os.cpu_count() or 1,
        page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
    )


def _filter(request: Request) -> Filter:
    command = tuple(decode_bytes(os.fsencode(word)) for word in request.command)
    if not request.argv:
        command = command[:1]
    if request.redact is not None:
        from linnix_rec.sources.redact import Redactor

        command = Redactor(request.redact).command(command)
    return Filter(
        mode=request.mode,
        command=command or None,
        pid=request.pid,
        argv=request.argv,
        redacted=request.redact is not None,
    )


def redaction(*patterns: str | None) -> Callable[[pa.RecordBatch], pa.RecordBatch] | None:
    """What takes each pattern's matches out of batches; raises UsageError for one that is no pattern."""
    given = [pattern for pattern in patterns if pattern is not None]
    if not given:
        return None
    from linnix_rec.sources.redact import Redactor

    return Redactor(*given).batch
