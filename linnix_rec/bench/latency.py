"""How long an event takes to its reader, by channel and by how the reader waits. Attaches sources itself.

From the time in the event to the moment when its row is there in Python, decoded. The reader is a loop as a
recording's, but writes nothing: a recording's own writer works in another thread.
"""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.capture import columns
from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.errors import LinnixRecError
from linnix_rec.session import clock
from linnix_rec.session.opening import new_decoder, open_source
from linnix_rec.session.recording import (
    FEW_SECONDS,
    FEW_TICKETS,
    IDLE_SECONDS,
    READ_TICKETS,
    idle_seconds,
    is_worth_reading,
)
from linnix_rec.session.request import ChannelOptions, Request
from linnix_rec.sources.source import Source

#: perf's merge by time gives with one reading what it held back of the one before.
_LAST_READINGS: Final = 2

Nanoseconds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """A channel, when it wakes its reader, and how that waits."""

    source: str
    options: ChannelOptions

    @property
    def wakeup(self) -> str:
        """As `--wakeup` has it; the connector's socket always wakes, the sequencer never."""
        if self.source in ("sequencer", "connector"):
            return {"sequencer": "none", "connector": "force"}[self.source]
        return self.options.wakeup or "adaptive"

    @property
    def poll(self) -> str:
        poll = self.options.poll
        return f"{poll} ms" if poll and poll.isdigit() else poll or "default"

    @property
    def name(self) -> str:
        return f"{self.source}, {self.options.merge or 'time'}" if self.source == "perf" else self.source


WAYS: Final = (
    Way("sequencer", ChannelOptions()),
    Way("sequencer", ChannelOptions(poll="10")),
    Way("sequencer", ChannelOptions(poll="1")),
    Way("sequencer", ChannelOptions(poll="busy")),
    Way("ringbuf", ChannelOptions(poll="epoll", wakeup="adaptive")),
    Way("ringbuf", ChannelOptions(poll="10", wakeup="none")),
    Way("ringbuf", ChannelOptions(poll="busy", wakeup="none")),
    Way("perf", ChannelOptions(poll="epoll", wakeup="adaptive")),
    Way("perf", ChannelOptions(poll="epoll", wakeup="force")),
    Way("perf", ChannelOptions(poll="epoll", wakeup="force", merge="none")),
    Way("perf", ChannelOptions(poll="10", wakeup="none")),
    Way("perf", ChannelOptions(poll="busy", wakeup="none")),
    Way("connector", ChannelOptions(poll="epoll")),
    Way("connector", ChannelOptions(poll="10")),
    Way("connector", ChannelOptions(poll="busy")),
)


@dataclass(frozen=True)
class Load:
    """What makes events meanwhile, as a command that ends."""

    name: str
    title: str
    command: tuple[str, ...]


TYPICAL: Final = Load(
    "typical",
    "some 300 events a second",
    (sys.executable, "-m", "linnix_rec.bench.typical", "--seconds", "3", "--rate", "300"),
)
STORM: Final = Load(
    "storm",
    "a fork storm",
    (sys.executable, "-m", "linnix_rec.bench.storm", "--workers", "2", "--forks", "20000"),
)


@dataclass(frozen=True)
class Watched:
    """What a reader saw of one load.

    latencies_ns: of each fork, exec and exit
    lost: events that it never saw; busy: the share of one core that it took
    """

    latencies_ns: Nanoseconds
    lost: int
    busy: float


def measure(
    runs: int, tell: Tell, *, ways: Sequence[Way] = WAYS, loads: Sequence[Load] = (TYPICAL, STORM)
) -> Iterator[Table]:
    """Yield a table for each load. Raises LinnixRecError if a load can't be run."""
    watched: dict[tuple[Way, Load], list[Watched]] = {}
    problems: dict[Way, str] = {}
    for run in range(runs):
        for place in range(len(ways)):
            way = ways[(run + place) % len(ways)]
            tell(f"latency: {way.name}, wake-up {way.wakeup}, poll {way.poll}, run {run + 1} of {runs}")
            if way not in problems:
                try:
                    for load, seen in zip(loads, _watch_all(way, loads), strict=True):
                        watched.setdefault((way, load), []).append(seen)
                except LinnixRecError as error:
                    problems[way] = str(error).splitlines()[0]
    for load in loads:
        rows = (
            problem_row(way, problems[way]) if way in problems else row(way, watched[way, load])
            for way in ways
        )
        yield Table(
            f"latency-{load.name}",
            f"From an event to its reader, {load.title}",
            COLUMNS,
            tuple(rows),
            _NOTES,
        )


COLUMNS: Final = ("channel", "wake-up", "poll", "p50", "p99", "max", "reader's CPU", "events", "lost")
_NOTES: Final = (
    f"From the time in the event to its row in Python. epoll waits at most {IDLE_SECONDS:g} s.",
    f"default looks as often, and leaves fewer than {FEW_TICKETS:,} tickets alone for {FEW_SECONDS:g} s.",
    "adaptive: the ring buffer wakes a reader that has caught up, a perf buffer one when it is half full.",
    "perf, time: what is merged by time is held back for one reading.",
)


def row(way: Way, seen: Sequence[Watched]) -> tuple[Cell, ...]:
    """Tell percentiles, each a figure of the runs."""
    if not all(len(each.latencies_ns) for each in seen):
        return problem_row(way, "it saw no event")
    percentiles = [np.percentile(each.latencies_ns, (50, 99, 100)) / 1000 for each in seen]
    p50, p99, greatest = (
        Figure(tuple(float(each[which]) for each in percentiles), "us") for which in range(3)
    )
    return (
        way.name,
        way.wakeup,
        way.poll,
        p50,
        p99,
        greatest,
        Figure(tuple(100 * each.busy for each in seen), "%"),
        Figure(tuple(len(each.latencies_ns) for each in seen)),
        Figure(tuple(each.lost for each in seen)),
    )


def problem_row(way: Way, problem: str) -> tuple[Cell, ...]:
    """Tell why there are no figures."""
    return (way.name, way.wakeup, way.poll, problem, *("" for _ in COLUMNS[4:]))


def _watch_all(way: Way, loads: Sequence[Load]) -> Iterator[Watched]:
    """Begin as a recording does, and watch one load after the other."""
    request = Request(whole_host=True, source=way.source, channel=way.options)
    with open_source(request, new_decoder(request)) as source:
        now = clock.sample()
        source.realtime_offset_ns = now.realtime_ns - now.boot_ns
        source.attach()
        source.list_tasks()
        with Reader(source, way.options.poll) as reader:
            for load in loads:
                yield reader.watch(load.command)
        source.detach()


class Reader:
    """Reads a source that is attached, and waits in between as it is told. A context manager."""

    def __init__(self, source: Source, poll: str | None) -> None:
        self._source = source
        self._poll = poll
        self._idle_seconds = idle_seconds(poll, source.ring_slots)
        self._read_at = time.monotonic()
        self._has_more = False
        self._latencies: list[_Seen] = []
        self._selector = selectors.DefaultSelector()
        if poll in (None, "epoll"):
            for descriptor in source.descriptors:
                self._selector.register(descriptor, selectors.EVENT_READ)

    def watch(self, load: Sequence[str]) -> Watched:
        """Read while the load runs, and what it left. Raises LinnixRecError if it fails."""
        for _ in range(_LAST_READINGS):  # what came before
            self._read()
        self._latencies.clear()
        lost = self._source.lost
        running = subprocess.Popen(load, stdout=subprocess.DEVNULL)
        began_ns, began_cpu = clock.boot_ns(), time.thread_time()  # to start it kept us from reading
        pidfd = os.pidfd_open(running.pid)
        try:
            self._selector.register(pidfd, selectors.EVENT_READ)
            while not self._has_ended(pidfd):
                if is_worth_reading(self._poll, self._source, time.monotonic() - self._read_at):
                    self._read()
            self._selector.unregister(pidfd)
        finally:
            os.close(pidfd)
            if running.wait():
                raise LinnixRecError(f"the load failed, status {running.returncode}: {' '.join(load)}")
        busy = (time.thread_time() - began_cpu) * 1e9 / (clock.boot_ns() - began_ns)
        for _ in range(_LAST_READINGS):
            self._selector.select(self._idle_seconds)
            self._read()
        return Watched(self._since(began_ns), self._source.lost - lost, busy)

    def _has_ended(self, pidfd: int) -> bool:
        """Wait as a recording does; whether the process is no more."""
        seconds = 0.0 if self._has_more else self._idle_seconds
        return any(key.fd == pidfd for key, _ in self._selector.select(seconds))

    def _read(self) -> None:
        self._read_at = time.monotonic()
        before = self._source.seq
        for batch in self._source.read(READ_TICKETS):
            now_ns = clock.boot_ns()
            kind, boot_ns = columns.kind_codes(batch), columns.int64(batch, "boot_ns")
            acts = (kind == FORK) | (kind == EXEC) | (kind == EXIT)
            self._latencies.append(_Seen(boot_ns[acts], now_ns))
        self._has_more = self._source.seq - before >= READ_TICKETS // 2

    def _since(self, began_ns: int) -> Nanoseconds:
        """How long each event took that happened from then on."""
        each = [seen.now_ns - seen.boot_ns[seen.boot_ns >= began_ns] for seen in self._latencies]
        return np.concatenate(each) if each else np.zeros(0, np.int64)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._selector.close()


@dataclass(frozen=True)
class _Seen:
    """When the events of a batch were, and when the batch was there; ns since boot."""

    boot_ns: Nanoseconds
    now_ns: int
