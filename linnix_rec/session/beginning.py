"""What a capture says at its beginning: of this host, of the object, of what was asked. Knows no ring."""

import hashlib
import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from linnix_rec import __version__
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.document import (
    CaptureDocument,
    Channel,
    ClockSample,
    Filter,
    Host,
    ObjectFile,
    Started,
)
from linnix_rec.capture.text import decode_bytes
from linnix_rec.session import clock
from linnix_rec.session.request import Request
from linnix_rec.sources.source import Source

#: The shipped object behind each source; the connector has none.
OBJECT_NAMES: Final = {"sequencer": "sequencer", "ringbuf": "ringbuf", "perf": "perfbuf"}


def first_document(
    request: Request, source: Source, now: ClockSample, root_pid: int | None = None
) -> CaptureDocument:
    """The document of a recording whose programs have just been attached; `root_pid` is its tree's first."""
    return CaptureDocument(
        tool_version=__version__,
        capture_id=str(uuid.uuid4()),
        host=this_host(),
        object=_object(source.name),
        ring_slots=source.ring_slots,
        filter=_filter(request, root_pid),
        started=Started(
            time=clock.rfc3339(now.realtime_ns),
            boot_ns=now.boot_ns,
            attached_boot_ns=source.attached_boot_ns,
            first_seq=0,
        ),
        clock=(now,),
        accounts_at_start=source.accounts(runs=request.prove, running=True),
        pin=request.pin,
        source=source.name,
        ordered=source.ordered,
        channel=_channel(request, source),
    )


def _object(source: str) -> ObjectFile | None:
    name = OBJECT_NAMES.get(source)
    return None if name is None else ObjectFile(name, hashlib.sha256(read_object(name)).hexdigest())


def _channel(request: Request, source: Source) -> Channel | None:
    if source.channel is None:
        return None
    return replace(source.channel, poll=request.channel.poll or "epoll")


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


def _filter(request: Request, root_pid: int | None) -> Filter:
    command = tuple(decode_bytes(os.fsencode(word)) for word in request.command)
    if not request.argv:
        command = command[:1]
    if request.redact is not None:
        from linnix_rec.sources.redact import Redactor

        command = Redactor(request.redact).command(command)
    return Filter(
        mode=request.mode,
        command=command or None,
        pid=root_pid if request.pid is None else request.pid,
        argv=request.argv,
        redacted=request.redact is not None,
        events=request.events.asked,
    )


def redaction(*patterns: str | None) -> Callable[[pa.RecordBatch], pa.RecordBatch] | None:
    """What takes each pattern's matches out of batches; raises UsageError for one that is no pattern."""
    given = [pattern for pattern in patterns if pattern is not None]
    if not given:
        return None
    from linnix_rec.sources.redact import Redactor

    return Redactor(*given).batch
