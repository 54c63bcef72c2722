"""A lineage as a tree for people: who started whom, how long each lived and how it ended. Knows no files."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from linnix_rec.replay.lineage import Lineage
from linnix_rec.replay.process import Process, Step
from linnix_rec.report import words
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import cut_to

_HEADINGS = ("PID", "START", "TOOK", "EXIT")
_WIDTHS = (7, 12, 9, 13)


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
    process: Process = field(repr=False)


def tree_lines(lineage: Lineage, shown: NDArray[np.bool_], style: TreeStyle) -> Iterator[str]:
    """Give the shown processes line by line, each under the one that started it, and its execs as steps.

    A process stands with its first command; a later exec is a line `⇒`, and the children that follow it
    are of that step.
    """
    yield style.ink.faint(_columns(_HEADINGS) + "COMMAND")
    branches: list[_Branch] = []
    walk = list(lineage.walk(shown))
    depths = [depth for depth, _ in walk]
    numbers = np.array([number for _, number in walk], np.int64)
    for depth, process in zip(depths, lineage.processes(numbers), strict=True):
        while len(branches) > depth:
            yield from _late_steps(branches.pop(), style)
        prefix = ""
        if branches:
            above = branches[-1]
            yield from _steps_before(above, process, style)
            above.children_left -= 1
            last = not above.children_left and not above.steps
            prefix = above.prefix + (style.strokes.last_child if last else style.strokes.child)
        yield _process_line(process, prefix, _opening(process, shown, lineage), style)
        branches.append(_branch(process, prefix, shown, lineage, style.strokes))
    while branches:
        yield from _late_steps(branches.pop(), style)


def _children(process: Process, shown: NDArray[np.bool_]) -> list[int]:
    return [number for number in process.child_numbers if shown[number]]


def _opens_with_exec(process: Process, shown: NDArray[np.bool_], lineage: Lineage) -> bool:
    """Say whether its first exec came before it had any (shown) child."""
    if not process.steps:
        return False
    children = _children(process, shown)
    return not children or process.step_at(lineage.birth_seq(children[0])) > 0


def _opening(process: Process, shown: NDArray[np.bool_], lineage: Lineage) -> str:
    if _opens_with_exec(process, shown, lineage):
        return words.step_command(process.steps[0])
    return words.first_name(process) if process.steps else words.process_name(process)


def _branch(
    process: Process, prefix: str, shown: NDArray[np.bool_], lineage: Lineage, strokes: Strokes
) -> _Branch:
    below = prefix.replace(strokes.last_child, strokes.below).replace(strokes.child, strokes.beside)
    steps = process.steps[1:] if _opens_with_exec(process, shown, lineage) else process.steps
    return _Branch(below, list(steps), len(_children(process, shown)), process)


def _steps_before(branch: _Branch, child: Process, style: TreeStyle) -> Iterator[str]:
    born_seq = child.birth.seq if child.birth else 0
    while branch.steps and branch.steps[0].seq < born_seq:
        yield _step_line(branch.steps.pop(0), branch.prefix + style.strokes.step, style)


def _late_steps(branch: _Branch, style: TreeStyle) -> Iterator[str]:
    while branch.steps:
        step = branch.steps.pop(0)
        stroke = style.strokes.step if branch.steps else style.strokes.last_step
        yield _step_line(step, branch.prefix + stroke, style)


def _process_line(process: Process, prefix: str, command: str, style: TreeStyle) -> str:
    ink = style.ink
    born_ns = process.birth.boot_ns - style.started_boot_ns if process.birth else None
    started = "before" if born_ns is None else words.offset(born_ns, style.digits)
    lived_ns = process.lived_ns
    took = "" if lived_ns is None else words.duration(lived_ns)
    left = _columns((str(process.pid), started, took, _state(process)))
    text = command + (f"  ({process.threads} threads)" if process.threads > 1 else "")
    line = cut_to(left + prefix + text, style.width)
    if not ink.colored:
        return line
    body = line[len(left) + len(prefix) :]
    paint = ink.bad if process.ending and process.ending.failed else _unpainted
    if process.birth is None and not process.steps:
        body = ink.faint(body)
    return _painted_columns(process, left, ink) + ink.faint(prefix[: len(line) - len(left)]) + paint(body)


def _painted_columns(process: Process, left: str, ink: Ink) -> str:
    status = _WIDTHS[0] + _WIDTHS[1] + _WIDTHS[2]
    paint = ink.faint
    if process.ending:
        paint = ink.bad if process.ending.failed else _unpainted
    elif process.birth:
        paint = ink.good
    return left[: _WIDTHS[0]] + ink.faint(left[_WIDTHS[0] : status]) + paint(left[status:])


def _step_line(step: Step, prefix: str, style: TreeStyle) -> str:
    left = _columns(("", words.offset(step.boot_ns - style.started_boot_ns, style.digits), "", ""))
    text = words.step_command(step)
    if step.old_tid is not None:
        text += f"  (by thread {step.old_tid}, which took the process over)"
    line = cut_to(left + prefix + text, style.width)
    if not style.ink.colored:
        return line
    return style.ink.faint(line[: len(left + prefix)]) + line[len(left + prefix) :]


def _state(process: Process) -> str:
    if process.ending:
        return words.ending_word(process.ending)
    return "dead before" if process.dead_before else "running"


def _columns(cells: tuple[str, str, str, str]) -> str:
    pid, started, took, status = cells
    return f"{pid:>{_WIDTHS[0]}}{started:>{_WIDTHS[1]}}{took:>{_WIDTHS[2]}}  {status:<{_WIDTHS[3]}}"


def _unpainted(text: str) -> str:
    return text
