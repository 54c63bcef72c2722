"""Other tracers of processes: how each is started on the whole host, and how its output is read.

Each is asked for the same three events, with the options that its own manual shows for that. Of its output,
what tells of our storm's workers is counted apart, by their name: how many that are, the storm itself knows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linnix_rec.bench.storm import NAME
from linnix_rec.capture.document import DOCUMENT_NAME

OURS: Final = "linnix-rec record"
PERF: Final = "perf record"
STRACE: Final = "strace -f"
PS: Final = "ps aux, each second"

_TRACEPOINTS: Final = ("sched_process_fork", "sched_process_exec", "sched_process_exit")
_BPFTRACE: Final = "\n".join(
    f'tracepoint:sched:sched_process_{kind} {{ printf("{kind} %d %s\\n", pid, comm); }}'
    for kind in ("fork", "exec", "exit")
)
# The reference document's way to look at processes without tracing, once a second.
_PS_LOOP: Final = """cd "$1"; ps aux > old
while :; do ps aux > new; diff old new >> changes; mv new old; sleep 1; done"""


@dataclass(frozen=True)
class Told:
    """What an output tells: of the storm's births and deaths, and of all events."""

    storm: int
    events: int


@dataclass(frozen=True)
class Peer:
    """One tracer. `output` is a path of ours: a file, or for some a directory.

    program: what must be installed; None if it always is
    command: its arguments, from the output's path; of one that `wraps`, the load's come behind
    told: what its output tells of
    sign: what is there, below the output, when it has begun; "" if that is the output itself
    prints: the output is what it prints
    """

    name: str
    program: str | None
    command: Callable[[Path], tuple[str, ...]]
    told: Callable[[Path], Told]
    sign: str = ""
    prints: bool = False
    wraps: bool = False

    @property
    def installed(self) -> bool:
        return self.program is None or shutil.which(self.program) is not None


def all_peers() -> tuple[Peer, ...]:
    """All tracers, our own first."""
    return (
        Peer(OURS, None, _ours, _told_by_us, sign=DOCUMENT_NAME),
        Peer(PERF, "perf", _perf, _told_by_perf),
        Peer("bpftrace", "bpftrace", _bpftrace, _told_by_bpftrace),
        Peer("forkstat", "forkstat", _forkstat, _told_by_forkstat, prints=True),
        Peer("trace-cmd", "trace-cmd", _trace_cmd, _told_by_trace_cmd),
        Peer(STRACE, "strace", _strace, _told_by_strace, wraps=True),
        Peer(PS, "ps", _ps, _told_by_ps),
    )


def size_bytes(output: Path) -> int:
    """Give the bytes of an output, a file or a directory's files."""
    if output.is_dir():
        return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    return output.stat().st_size if output.exists() else 0


def _ours(output: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "linnix_rec", "record", "-q", "-a", "-o", str(output))


def _perf(output: Path) -> tuple[str, ...]:
    events = (f"sched:{name}" for name in _TRACEPOINTS)
    return ("perf", "record", "-q", "-a", "-o", str(output), "-e", ",".join(events))


def _bpftrace(output: Path) -> tuple[str, ...]:
    return ("bpftrace", "-o", str(output), "-e", _BPFTRACE)


def _forkstat(_output: Path) -> tuple[str, ...]:
    return ("forkstat", "-c", "-e", "fork,exec,exit")


def _trace_cmd(output: Path) -> tuple[str, ...]:
    events = (part for name in _TRACEPOINTS for part in ("-e", f"sched:{name}"))
    return ("trace-cmd", "record", "-q", "-o", str(output), *events)


def _strace(output: Path) -> tuple[str, ...]:
    return ("strace", "-f", "-q", "-e", "trace=process", "-o", str(output))


def _ps(output: Path) -> tuple[str, ...]:
    output.mkdir()
    return ("sh", "-c", _PS_LOOP, "sh", str(output))


# Each finds the lines that tell of an event, and of which kind.
_PERF: Final = re.compile(r"sched:sched_process_(?P<kind>fork|exec|exit):")
_BPFTRACE_LINE: Final = re.compile(r"^(?P<kind>fork|exec|exit) \d+ ")
_FORKSTAT: Final = re.compile(r"^\S+ (?P<kind>fork|exec|exit) +\d+ +(?!parent)")
_TRACE_CMD: Final = re.compile(r" sched_process_(?P<kind>fork|exec|exit):")
# A call that another interrupts takes two lines, and ends on the second.
_STRACE: Final = re.compile(
    r"\b(?P<fork>(?:clone3?|v?fork)(?:\(| resumed>).* = \d+$)"
    r"|\b(?P<exec>execve(?:at)?(?:\(| resumed>).* = 0$)"
    r"|\+\+\+ (?P<exit>exited|killed) "
)
_PS_STORM: Final = re.compile(r"^> \S+ +(\d+) .*linnix_rec\.bench\.storm", re.MULTILINE)
_PS_NEW: Final = re.compile(r"^> \S+ +(\d+) (?!.* (?:ps aux|diff old new|sleep 1)$)", re.MULTILINE)

_BIRTH_AND_DEATH: Final = ("fork", "exit")
#: It asks /proc for names, where who lived shortly has none any more: those are told, if not of whom.
_UNKNOWN: Final = "<unknown>"


def _told_by_us(capture: Path) -> Told:
    import pyarrow.compute as pc

    from linnix_rec.capture.reader import open_capture

    kinds = _array(_BIRTH_AND_DEATH)
    storm = events = 0
    for batch in open_capture(capture).batches(["kind", "comm"]):
        kind = pc.cast(batch["kind"], "string")
        of_storm = pc.and_(pc.equal(pc.cast(batch["comm"], "string"), NAME), pc.is_in(kind, value_set=kinds))
        storm += pc.sum(of_storm).as_py() or 0
        events += batch.num_rows
    return Told(storm, events)


def _array(values: Sequence[str]) -> object:
    import pyarrow as pa

    return pa.array(values)


def _told_by_perf(output: Path) -> Told:
    return _told(_lines_of("perf", "script", "-i", str(output), "-F", "comm,event"), _PERF)


def _told_by_bpftrace(output: Path) -> Told:
    return _told(_lines(output), _BPFTRACE_LINE)


def _told_by_forkstat(output: Path) -> Told:
    return _told(_lines(output), _FORKSTAT, (NAME, _UNKNOWN))


def _told_by_trace_cmd(output: Path) -> Told:
    return _told(_lines_of("trace-cmd", "report", "-i", str(output)), _TRACE_CMD)


def _told_by_strace(output: Path) -> Told:
    """It traces the storm's processes only, its main one among them."""
    found = [match for line in _lines(output) if (match := _STRACE.search(line))]
    return Told(sum(match.lastgroup != "exec" for match in found), len(found))


def _told_by_ps(output: Path) -> Told:
    """Each of the storm's processes that a listing has is taken as its birth and its death told."""
    return Told(2 * len(set(_PS_STORM.findall(_changes(output)))), 2 * births_seen_by_ps(output))


def births_seen_by_ps(output: Path) -> int:
    """Give how many processes came up in some listing and were not in the first, the loop's own left out."""
    return len(set(_PS_NEW.findall(_changes(output))))


def _told(lines: Iterable[str], pattern: re.Pattern[str], names: Sequence[str] = (NAME,)) -> Told:
    storm = events = 0
    for line in lines:
        match = pattern.search(line)
        if match:
            events += 1
            storm += match["kind"] in _BIRTH_AND_DEATH and any(name in line for name in names)
    return Told(storm, events)


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from lines


def _lines_of(*command: str) -> Iterator[str]:
    reading = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    )
    assert reading.stdout is not None
    with reading:
        yield from reading.stdout


def _changes(output: Path) -> str:
    changes = output / "changes"
    return changes.read_text(encoding="utf-8", errors="replace") if changes.exists() else ""
