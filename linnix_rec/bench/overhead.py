"""What recording costs, and what its peers cost: CPU, memory, the traced load's time, bytes an event.

The phases are those of the reference document's proof: nothing recorded, then idle, a usual load and a
storm. All tracers take turns in each run, in another order each time. Knows no tracer's options or output.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from linnix_rec.bench import hooks
from linnix_rec.bench.claims import claims_table, ratios
from linnix_rec.bench.peers import OURS, PERF, PS, STRACE, Peer, all_peers, births_seen_by_ps
from linnix_rec.bench.storm import Storm
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.bench.watching import (
    TYPICAL_EVENTS_PER_SECOND,
    Plan,
    Stormed,
    Work,
    storm_alone,
    storm_command,
    stormed,
    work,
)
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import LinnixRecError

FORKS: Final = 20_000
NOT_INSTALLED: Final = "not installed"
FAILED: Final = "failed"

_MB: Final = 1e6


@dataclass
class Runs:
    """What the runs of one tracer gave, in their order; `problem` if it could not be measured here.

    births: processes that ps saw of those that were born under the usual load; of the loop of ps only
    """

    work: list[Work] = field(default_factory=list)
    stormed: list[Stormed] = field(default_factory=list)
    births: list[tuple[int, int]] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class ProgramTime:
    """How often one of our programs ran, and for how long in all."""

    runs: int
    time_ns: int


def measure(runs: int, tell: Tell, *, seconds: int = 10, peers: bool = True) -> Iterator[Table]:
    """Yield the tables. Raises LinnixRecError if our own recorder can't be measured."""
    plan = Plan(seconds / 2, seconds, os.cpu_count() or 1, FORKS)
    wanted = [peer for peer in all_peers() if peers or peer.name == OURS]
    found = {peer.name: Runs(problem="" if peer.installed else NOT_INSTALLED) for peer in wanted}
    bare: list[Storm] = []
    programs: list[Mapping[str, ProgramTime]] = []
    with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as room:
        for run in range(runs):
            directory = Path(room) / str(run)
            directory.mkdir()
            bare.append(storm_alone(plan))
            for peer in turned(wanted, run):
                tell(f"overhead: {peer.name}, run {run + 1} of {runs}")
                _run(peer, directory / peer.name.replace(" ", "-"), plan, found[peer.name])
                if found[OURS].problem:
                    raise LinnixRecError(f"our own recorder can't be measured: {found[OURS].problem}")
            programs.append(program_times(directory / "proven.lrec", plan))
    yield recorder_table(found[OURS], bare, programs)
    yield programs_table(programs)
    yield from hooks.measure(runs, tell)
    yield tracers_table(found, bare, plan)
    if PS in found and found[PS].births:
        yield births_table(found[PS].births)
    yield claims_table(measured_claims(found, bare, programs))


def turned(peers: Sequence[Peer], run: int) -> list[Peer]:
    """Give the order of a run: each begins with another one."""
    first = run % len(peers)
    return [*peers[first:], *peers[:first]]


def program_times(capture: Path, plan: Plan) -> dict[str, ProgramTime]:
    """Record the storm with the kernel's statistics on, and give each program's, by its name."""
    command = (sys.executable, "-m", "linnix_rec", "record", "-q", "-a", "--prove", "-o", str(capture), "--")
    done = subprocess.run([*command, *storm_command(plan)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LinnixRecError(f"a storm could not be recorded: {done.stderr.strip()}")
    accounts = open_capture(capture).document.accounts
    assert accounts is not None
    return {
        name: ProgramTime(count, accounts.run_time_ns[name])
        for name, count in sorted(accounts.run_counts.items())
        if count
    }


def _run(peer: Peer, directory: Path, plan: Plan, into: Runs) -> None:
    """Measure one tracer once; what fails is said in its row, and it is not tried again."""
    if into.problem:
        return
    directory.mkdir()
    try:
        done = work(peer, directory, plan)
        into.work.append(done)
        if peer.name == PS:
            into.births.append((births_seen_by_ps(directory / "work"), done.load.made["fork"]))
        into.stormed.append(stormed(peer, directory, plan))
    except LinnixRecError as error:
        into.problem = str(error)


def recorder_table(ours: Runs, bare: Sequence[Storm], programs: Sequence[Mapping[str, ProgramTime]]) -> Table:
    """Our recorder, phase by phase."""
    event_ns = [ns_an_event(each) for each in programs]
    idle = [each.idle for each in ours.work if each.idle]
    rows: tuple[tuple[Cell, ...], ...] = (
        (
            "idle",
            _percent([each.average for each in idle]),
            _percent([each.peak for each in idle]),
            "",
            "",
            "",
        ),
        (
            "typical load",
            _percent([each.typical.average for each in ours.work]),
            _percent([each.typical.peak for each in ours.work]),
            _rate([each.load for each in ours.work]),
            _percent([kernel_percent(each.load, ns) for each, ns in zip(ours.work, event_ns, strict=True)]),
            "",
        ),
        (
            "fork storm",
            _percent([each.share.average for each in ours.stormed]),
            _percent([each.share.peak for each in ours.stormed]),
            _rate([each.storm for each in ours.stormed]),
            _percent(
                [kernel_percent(each.storm, ns) for each, ns in zip(ours.stormed, event_ns, strict=True)]
            ),
            _figure(slowdowns(ours.stormed, bare)),
        ),
    )
    rss = _figure([each.rss_bytes / _MB for each in ours.work], "MB")
    without = _figure([each.rss_without_maps_bytes / _MB for each in ours.work], "MB")
    return Table(
        "recorder",
        "Our recorder beside each load, CPU of one core",
        ("phase", "recorder", "at its peak", "events", "its programs", "slowdown"),
        (*rows, ("memory, with the ring", rss, "", "", "", ""), ("memory, without", without, "", "", "", "")),
        (
            "its programs: the kernel's time in them, on all CPUs; it is not part of the recorder's.",
            "peak: of samples of a second.",
            "slowdown: the load's time against that of one unrecorded, in the same run.",
        ),
    )


def programs_table(programs: Sequence[Mapping[str, ProgramTime]]) -> Table:
    """The time of each of our programs."""
    names = sorted(set().union(*programs))
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        times = [each[name] for each in programs if name in each]
        runs = tuple(float(each.runs) for each in times)
        rows.append((name, Figure(runs), Figure(tuple(each.time_ns / each.runs for each in times), "ns")))
    return Table(
        "programs",
        "Our programs in a fork storm, by the kernel's statistics",
        ("program", "runs", "time a run"),
        tuple(rows),
        ("The statistics themselves take some ns of each run.",),
    )


def tracers_table(found: Mapping[str, Runs], bare: Sequence[Storm], plan: Plan) -> Table:
    """All tracers beside each other; one that could not be measured says why."""
    columns = ("tracer", "idle", "typical load", "peak", "memory", "slowdown", "told", "bytes an event")
    rows: list[tuple[Cell, ...]] = []
    for name, runs in found.items():
        if runs.problem:
            rows.append(
                (name, NOT_INSTALLED if runs.problem == NOT_INSTALLED else FAILED, *("" for _ in columns[2:]))
            )
            continue
        idle = [each.idle.average for each in runs.work if each.idle]
        rows.append(
            (
                name,
                _percent(idle) if idle else "",
                _percent([each.typical.average for each in runs.work]),
                _percent([each.typical.peak for each in runs.work]),
                _figure([each.rss_without_maps_bytes / _MB for each in runs.work], "MB"),
                _figure(slowdowns(runs.stormed, bare)),
                _percent([100 * each.told / plan.storm_events for each in runs.stormed]),
                _figure(bytes_an_event(runs.stormed), "B"),
            )
        )
    return Table(
        "tracers",
        "Tracers of processes in turn, CPU of one core",
        columns,
        tuple(rows),
        (
            f"typical load: {TYPICAL_EVENTS_PER_SECOND} events/s for {plan.typical_s:g} s.",
            f"The storm: {plan.forks:,} forks by {plan.workers} workers. told: of its events.",
            "memory: resident, without the ring. bytes: of the output, by all the events in it.",
            "What a tracer takes inside of the tasks that it traces is in the slowdown alone.",
            *(
                f"{name} {FAILED}: {runs.problem}"
                for name, runs in found.items()
                if runs.problem not in ("", NOT_INSTALLED)
            ),
        ),
    )


def births_table(births: Sequence[tuple[int, int]]) -> Table:
    """What a loop of ps misses of a usual load."""
    return Table(
        "births",
        "What ps, once a second, sees of the typical load",
        ("", "processes born", "seen", "missed"),
        (
            (
                PS,
                _figure([born for _, born in births]),
                _figure([seen for seen, _ in births]),
                _percent([100 - 100 * seen / max(1, born) for seen, born in births]),
            ),
        ),
        ("born: the kernel's count by perf, on the whole host.",),
    )


def measured_claims(
    found: Mapping[str, Runs], bare: Sequence[Storm], programs: Sequence[Mapping[str, ProgramTime]]
) -> dict[str, Figure]:
    """Give the figures that claims are about, by the names that `claims` has for them."""
    ours, perf, strace, ps = (found.get(name, Runs()) for name in (OURS, PERF, STRACE, PS))
    figures = {
        "typical": _known([each.typical.average for each in ours.work], "%"),
        "typical peak": _known([each.typical.peak for each in ours.work], "%"),
        "idle": _known([each.idle.average for each in ours.work if each.idle], "%"),
        "program": _known([ns_an_event(each) for each in programs], "ns"),
        "memory": _known([each.rss_without_maps_bytes / _MB for each in ours.work], "MB"),
        "slowdown": _known(slowdowns(ours.stormed, bare)),
        "ps typical": _known([each.typical.average for each in ps.work], "%"),
        "strace slowdown": _known(slowdowns(strace.stormed, bare)),
        "against perf": ratios(_seconds(ours.stormed), _seconds(perf.stormed)),
        "bytes against perf": ratios(bytes_an_event(ours.stormed), bytes_an_event(perf.stormed)),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def ns_an_event(programs: Mapping[str, ProgramTime]) -> float:
    """The mean time of a program's run, of all programs together."""
    return sum(each.time_ns for each in programs.values()) / max(
        1, sum(each.runs for each in programs.values())
    )


def kernel_percent(storm: Storm, event_ns: float) -> float:
    """What share of one core the programs take for the events of a storm."""
    return 100 * storm.events * event_ns / 1e9 / storm.seconds


def slowdowns(stormed: Sequence[Stormed], bare: Sequence[Storm]) -> list[float]:
    """The storm's time against that of the unrecorded one, run by run."""
    return [each.storm.seconds / alone.seconds for each, alone in zip(stormed, bare, strict=False)]


def bytes_an_event(stormed: Sequence[Stormed]) -> list[float]:
    """Bytes of output an event that it tells."""
    return [each.output_bytes / max(1, each.told_events) for each in stormed]


def _seconds(stormed: Sequence[Stormed]) -> list[float]:
    return [each.storm.seconds for each in stormed]


def _rate(storms: Sequence[Storm]) -> Figure:
    return _figure([storm.events / storm.seconds for storm in storms], "/s")


def _percent(values: Sequence[float]) -> Figure:
    return _figure(values, "%")


def _figure(values: Sequence[float], unit: str = "") -> Figure:
    return Figure(tuple(values), unit)


def _known(values: Sequence[float], unit: str = "") -> Figure | None:
    return Figure(tuple(values), unit) if values else None
