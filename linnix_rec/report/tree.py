"""A lineage as a tree for people: who started whom, how long each lived and how it ended. Knows no files."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from linnix_rec.replay.lineage import Lineage
from linnix_rec.replay.process import Process, Step
from linnix_rec.report import words
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import cut_to

_HEADINGS = ("PID", "START", "TOOK", "EXIT")
_WIDTHS = (7, 12, 9, 13)
#: By whether the snapshot saw it only dead.
_STATES = ("running", "dead before")


@dataclass(frozen=True)
class Strokes:
    """What branches are drawn with; each is three columns wide."""

    child: str = "├─ "
    last_child: str = "└─ "
    step: str = "├⇒ "
    last_step: str = "└⇒ "
    beside: str = "│  "
    below: str = "   "


LINES = Strokes()
#: For terminals and files that can't take the line-drawing characters.
ASCII_LINES = Strokes("|- ", "`- ", "|> ", "`> ", "|  ")


@dataclass(frozen=True)
class TreeStyle:
    """How a tree is drawn: `width` in columns (None: as wide as it takes), times from `started_boot_ns`."""

    started_boot_ns: int
    digits: int = 6
    width: int | None = None
    ink: Ink = PLAIN
    strokes: Strokes = LINES


@dataclass
class _Branch:
    """A process whose children are being drawn: what is still to come of it, and what stands before it."""

    prefix: str
    steps: list[Step]
    children_left: int


def tree_lines(lineage: Lineage, shown: NDArray[np.bool_], style: TreeStyle) -> Iterator[str]:
    """Give the shown processes line by line, each under the one that started it, and its execs as steps.

    A process stands with its first command; a later exec is a line `⇒`, and the children that follow it
    are of that step.
    """
    yield style.ink.faint(_columns(*_HEADINGS) + "COMMAND")
    branches: list[_Branch] = []
    walk = list(lineage.walk(shown))
    depths = [depth for depth, _ in walk]
    numbers = np.array([number for _, number in walk], np.int64)
    for depth, process in zip(depths, lineage.processes(numbers), strict=True):
        while len(branches) > depth:
            yield from _late_steps(branches.pop(), style)
        prefix = below = ""
        if branches:
            above = branches[-1]
            yield from _steps_before(above, process, style)
            above.children_left -= 1
            last = not above.children_left and not above.steps
            prefix = above.prefix + (style.strokes.last_child if last else style.strokes.child)
            below = above.prefix + (style.strokes.below if last else style.strokes.beside)
        children = [number for number in process.child_numbers if shown[number]]
        opening = _opening_step(process, lineage.birth_seq(children[0]) if children else None)
        yield _process_line(process, opening, prefix, style)
        branches.append(_Branch(below, list(process.steps[1 if opening else 0 :]), len(children)))
    while branches:
        yield from _late_steps(branches.pop(), style)


def _opening_step(process: Process, first_child_seq: int | None) -> Step | None:
    """Give the exec to name a process after: its first, if that came before its first (shown) child."""
    if not process.steps or (first_child_seq is not None and first_child_seq < process.steps[0].seq):
        return None
    return process.steps[0]


def _steps_before(branch: _Branch, child: Process, style: TreeStyle) -> Iterator[str]:
    born_seq = child.birth.seq if child.birth else 0
    while branch.steps and branch.steps[0].seq < born_seq:
        yield _step_line(branch.steps.pop(0), branch.prefix + style.strokes.step, style)


def _late_steps(branch: _Branch, style: TreeStyle) -> Iterator[str]:
    while branch.steps:
        step = branch.steps.pop(0)
        stroke = style.strokes.step if branch.steps else style.strokes.last_step
        yield _step_line(step, branch.prefix + stroke, style)


def _process_line(process: Process, opening: Step | None, prefix: str, style: TreeStyle) -> str:
    if opening:
        command = words.step_command(opening)
    else:
        command = words.first_name(process) if process.steps else words.process_name(process)
    if process.threads > 1:
        command += f"  ({process.threads:,} threads)"
    took_ns = words.took_ns(process)
    took = "" if took_ns is None else words.duration(took_ns)
    state = words.ending_word(process.ending) if process.ending else _STATES[process.dead_before]
    left = _columns(str(process.pid), _started(process, opening, style), took, state)
    line = cut_to(left + prefix + command, style.width)
    return _painted(process, line, len(left), len(prefix), style.ink) if style.ink.colored else line


def _started(process: Process, opening: Step | None, style: TreeStyle) -> str:
    since = process.birth or opening
    return words.offset(since.boot_ns - style.started_boot_ns, style.digits) if since else "before"


def _painted(process: Process, line: str, left: int, prefix: int, ink: Ink) -> str:
    pid, times, state, strokes, command = (
        line[start:end]
        for start, end in pairwise((0, _WIDTHS[0], sum(_WIDTHS[:3]), left, left + prefix, len(line) + left))
    )
    if process.ending and process.ending.failed:
        state, command = ink.bad(state), ink.bad(command)
    elif not process.ending:
        state = ink.good(state) if process.birth else ink.faint(state)
    if not process.birth and not process.steps:
        command = ink.faint(command)
    return pid + ink.faint(times) + state + ink.faint(strokes) + command


def _step_line(step: Step, prefix: str, style: TreeStyle) -> str:
    left = _columns("", words.offset(step.boot_ns - style.started_boot_ns, style.digits), "", "") + prefix
    text = words.step_command(step)
    if step.old_tid is not None:
        text += f"  (by thread {step.old_tid}, which took the process over)"
    line = cut_to(left + text, style.width)
    return style.ink.faint(line[: len(left)]) + line[len(left) :]


def _columns(pid: str, started: str, took: str, state: str) -> str:
    return f"{pid:>{_WIDTHS[0]}}{started:>{_WIDTHS[1]}}{took:>{_WIDTHS[2]}}  {state:<{_WIDTHS[3]}}"
