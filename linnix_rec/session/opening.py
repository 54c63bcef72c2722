"""Which source a recording reads, made as it was asked for. Knows each source's options, and reads none."""

from __future__ import annotations

import os
import platform
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.session.request import ChannelOptions, Request

if TYPE_CHECKING:
    from linnix_rec.sources.decode import Decoder
    from linnix_rec.sources.source import Source

#: The options that each source has a use for, as ChannelOptions names them.
USES: Final = {
    "sequencer": {"poll"},
    "ringbuf": {"size_bytes", "wakeup", "poll"},
    "perf": {"size_bytes", "wakeup", "poll", "merge"},
    "connector": {"size_bytes", "poll"},
}
OPTION_NAMES: Final = {"size_bytes": "size"}

#: As a reader of the BPF ring buffer would take; of perf buffers, for each CPU; of the connector, twice this.
DEFAULT_BYTES: Final = {"ringbuf": 16 << 20, "perf": 1 << 20, "connector": 64 << 20}

_OFFER: Final = "without BPF, `record --source connector` takes what the kernel tells by netlink"


def check_options(source: str, options: ChannelOptions) -> None:
    """Raise UsageError for what this source has no use for."""
    for field in fields(options):
        if getattr(options, field.name) is not None and field.name not in USES[source]:
            name = OPTION_NAMES.get(field.name, field.name)
            users = [f"--source {other}" for other, uses in USES.items() if field.name in uses]
            raise UsageError(f"--{name} means nothing to the {source}: it is for {' or '.join(users)}")
    if source == "sequencer" and options.poll == "epoll":
        raise UsageError("the sequencer wakes nobody: --poll takes busy, or milliseconds such as 10")


def open_source(request: Request, decoder: Decoder) -> Source:
    """Load what the request asks for; nothing is attached yet. Raises LinnixRecError.

    Where BPF can't work and the process connector could, the error names it; it is never taken by itself.
    """
    check_options(request.source, request.channel)
    try:
        return _open(request, decoder)
    except RecordingError as error:
        if request.source != "connector" and _only_the_connector_works():
            raise RecordingError(f"{error}; {_OFFER}") from error
        raise


def _only_the_connector_works() -> bool:
    from linnix_rec.bpf.btf import read_vmlinux
    from linnix_rec.bpf.host import read_host, requirements
    from linnix_rec.sources.connector_offer import connector_line

    try:
        found = requirements(read_host(read_vmlinux()))
    except RecordingError as error:
        found = requirements(read_host(None, str(error)))
    return any(line.required and not line.met for line in found) and connector_line(found).met


def _open(request: Request, decoder: Decoder) -> Source:
    options = request.channel
    size_bytes = options.size_bytes or DEFAULT_BYTES.get(request.source, 0)
    if request.source == "ringbuf":
        from linnix_rec.sources.ringbuf import RingbufSource, load_ringbuf

        return RingbufSource(
            load_ringbuf(
                size_bytes,
                wakeup=options.wakeup or "adaptive",
                tree_only=request.tree_only,
                with_argv=request.argv,
            ),
            decoder,
        )
    if request.source == "perf":
        from linnix_rec.sources.perf import PerfSource, load_perf

        return PerfSource(
            load_perf(
                size_bytes,
                wakeup=options.wakeup or "adaptive",
                tree_only=request.tree_only,
                with_argv=request.argv,
            ),
            decoder,
            merge=options.merge or "time",
        )
    if request.source == "connector":
        from linnix_rec.session.beginning import redaction
        from linnix_rec.sources.connector_source import ConnectorSource

        return ConnectorSource(
            buffer_bytes=size_bytes,
            tree_only=request.tree_only,
            with_argv=request.argv,
            redact=redaction(request.redact),
        )
    from linnix_rec.sources.sequencer import SequencerSource, load_sequencer

    loaded = load_sequencer(
        request.ring_slots, tree_only=request.tree_only, with_argv=request.argv, events=request.events
    )
    return SequencerSource(loaded, decoder)


def new_decoder(request: Request) -> Decoder:
    """What turns slots into rows, as this request wants them."""
    from linnix_rec.session.beginning import redaction
    from linnix_rec.sources.decode import Decoder
    from linnix_rec.sources.syscalls import syscall_names

    return Decoder(
        os.sysconf("SC_PAGE_SIZE"),
        realtime_offset_ns=0,
        with_argv=request.argv,
        syscall_names=syscall_names(platform.machine()) if request.events else None,
        redact=redaction(request.redact),
    )
