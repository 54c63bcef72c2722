"""Lives of processes, one line each: fork → exec* → exit. Knows no tree and no files."""

from collections.abc import Iterable, Iterator

from linnix_rec.capture.text import printable
from linnix_rec.replay.lineage import Tally
from linnix_rec.replay.process import Birth, Process, Step
from linnix_rec.report import words
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import cut_to

_ARROW = " -> "


def chain_lines(processes: Iterable[Process], *, width: int | None = None, ink: Ink = PLAIN) -> Iterator[str]:
    """Give each process's life as a line, cut to `width` columns; numbers after fork, exec, exit are seqs."""
    for process in processes:
        line = cut_to(chain(process), width)
        yield _painted(process, line, ink) if ink.colored else line


def chain(process: Process) -> str:
    """Give one life: `pid 7  fork 1 by 6 sh -> exec 2 /bin/true [true] -> exit 9 code 0  1.20 ms`."""
    links = [_first_link(process), *map(_exec_link, process.steps), _last_link(process)]
    took_ns = words.took_ns(process)
    took = "" if took_ns is None else f"  {words.duration(took_ns)}"
    return f"pid {process.pid}  {_ARROW.join(links)}{took}"


def tally_line(tally: Tally, lost_unit: str = "ticket") -> str:
    """Say how many lives are whole, and why the others are not; `lost_unit` is what the gaps count."""
    reasons = [
        (tally.existed_before, "existed before"),
        (tally.still_running, "still ran at the end"),
        (tally.birth_unknown, "without a fork in the capture"),
    ]
    others = words.joined(f"{count:,} {reason}" for count, reason in reasons if count)
    line = f"{words.counted(tally.processes, 'process', 'processes')}: {tally.whole:,} whole (fork to exit)"
    line += f"; {others}" if others else ""
    if tally.lost_tickets:
        line += f"; {words.counted(tally.lost_tickets, lost_unit)} lost, which may hide forks and exits"
    return line


def _first_link(process: Process) -> str:
    birth = process.birth
    if birth is not None:
        return (
            f"fork {birth.seq} by {birth.forker_pid} {printable(birth.comm)}{_not_its_parent(process, birth)}"
        )
    known = "existed before" if process.snapshot else "fork not in the capture"
    return f"{known} as {printable(process.born_as)}"


def _not_its_parent(process: Process, birth: Birth) -> str:
    return "" if process.parent_pid == birth.forker_pid else f" for {process.parent_pid} (CLONE_PARENT)"


def _exec_link(step: Step) -> str:
    filename = words.quoted(step.filename or "?")
    taker = "" if step.old_tid is None else f" by thread {step.old_tid}"
    return f"exec {step.seq} {filename} [{words.command_line(step.argv, step.argv_truncated)}]{taker}"


def _last_link(process: Process) -> str:
    if process.ending:
        return f"exit {process.ending.seq} {words.ending_clause(process.ending)}"
    return words.last_state_clause(process)


def _painted(process: Process, line: str, ink: Ink) -> str:
    pid, rest = line[: len(f"pid {process.pid}")], line[len(f"pid {process.pid}") :]
    head, arrow, tail = rest.rpartition(_ARROW)
    if process.ending:
        return ink.strong(pid) + head + arrow + (ink.bad(tail) if process.ending.failed else ink.good(tail))
    return ink.strong(pid) + head + arrow + ink.faint(tail)
