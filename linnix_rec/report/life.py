"""One pid told in full: who held it, where each came from, what it ran, how it ended. Knows no files."""

from collections.abc import Iterator

from linnix_rec.capture.text import printable
from linnix_rec.replay.lineage import Lineage
from linnix_rec.replay.process import CLONE_PARENT, CLONE_VFORK, Process
from linnix_rec.report import words
from linnix_rec.report.ink import PLAIN, Ink

_LABEL_WIDTH = 11
_ORDINALS = ("first", "second", "third")


def life_lines(lineage: Lineage, pid: int, started_boot_ns: int, ink: Ink = PLAIN) -> Iterator[str]:
    """Tell of each process that held a pid, in the order of their birth."""
    holders = list(lineage.processes(lineage.holders_of(pid)))
    for place, process in enumerate(holders):
        if place:
            yield ""
        which = f", {_ordinal(place)} of {len(holders)} with this pid" if len(holders) > 1 else ""
        yield ink.strong(f"pid {pid}{which}: {words.process_command(process)}")
        for label, text in _facts(lineage, process, started_boot_ns, ink):
            yield f"  {ink.faint(f'{label:<{_LABEL_WIDTH}}')} {text}"


def _facts(lineage: Lineage, process: Process, zero_ns: int, ink: Ink) -> Iterator[tuple[str, str]]:
    yield "ancestors", _ancestors(lineage, process)
    yield "born", _born(process, zero_ns)
    for step in process.steps:
        taker = "" if step.old_tid is None else f"  by thread {step.old_tid}, which took the process over"
        at = words.offset(step.boot_ns - zero_ns, 6)
        yield f"exec {step.seq}", f"{at} s  {words.step_command(step)}{taker}"
    if process.threads > 1:
        yield "threads", f"{process.threads} in all"
    for place, child in enumerate(lineage.processes(lineage.children(process.number))):
        yield ("" if place else "children"), _child(child, ink)
    yield "ended", _ended(process, zero_ns, ink)
    if process.uid is not None:
        yield "user", f"uid {process.uid}"


def _ancestors(lineage: Lineage, process: Process) -> str:
    line = []
    while process.parent_number is not None:
        process = lineage.process(process.parent_number)
        line.append(f"{process.pid} {printable(process.comm)}")
    if process.parent_pid:
        line.append(f"{process.parent_pid} (not in this capture)")
    return " -> ".join(reversed(line)) or "none"


def _born(process: Process, zero_ns: int) -> str:
    birth = process.birth
    if birth is None:
        return "before the recording" if process.snapshot else "its fork is not in the capture"
    thread = f", thread {birth.forker_tid}" if birth.forker_tid != birth.forker_pid else ""
    how = [
        name
        for flag, name in ((CLONE_VFORK, "vfork"), (CLONE_PARENT, "CLONE_PARENT"))
        if birth.clone_flags & flag
    ]
    by = f"by {birth.forker_pid} {printable(birth.comm)}{thread}"
    return f"{words.offset(birth.boot_ns - zero_ns, 6)} s  fork {birth.seq} {by}{words.bracketed(how)}"


def _child(child: Process, ink: Ink) -> str:
    text = f"{child.pid} {words.process_command(child)}"
    if child.ending is None:
        return f"{text}, {words.last_state_clause(child)}"
    if not child.ending.failed:
        return text
    return f"{text}, {ink.bad(words.ending_clause(child.ending))}"


def _ended(process: Process, zero_ns: int, ink: Ink) -> str:
    ending = process.ending
    if ending is None:
        return f"not in the capture: {words.last_state_clause(process)}"
    lived_ns = process.lived_ns
    clause = words.ending_clause(ending)
    parts = [
        f"{words.offset(ending.boot_ns - zero_ns, 6)} s  exit {ending.seq}, "
        + (ink.bad(clause) if ending.failed else clause),
        "" if lived_ns is None else f"after {words.duration(lived_ns)}",
        f"CPU {words.duration(process.cpu_ns)}" if process.cpu_ns else "",
        f"peak memory {words.size(ending.max_rss_bytes)}" if ending.max_rss_bytes else "",
    ]
    return ", ".join(filter(None, parts))


def _ordinal(place: int) -> str:
    return _ORDINALS[place] if place < len(_ORDINALS) else f"number {place + 1}"
