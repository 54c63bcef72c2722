"""One tracer at work: what it takes when nothing happens, under a usual load and in a fork storm.

Knows how to start, meter and end a tracer; what it is told to trace, its `Peer` knows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linnix_rec.bench.peers import Peer, size_bytes
from linnix_rec.bench.storm import Storm, parse
from linnix_rec.bench.usage import Meter, Share, tool_rss_bytes
from linnix_rec.errors import LinnixRecError

TYPICAL_EVENTS_PER_SECOND: Final = 300

_SETTLE_SECONDS: Final = 3.0  # to load and attach; the slowest of them compiles first
_BEGIN_SECONDS: Final = 60.0
_END_SECONDS: Final = 60.0
_SAMPLE_SECONDS: Final = 1.0
_STORM: Final = (sys.executable, "-m", "linnix_rec.bench.storm")
_TYPICAL: Final = (sys.executable, "--", "-m", "linnix_rec.bench.typical")


@dataclass(frozen=True)
class Plan:
    """How long to watch idle and under the usual load, in seconds, and how large the storm is."""

    idle_s: float
    typical_s: float
    workers: int
    forks: int

    @property
    def storm_events(self) -> int:
        """Births by the workers, deaths of their children, and their own deaths."""
        return 2 * self.forks + self.workers


@dataclass(frozen=True)
class Work:
    """What a tracer took, idle and under the usual load `load`; idle is None of one that wraps its load.

    rss_bytes: resident at the end; and without the BPF maps that it has mapped
    """

    idle: Share | None
    typical: Share
    load: Storm
    rss_bytes: int
    rss_without_maps_bytes: int


@dataclass(frozen=True)
class Stormed:
    """What a tracer took in the storm, and what its output tells: of the storm, and of all events."""

    storm: Storm
    share: Share
    told: int
    told_events: int
    output_bytes: int


def storm_alone(plan: Plan) -> Storm:
    """Run the storm with nobody watching."""
    done = subprocess.run(storm_command(plan), capture_output=True, text=True, check=False)
    return _storm_of(done.returncode, done.stdout, done.stderr)


def work(peer: Peer, directory: Path, plan: Plan) -> Work:
    """Watch a tracer idle and under the usual load. Raises LinnixRecError."""
    output = directory / "work"
    if peer.wraps:
        typical, load, rss = _wrapped(peer, output, _typical_command(plan))
        return Work(None, typical, load, rss, rss)
    with _running(peer, output) as leader:
        idle = _metered(leader, plan.idle_s)
        typical, load = _beside(leader, _typical_command(plan))
        resident = tool_rss_bytes(leader), tool_rss_bytes(leader, with_maps=False)
    return Work(idle, typical, load, *resident)


def stormed(peer: Peer, directory: Path, plan: Plan) -> Stormed:
    """Watch a tracer in the storm, and read its output. Raises LinnixRecError."""
    output = directory / "storm"
    if peer.wraps:
        share, storm, _ = _wrapped(peer, output, storm_command(plan))
    else:
        with _running(peer, output) as leader:
            share, storm = _beside(leader, storm_command(plan))
    told = peer.told(output)
    # Of the storm's own parent it may tell, too.
    return Stormed(storm, share, min(told.storm, plan.storm_events), told.events, size_bytes(output))


def storm_command(plan: Plan) -> tuple[str, ...]:
    """The storm as a command."""
    return (*_STORM, "--workers", str(plan.workers), "--forks", str(plan.forks))


def _typical_command(plan: Plan) -> tuple[str, ...]:
    rate = ("--rate", str(TYPICAL_EVENTS_PER_SECOND))
    return (*_STORM, *_TYPICAL, "--seconds", str(plan.typical_s), *rate)


@contextmanager
def _running(peer: Peer, output: Path) -> Iterator[int]:
    """Have a tracer run on the whole host meanwhile; gives its pid. Then it is interrupted, as by Ctrl-C."""
    said = output.with_suffix(".said")
    command = peer.command(output)
    with said.open("wb") as errors, (output if peer.prints else said).open("ab") as prints:
        tracer = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=prints, stderr=errors, start_new_session=True
        )
    try:
        _await(output / peer.sign, tracer, said)
        time.sleep(_SETTLE_SECONDS)
        _still_runs(tracer, said)
        yield tracer.pid
        _still_runs(tracer, said)
        os.killpg(tracer.pid, signal.SIGINT)
        try:
            tracer.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise LinnixRecError(f"it did not end within {_END_SECONDS:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(tracer.pid, signal.SIGKILL)
        tracer.wait()


def _await(sign: Path, tracer: subprocess.Popen[bytes], said: Path) -> None:
    """Wait until the tracer's sign is there: its output, or something in it."""
    give_up = time.monotonic() + _BEGIN_SECONDS
    while not sign.exists():
        _still_runs(tracer, said)
        if time.monotonic() > give_up:
            raise LinnixRecError(f"it did not begin within {_BEGIN_SECONDS:.0f} s")
        time.sleep(0.05)


def _still_runs(tracer: subprocess.Popen[bytes], said: Path) -> None:
    if tracer.poll() is not None:
        raise LinnixRecError(_last_line(said.read_text(errors="replace"), tracer.returncode))


def _beside(leader: int, load: Sequence[str]) -> tuple[Share, Storm]:
    """Run a load, and meter the tracer until it ends."""
    meter = Meter(leader)
    started = subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while True:
        try:
            stdout, stderr = started.communicate(timeout=_SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            meter.sample()
    meter.sample()
    return meter.share(), _storm_of(started.returncode, stdout, stderr)


def _wrapped(peer: Peer, output: Path, load: Sequence[str]) -> tuple[Share, Storm, int]:
    """Have a tracer start a load, and meter it until that ends; also its resident memory, at its most."""
    said = output.with_suffix(".said")
    with said.open("wb") as errors:
        tracer = subprocess.Popen(
            [*peer.command(output), *load],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    meter, rss = Meter(tracer.pid), 0
    while True:
        try:
            stdout, _ = tracer.communicate(timeout=_SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            meter.sample()
            rss = max(rss, tool_rss_bytes(tracer.pid))
    return meter.share(), _storm_of(tracer.returncode, stdout, said.read_text(errors="replace")), rss


def _metered(leader: int, seconds: float) -> Share:
    meter, end = Meter(leader), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _SAMPLE_SECONDS))
        meter.sample()
    return meter.share()


def _storm_of(status: int, stdout: str, stderr: str) -> Storm:
    if status:
        raise LinnixRecError(_last_line(stderr, status))
    return parse(stdout)


def _last_line(said: str, status: int) -> str:
    """What a process said last, without its colours; its status if it said nothing."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"it ended with status {status}"
