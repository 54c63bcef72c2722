"""What was asked of the recorder, and what follows from it alone. Knows no BPF and starts nothing."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from linnix_rec.sources.syscalls import Events

PROCESSES_ONLY: Final = Events()
CAPTURE_SUFFIX: Final = ".lrec"
BUFFER_BYTES: Final = 64 << 20
SEGMENT_SECONDS: Final = 10.0
FIRST_SEGMENT_SECONDS: Final = 1.0  # doubled with each: of a short recording that is killed little is lost


@dataclass(frozen=True)
class ChannelOptions:
    """How a source's channel is used; None where nothing was asked for.

    size_bytes: of its buffer; of perf buffers, each
    wakeup: when producers wake the reader: adaptive, none, force, every:N
    poll: how the reader waits: epoll, busy, or milliseconds
    merge: how perf's buffers become one: time, none
    """

    size_bytes: int | None = None
    wakeup: str | None = None
    poll: str | None = None
    merge: str | None = None


@dataclass(frozen=True)
class Request:
    """One `linnix-rec record`.

    command: run and recorded until it ends; empty for none
    pid: a process whose tree is recorded, until it ends
    whole_host: record every task, even with a command or pid
    wait: go on until the last task of the tree has ended
    duration_s: stop then, whatever still runs
    buffer_bytes: bound on the batches between reader and writer
    pin: keep the programs and the ring under this name in bpffs: they outlive this process
    take_up: if that name is pinned already, by a recorder that has died, go on with its capture
    resume: go on with this capture, whose recorder has died and whose programs are pinned
    prove: have the kernel count the programs' runs
    witnesses: "perf", "connector": who counts beside us
    argv: record arguments; redact: a pattern of what to take out of them
    segment_seconds: a segment is closed, and so durable, after this long
    keep_bytes, keep_seconds: old segments go, beyond so much or so long
    source: where events come from; channel: how it is used
    shadow: a second source, recorded beside, with its own options
    events: what is recorded besides forks, execs and exits
    """

    command: tuple[str, ...] = ()
    pid: int | None = None
    whole_host: bool = False
    output: Path | None = None
    force: bool = False
    user: str | None = None
    duration_s: float | None = None
    ring_slots: int = 1 << 20
    buffer_bytes: int = BUFFER_BYTES
    wait: bool = False
    strict: bool = False
    quiet: bool = False
    pin: str | None = None
    take_up: bool = False
    resume: Path | None = None
    prove: bool = False
    witnesses: tuple[str, ...] = ()
    argv: bool = True
    redact: str | None = None
    segment_seconds: float = SEGMENT_SECONDS
    keep_bytes: int | None = None
    keep_seconds: float | None = None
    events: Events = PROCESSES_ONLY
    source: str = "sequencer"
    channel: ChannelOptions = ChannelOptions()
    shadow: str | None = None
    shadow_channel: ChannelOptions = ChannelOptions()

    @property
    def tree_only(self) -> bool:
        """Whether only a process tree is recorded."""
        return not self.whole_host and (bool(self.command) or self.pid is not None)

    @property
    def mode(self) -> str:
        """The filter's mode, as capture.json has it."""
        if not self.tree_only:
            return "all"
        return "command" if self.command else "pid"


def output_path(request: Request, now: datetime | None = None) -> Path:
    """Where the capture goes: as asked, else `./WHAT-<UTC time>.lrec`."""
    if request.output is not None:
        return request.output
    if request.command:
        what = re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.basename(request.command[0])) or "command"
    else:
        what = f"pid{request.pid}" if request.pid is not None else "host"
    return utc_name(what, now)


def utc_name(what: str, now: datetime | None = None) -> Path:
    """`./WHAT-<UTC time>.lrec`; `-2` and so on behind the time if another began in the same second."""
    moment = now or datetime.now(timezone.utc)
    name = f"{what}-{moment:%Y%m%dT%H%M%SZ}"
    path, number = Path(name + CAPTURE_SUFFIX), 1
    while path.exists():
        number += 1
        path = Path(f"{name}-{number}{CAPTURE_SUFFIX}")
    return path


def owner(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Whom the capture belongs to when root runs for somebody else through sudo."""
    if os.geteuid() != 0:
        return None
    try:
        return int(environment["SUDO_UID"]), int(environment["SUDO_GID"])
    except (KeyError, ValueError):
        return None
