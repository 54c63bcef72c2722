"""The paper's experiment: what each channel captures of a fork storm, loses and misorders. Attaches nothing.

Each attempt is one whole `linnix-rec record --source CHANNEL -a -- STORM`, as a user would start it, with
the channel's own defaults but for its size. What happened is the kernel's count by perf between two moments
(`storm`); what was captured are the rows that the capture has between the same two moments; inversions are
counted in the whole capture (`proof.inversions`). Channels take turns, in another order each run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from linnix_rec.bench.storm import Storm, parse
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.capture import columns
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.reader import Capture, open_capture
from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.errors import LinnixRecError
from linnix_rec.proof.inversions import count_inversions

#: The options of `record` by channel; by default perf's buffers are put in order by time.
CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "sequencer": ("--source", "sequencer"),
    "ringbuf": ("--source", "ringbuf"),
    "perf": ("--source", "perf"),
    "perf, as read": ("--source", "perf", "--merge", "none"),
    "connector": ("--source", "connector"),
}
UNRECORDED: Final = "unrecorded"
FAILED: Final = "failed"

SLOT_BYTES: Final = 128
_RECORD: Final = (sys.executable, "-m", "linnix_rec", "record", "-q", "--force", "-a")
_STORM: Final = (sys.executable, "-m", "linnix_rec.bench.storm")

#: Bytes of all buffers together, by channel; the paper states the sequencer's and perf's (64 KiB a CPU).
_PAPER_SEQUENCER_BYTES: Final = 128 << 20
_PAPER_PERF_BYTES_A_CPU: Final = 64 << 10
_USUAL_RINGBUF_BYTES: Final = 256 << 10
_RMEM_DEFAULT: Final = Path("/proc/sys/net/core/rmem_default")

EQUAL_BYTES: Final = (1 << 20, 8 << 20)
SWEEP_BYTES: Final = (128 << 10, 512 << 10, 2 << 20, 8 << 20)


@dataclass(frozen=True)
class Load:
    """A storm to record, as a command that prints a `Storm`."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """What came of one storm, recorded or not; `problem` says why not, in one line.

    captured: rows of forks, execs and exits between the storm's two moments
    said_lost: what the capture itself says was lost, events or tickets, over all of its time
    """

    storm: Storm | None = None
    captured: int = 0
    said_lost: int = 0
    inversions: int = 0
    memory_bytes: int = 0
    problem: str = ""


def measure(
    runs: int,
    tell: Tell,
    *,
    workers: Sequence[int] = (2, 8, 32),
    forks: int = 20_000,
    sizes: str = "all",
    keep: Path | None = None,
) -> Iterator[Table]:
    """Yield the tables of one or all `sizes`: "paper", "equal", "sweep". Raises LinnixRecError."""
    with _room(keep) as directory:
        loads = [_own(count, forks) for count in workers]
        if sizes in ("paper", "all"):
            cpus = os.cpu_count() or 1
            trial = Trial(directory / "paper", runs, tell)
            theirs = (*loads, *_stress_ng(max(workers), forks))
            yield trial.table("paper", "sizes as the paper has them", theirs, paper_bytes(cpus), _PAPER_NOTES)
        for total in EQUAL_BYTES if sizes in ("equal", "all") else ():
            name = f"{total >> 20}MiB"
            trial = Trial(directory / name, runs, tell)
            yield trial.table(name, f"{total >> 20} MiB each", loads, dict.fromkeys(CHANNELS, total), ())
        if sizes in ("sweep", "all"):
            yield Trial(directory / "sweep", runs, tell).sweep(_own(max(workers), forks))


def paper_bytes(cpus: int) -> dict[str, int]:
    """Give each channel's memory in the paper's experiment, and what is usual where it says nothing."""
    return {
        "sequencer": _PAPER_SEQUENCER_BYTES,
        "ringbuf": _USUAL_RINGBUF_BYTES,
        "perf": _PAPER_PERF_BYTES_A_CPU * cpus,
        "perf, as read": _PAPER_PERF_BYTES_A_CPU * cpus,
        "connector": int(_RMEM_DEFAULT.read_text()) if _RMEM_DEFAULT.exists() else 208 << 10,
    }


_PAPER_NOTES: Final = (
    "The paper measured two channels: a sequencer of 128 MiB, and perf buffers of 64 KiB a CPU.",
    "The others: a ring buffer of 256 KiB, as in libbpf's examples; a socket's buffer as the kernel has it.",
)
_MADE: Final = "made: forks, execs and exits on the whole host during the storm, counted by perf."
_NOTES: Final = (
    _MADE,
    "captured, missing: rows of the same time. said lost: what the capture itself says of all its time.",
    "inversions: rows on the wrong side of their cause, in the whole capture.",
    "slowdown: the storm's time against that of one unrecorded, in the same turn.",
)


class Trial:
    """Attempts of one table, with their captures in `directory`."""

    def __init__(self, directory: Path, runs: int, tell: Tell) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._runs = runs
        self._tell = tell

    def table(
        self, name: str, title: str, loads: Sequence[Load], sizes: Mapping[str, int], notes: Sequence[str]
    ) -> Table:
        """Attempt each load through each channel, and unrecorded, as often as there are runs."""
        rows: list[tuple[Cell, ...]] = []
        problems: dict[str, None] = {}
        for load in loads:
            attempts: dict[str, list[Attempt]] = {each: [] for each in (UNRECORDED, *sizes)}
            for run in range(self._runs):
                for channel in turns(list(attempts), run):
                    attempts[channel].append(self._attempt(load, channel, sizes.get(channel, 0), run))
            baseline = attempts.pop(UNRECORDED)
            rows += (row(load, channel, made, baseline) for channel, made in attempts.items())
            problems |= dict.fromkeys(told_problems(attempts))
        told = (*_NOTES, *notes, *problems)
        return Table(name, f"Capture of a fork storm: {title}", COLUMNS, tuple(rows), told)

    def sweep(self, load: Load) -> Table:
        """Attempt one load through each channel at each size."""
        rows: list[tuple[Cell, ...]] = []
        problems: dict[str, None] = {}
        for total in SWEEP_BYTES:
            attempts: dict[str, list[Attempt]] = {channel: [] for channel in CHANNELS}
            for run in range(self._runs):
                for channel in turns(list(CHANNELS), run):
                    attempts[channel].append(self._attempt(load, channel, total, run))
            rows.append((Figure((total / (1 << 20),), "MiB"), *map(missing_share, attempts.values())))
            problems |= dict.fromkeys(told_problems(attempts))
        return Table(
            "sweep",
            f"Events missing by size of the channel, {load.name}",
            ("memory", *CHANNELS),
            tuple(rows),
            (_MADE, *problems),
        )

    def _attempt(self, load: Load, channel: str, size_bytes: int, run: int) -> Attempt:
        self._tell(f"capture: {self._directory.name}, {load.name}, {channel}, run {run + 1} of {self._runs}")
        if channel == UNRECORDED:
            return attempt((), load.command, None)
        name = f"{size_bytes >> 10}KiB {load.name} {channel} {run + 1}.lrec".replace(",", "").replace(
            " ", "-"
        )
        path = self._directory / name
        record = (*_RECORD, *channel_options(channel, size_bytes, os.cpu_count() or 1), "-o", str(path), "--")
        return attempt(record, load.command, path)


def attempt(record: Sequence[str], load: Sequence[str], path: Path | None) -> Attempt:
    """Run a storm under a recorder, or none, and count what its capture holds."""
    done = subprocess.run([*record, *load], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Attempt(problem=said.removeprefix("linnix-rec: ").removeprefix("error: "))
    storm = parse(done.stdout)
    return counted(open_capture(path), storm) if path is not None else Attempt(storm)


def counted(capture: Capture, storm: Storm) -> Attempt:
    """Count a finished capture's rows of the storm's time, its losses and inversions."""
    captured = 0
    for batch in capture.batches(["kind", "boot_ns"]):
        kind, boot_ns = columns.kind_codes(batch), columns.int64(batch, "boot_ns")
        acts = (kind == FORK) | (kind == EXEC) | (kind == EXIT)
        during = (boot_ns >= storm.begin_boot_ns) & (boot_ns <= storm.end_boot_ns)
        captured += int(np.count_nonzero(acts & during))
    document = capture.document
    return Attempt(
        storm=storm,
        captured=captured,
        said_lost=sum(segment.lost for segment in document.segments),
        inversions=count_inversions(capture).total,
        memory_bytes=memory_bytes(document),
    )


def memory_bytes(document: CaptureDocument) -> int:
    """Give what the channel's buffers took."""
    return document.channel.bytes if document.channel else document.ring_slots * SLOT_BYTES


def channel_options(channel: str, total_bytes: int, cpus: int) -> tuple[str, ...]:
    """Give the options of `record` for a channel of about so many bytes in all.

    A perf buffer is a power of two for each CPU: the largest that keeps within the total. Of a socket the
    kernel takes twice what it is asked for (socket(7): SO_RCVBUF).
    """
    options = CHANNELS[channel]
    if "sequencer" in options:
        return (*options, "--ring-slots", str(max(1024, total_bytes // SLOT_BYTES)))
    if "perf" in options:
        a_cpu = max(1, total_bytes // cpus)
        total_bytes = 1 << (a_cpu.bit_length() - 1)
    if "connector" in options:
        total_bytes //= 2
    return (*options, "--size", str(total_bytes))


def turns(channels: Sequence[str], run: int) -> list[str]:
    """Give the order of a run: each begins with another channel."""
    first = run % len(channels)
    return [*channels[first:], *channels[:first]]


COLUMNS: Final = (
    "load", "channel", "memory", "made", "captured", "missing", "said lost", "inversions", "slowdown",
)  # fmt: skip


def row(
    load: Load, channel: str, attempts: Sequence[Attempt], baseline: Sequence[Attempt]
) -> tuple[Cell, ...]:
    """Give a channel's row; it has no figures if one attempt failed."""
    if any(each.problem for each in (*attempts, *baseline)):
        return (load.name, channel, FAILED, *("" for _ in COLUMNS[3:]))
    stormed = [(each, each.storm) for each in attempts if each.storm]
    alone = [each.storm for each in baseline if each.storm]
    return (
        load.name,
        channel,
        Figure(tuple(each.memory_bytes / (1 << 20) for each, _ in stormed), "MiB"),
        Figure(tuple(storm.events for _, storm in stormed)),
        Figure(tuple(100 * each.captured / storm.events for each, storm in stormed), "%"),
        Figure(tuple(storm.events - each.captured for each, storm in stormed)),
        Figure(tuple(each.said_lost for each, _ in stormed)),
        Figure(tuple(each.inversions for each, _ in stormed)),
        Figure(
            tuple(
                storm.seconds / unrecorded.seconds
                for (_, storm), unrecorded in zip(stormed, alone, strict=True)
            )
        ),
    )


def told_problems(attempts: Mapping[str, Sequence[Attempt]]) -> Iterator[str]:
    """Give a line about each channel that failed."""
    for channel, made in attempts.items():
        problem = next((each.problem for each in made if each.problem), None)
        if problem is not None:
            yield f"{channel} {FAILED}: {problem}"


def missing_share(attempts: Sequence[Attempt]) -> Cell:
    """Give the share of events that the captures lack."""
    if any(each.problem for each in attempts):
        return FAILED
    return Figure(
        tuple(100 - 100 * each.captured / each.storm.events for each in attempts if each.storm), "%"
    )


def _own(workers: int, forks: int) -> Load:
    command = (*_STORM, "--workers", str(workers), "--forks", str(forks))
    return Load(f"{workers} worker{'s' * (workers > 1)}", command)


def _stress_ng(workers: int, forks: int) -> tuple[Load, ...]:
    """The paper's own load, if it is installed."""
    if shutil.which("stress-ng") is None:
        return ()
    command = ("stress-ng", "--", "--quiet", "--fork", str(workers), "--fork-ops", str(forks))
    return (Load(f"{workers} of stress-ng", (*_STORM, *command)),)


@contextmanager
def _room(keep: Path | None) -> Iterator[Path]:
    """A place for the captures, which stays if they are to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as directory:
            yield Path(directory)
        return
    if keep.exists() and any(keep.iterdir()):
        raise LinnixRecError(f"{keep} is not empty: name a new directory to keep captures in")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep
