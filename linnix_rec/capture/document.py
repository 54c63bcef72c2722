"""capture.json: what a capture says about itself, as frozen dataclasses. Knows no Parquet and no kernel.

`CaptureDocument.load` believes nothing: whatever is not of the stated type and range is one
`UnreadableCaptureError` that names the field. Keys that this version does not know are ignored, so a
newer minor addition still reads; a newer `format_version` is refused. Strings that came from processes
(the command, cgroup paths) are escaped by `capture.text`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from linnix_rec.capture import limits
from linnix_rec.capture.decode import MalformedError, decode
from linnix_rec.capture.opening import read_file
from linnix_rec.capture.schema import FORMAT_VERSION, PROCESS_FORMAT_VERSION
from linnix_rec.capture.text import shown
from linnix_rec.errors import UnreadableCaptureError

DOCUMENT_NAME: Final = "capture.json"
FORMAT: Final = "linnix-rec capture"
#: The reason in `Stopped` of a recording that could not go on; its detail says why.
FAILURE: Final = "failure"
#: What is recorded unless more is asked for, and always: forks, execs and exits.
PROCESS_EVENTS: Final = ("process",)

_SEGMENT_NAME: Final = re.compile(r"segment-[0-9]{20}\.parquet")


@dataclass(frozen=True)
class Host:
    """The machine that was recorded."""

    hostname: str
    kernel_release: str
    machine: str
    boot_id: str
    cpus: int
    page_size_bytes: int


@dataclass(frozen=True)
class ObjectFile:
    """The BPF object that produced the events; `sha256` is of the file as shipped, in hex."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Filter:
    """What was recorded: `mode` is "all", "command" or "pid"; `pid` is the first process of the tree.

    `argv` is False if no arguments were read, `redacted` True if parts of them were replaced; the command
    here is treated alike. `events` are the kinds that were asked for, as `record --events` has them: process
    (fork, exec, exit), syscall or syscall:NAME,..., failed-exec.
    """

    mode: str
    command: tuple[str, ...] | None = None
    pid: int | None = None
    argv: bool = True
    redacted: bool = False
    events: tuple[str, ...] = PROCESS_EVENTS

    @property
    def is_wide(self) -> bool:
        """Whether events are in WIDE_SCHEMA: more than what processes do was asked for."""
        return self.events != PROCESS_EVENTS


@dataclass(frozen=True)
class Started:
    """When recording began; `attached_boot_ns` is T_on, read after the last program was attached."""

    time: str
    boot_ns: int
    attached_boot_ns: int
    first_seq: int


@dataclass(frozen=True)
class ClockSample:
    """The wall clock (ns since 1970, UTC) at a moment of CLOCK_BOOTTIME (ns since boot)."""

    boot_ns: int
    realtime_ns: int


@dataclass(frozen=True)
class Stopped:
    """Why and when recording ended; `reason` is "command", "duration", "signal", "failure", ..."""

    reason: str
    detail: str
    time: str
    boot_ns: int


@dataclass(frozen=True)
class EventAccount:
    """One kind's counters in the kernel, all in events (not tickets).

    shed: took no ticket, as the reader was too far behind; only syscalls and failed execs give way so
    """

    seen: int
    filtered: int
    claimed: int
    abandoned: int
    shed: int = 0


@dataclass(frozen=True)
class Accounts:
    """The kernel's own counts: tickets, except `events`, misses and refusals.

    run_counts, run_time_ns: by program, as the kernel's statistics have them; empty without `--prove`
    listings: how often the task iterator ran to its end (each end is one more run of its program)
    running: read while programs ran, as a dump's are: then sums are bounds, not equal
    syscalls_unbegun: returns of syscalls whose beginning was not seen: they are no events
    syscalls_unwanted: returns of syscalls of other numbers than were asked for: they are no events
    channel_lost: events that a channel without tickets says itself it lost; None if it does not say

    Of a channel without tickets, `issued` are the events offered to it, `published` those that it took, and
    `abandoned` those that it refused.
    """

    issued: int
    published: int
    abandoned: int
    events: Mapping[str, EventAccount] = field(default_factory=dict)
    recursion_misses: Mapping[str, int] = field(default_factory=dict)
    storage_refused: int = 0
    laps: int = 0
    run_counts: Mapping[str, int] = field(default_factory=dict)
    run_time_ns: Mapping[str, int] = field(default_factory=dict)
    listings: int = 0
    running: bool = False
    channel_lost: int | None = None
    syscalls_unbegun: int = 0
    syscalls_unwanted: int = 0

    @property
    def shed(self) -> int:
        """Events of all kinds that took no ticket, as the reader was too far behind."""
        return sum(events.shed for events in self.events.values())


@dataclass(frozen=True)
class Channel:
    """A channel without tickets: its memory, and how it was used.

    bytes: of all its buffers; buffers: 1, or one a CPU
    wakeup: when producers wake the reader; poll: how that waits; merge: how several buffers become one
    """

    bytes: int
    buffers: int
    wakeup: str = ""
    poll: str = ""
    merge: str = ""


@dataclass(frozen=True)
class Listing:
    """One run of the task iterator: its `task` events are among the tickets first_seq to end_seq (not).

    `whole_host` is False in a pid namespace: there the iterator sees that namespace only.
    """

    first_seq: int
    end_seq: int
    whole_host: bool


@dataclass(frozen=True)
class Resumption:
    """A later recorder took up a pinned recording at ticket `seq`; what was lost meanwhile is a gap there."""

    time: str
    boot_ns: int
    seq: int


@dataclass(frozen=True)
class Pruned:
    """What retention has removed: tickets before `end_seq`, in the capture's first segments.

    rows, lost: by kind and, in tickets, by reason; event_tickets are those of the other rows
    sha256: of the last segment removed, which the first one kept names as the one before it
    boot_ns: who started later has its fork, if it has one, in what is kept
    """

    end_seq: int
    segments: int
    bytes: int
    rows: Mapping[str, int]
    event_tickets: int
    lost: Mapping[str, int]
    sha256: str
    boot_ns: int


@dataclass(frozen=True)
class PerfWitness:
    """Counts of the same tracepoints on all CPUs by perf counters, by kind.

    inner: from after the last program was attached until before the first was detached
    outer: from before the first was attached until after the last was detached
    complete: the same CPUs were online throughout, and each counter counted all the time
    """

    inner: Mapping[str, int]
    outer: Mapping[str, int]
    cpus: int
    complete: bool


@dataclass(frozen=True)
class ConnectorWitness:
    """The process connector's messages, kept in `file` beside the segments.

    lost: messages that it says itself it lost, by CPU (holes in that CPU's sequence numbers)
    overruns: how often the kernel said that the socket's buffer was full
    first_boot_ns, end_boot_ns: between these every event must be in the capture and in the messages
    """

    file: str
    sha256: str
    rows: int
    lost: Mapping[str, int]
    overruns: int
    first_boot_ns: int
    end_boot_ns: int


@dataclass(frozen=True)
class Segment:
    """One closed Parquet file: tickets first_seq (included) to end_seq (one past the last).

    closed_boot_ns: when it was closed, which is after each of its events
    lost: tickets in its gaps
    """

    name: str
    sha256: str
    first_seq: int
    end_seq: int
    rows: int
    bytes: int = 0
    closed_boot_ns: int | None = None
    lost: int = 0


@dataclass(frozen=True)
class CaptureDocument:
    """All of capture.json. `stopped` and `accounts` are None while recording, and after a crash.

    `ordered` says that the source numbers events in the kernel; if not, `channel` tells of it.
    `pin` names the pinned recording that fills this capture, `resumptions` its later recorders.
    `largest_lag`: how many events (or tickets) its reader was behind at most, when it looked.
    """

    tool_version: str
    capture_id: str
    host: Host
    object: ObjectFile | None
    ring_slots: int
    filter: Filter
    started: Started
    source: str = "sequencer"
    ordered: bool = True
    channel: Channel | None = None
    clock: tuple[ClockSample, ...] = ()
    cgroups: Mapping[str, str] = field(default_factory=dict)
    stopped: Stopped | None = None
    accounts_at_start: Accounts | None = None
    accounts: Accounts | None = None
    listings: tuple[Listing, ...] = ()
    perf: PerfWitness | None = None
    connector: ConnectorWitness | None = None
    pin: str | None = None
    resumptions: tuple[Resumption, ...] = ()
    largest_lag: int | None = None
    pruned: Pruned | None = None
    segments: tuple[Segment, ...] = ()
    format: str = FORMAT
    format_version: int = PROCESS_FORMAT_VERSION

    @property
    def last_sha256(self) -> str:
        """The SHA-256 that the next segment names as the one before it; "" if it is the first."""
        if self.segments:
            return self.segments[-1].sha256
        return self.pruned.sha256 if self.pruned else ""

    @property
    def durable_seq(self) -> int:
        """One past the last ticket that a listed segment holds."""
        return self.segments[-1].end_seq if self.segments else self.kept_from_seq

    @property
    def births_known_from_ns(self) -> int:
        """Who started later, in ns since boot, has its fork, if it has one, in what is kept."""
        attached_boot_ns = self.started.attached_boot_ns
        return max(attached_boot_ns, self.pruned.boot_ns) if self.pruned else attached_boot_ns

    @property
    def kept_from_seq(self) -> int:
        """The first ticket that retention has left."""
        return self.pruned.end_seq if self.pruned else self.started.first_seq

    @staticmethod
    def load(path: Path) -> "CaptureDocument":
        """Read a capture.json; raises UnreadableCaptureError."""
        return CaptureDocument.parse(read_file(path, limits.DOCUMENT_BYTES), str(path))

    @staticmethod
    def parse(raw: bytes, name: str) -> "CaptureDocument":
        """Read a document from its bytes; `name` stands in the message of UnreadableCaptureError."""
        _check_size(raw, name)
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            reason = f"{error}" if isinstance(error, ValueError) else "nested too deeply"
            raise UnreadableCaptureError(
                f"{name} is not whole JSON, cut short or edited: {reason}"
            ) from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UnreadableCaptureError(f'{name} is not of a linnix-rec capture: no "format": "{FORMAT}"')
        version = value.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UnreadableCaptureError(
                f"{name} has format version {version}, this linnix-rec reads up to {FORMAT_VERSION}: "
                "upgrade it"
            )
        try:
            document = decode(CaptureDocument, value)
        except MalformedError as error:
            raise UnreadableCaptureError(f"{name} is damaged: {error}") from error
        _check(document, name)
        return document

    def dump(self) -> bytes:
        """Give the document as UTF-8 JSON with a final newline."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()


def _check_size(raw: bytes, name: str) -> None:
    """Refuse what would take much more memory as objects than as JSON."""
    containers, strings = raw.count(b"[") + raw.count(b"{"), raw.count(b'"') // 2
    if (
        len(raw) > limits.DOCUMENT_BYTES
        or containers > limits.DOCUMENT_CONTAINERS
        or strings > limits.DOCUMENT_STRINGS
    ):
        raise UnreadableCaptureError(
            f"{name} is too large: {len(raw)} bytes with {containers} lists and objects, {strings} strings"
        )


def _check(document: CaptureDocument, name: str) -> None:
    """Refuse what has the right types, and still can't be."""
    if document.format_version < 1:
        version = document.format_version
        raise UnreadableCaptureError(f"{name} is damaged: there is no format version {version}")
    for segment in document.segments:
        if not _SEGMENT_NAME.fullmatch(segment.name):
            wrong = shown(segment.name)
            raise UnreadableCaptureError(f"{name} is damaged: no segment is called {wrong}")
