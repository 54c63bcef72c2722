"""A lineage as a tree for people: who started whom, how long each lived and how it ended. Knows no files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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
_BEFORE_EXIT = "  "
#: Columns that a command must have, or START goes, and then TOOK.
_COMMAND_COLUMNS = 24
#: Columns for branches: in a file, and at least on any terminal.
_DEEPEST, _SHALLOWEST = 600, 9
#: So many siblings of one kind in a row still have a line each.
_NOT_FOLDED = 3


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
    """How a tree is drawn: `width` in columns (None: as wide as it takes), times from `started_boot_ns`.

    If it `folds`, many siblings in a row that ran the same and ended well become one line.
    """

    started_boot_ns: int
    digits: int = 6
    width: int | None = None
    ink: Ink = PLAIN
    strokes: Strokes = LINES
    folds: bool = False

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """The columns of PID, START, TOOK and EXIT; 0 for those that a narrow terminal has no room for."""
        pid, _, took, state = _WIDTHS
        room = None if self.width is None else self.width - _COMMAND_COLUMNS - len(_BEFORE_EXIT)
        if room is None or room >= sum(_WIDTHS):
            return _WIDTHS
        return pid, 0, took if room >= pid + took + state else 0, state


def tree_lines(lineage: Lineage, shown: NDArray[np.bool_], style: TreeStyle) -> Iterator[str]:
    """Give the shown processes line by line, each under the one that started it, and its execs as steps.

    A process stands with its first command; a later exec is a line `⇒`, and the children that follow it
    are of that step.
    """
    yield style.ink.faint(cut_to(_columns(style, *_HEADINGS) + "COMMAND", style.width))
    walk = list(lineage.walk(shown))
    depths = [depth for depth, _ in walk]
    numbers = np.array([number for _, number in walk], np.int64)
    drawing = _Drawing(lineage, shown, style)
    for depth, process in zip(depths, lineage.processes(numbers), strict=True):
        yield from drawing.add(depth, process)
    yield from drawing.end()


@dataclass
class _Branch:
    """A process whose children are being drawn: what is still to come of it, and what stands before it."""

    prefix: str
    steps: list[Step]
    children_left: int

    def step_due(self, child: Process) -> bool:
        """Say whether the process did an exec before it started this child."""
        return bool(self.steps) and self.steps[0].seq < (child.birth.seq if child.birth else 0)


@dataclass
class _Run:
    """Siblings without children, one after the other; more than a few of the same kind become one line."""

    command: str
    first: list[tuple[Process, Step | None]] = field(default_factory=list)
    count: int = 0
    last_pid: int = 0
    least_ns: int = 0
    most_ns: int = 0

    def add(self, process: Process, opening: Step | None) -> None:
        took_ns = words.took_ns(process) or 0
        self.least_ns = min(self.least_ns, took_ns) if self.count else took_ns
        self.most_ns = max(self.most_ns, took_ns)
        self.count += 1
        self.last_pid = process.pid
        if len(self.first) <= _NOT_FOLDED:
            self.first.append((process, opening))

    def folded(self) -> str:
        each = f"{words.duration(self.least_ns)} to {words.duration(self.most_ns)} each"
        return f"{self.count:,} times: {self.command}  (to pid {self.last_pid}, {each})"


class _Drawing:
    """The tree as far as it is drawn: the open branches, and the run of siblings not drawn yet."""

    def __init__(self, lineage: Lineage, shown: NDArray[np.bool_], style: TreeStyle) -> None:
        self._lineage, self._shown, self._style = lineage, shown, style
        self._branches: list[_Branch] = []
        self._run: _Run | None = None

    def add(self, depth: int, process: Process) -> Iterator[str]:
        """Draw what is before this process, the next in a walk, and the process as soon as may be."""
        children = [number for number in process.child_numbers if self._shown[number]]
        opening = _opening_step(process, self._lineage.birth_seq(children[0]) if children else None)
        steps = list(process.steps[1 if opening else 0 :])
        command = _command(process, opening)
        plain = not children and not steps and process.ending is not None and not process.ending.failed
        if self._run and not (plain and self._continues(depth, process, command)):
            yield from self._drawn_run()
        while len(self._branches) > depth:
            yield from _late_steps(self._branches.pop(), self._style)
        if self._branches:
            above = self._branches[-1]
            while above.step_due(process):
                yield _step_line(above.steps.pop(0), above.prefix + self._style.strokes.step, self._style)
            above.children_left -= 1
        if plain:
            self._run = self._run or _Run(command)
            self._run.add(process, opening)
            return
        prefix, below = self._prefixes()
        yield _process_line(process, opening, prefix, command, self._style)
        self._branches.append(_Branch(below, steps, len(children)))

    def end(self) -> Iterator[str]:
        """Draw what is left."""
        yield from self._drawn_run()
        while self._branches:
            yield from _late_steps(self._branches.pop(), self._style)

    def _continues(self, depth: int, process: Process, command: str) -> bool:
        if not self._style.folds or self._run is None or len(self._branches) != depth:
            return False
        due = bool(self._branches) and self._branches[-1].step_due(process)
        return command == self._run.command and not due

    def _drawn_run(self) -> Iterator[str]:
        run, self._run = self._run, None
        if run is None:
            return
        prefix, _ = self._prefixes()
        if run.count > _NOT_FOLDED:
            yield _process_line(*run.first[0], prefix, run.folded(), self._style)
            return
        before, _ = self._prefixes(last=False)
        for place, (process, opening) in enumerate(run.first, 1):
            stroke = prefix if place == run.count else before
            yield _process_line(process, opening, stroke, run.command, self._style)

    def _prefixes(self, *, last: bool = True) -> tuple[str, str]:
        """Give what stands before the next child of the open branch, and before that child's children."""
        if not self._branches:
            return "", ""
        above, strokes = self._branches[-1], self._style.strokes
        if last and not above.children_left and not above.steps:
            return above.prefix + strokes.last_child, self._trimmed(above.prefix + strokes.below)
        return above.prefix + strokes.child, self._trimmed(above.prefix + strokes.beside)

    def _trimmed(self, prefix: str) -> str:
        """Cut what stands before deep branches from the left: the command matters more."""
        width = self._style.width
        room = _DEEPEST if width is None else max(_SHALLOWEST, (width - sum(self._style.widths)) // 2)
        return prefix if len(prefix) <= room else words.CUT + prefix[1 - room :]


def _opening_step(process: Process, first_child_seq: int | None) -> Step | None:
    """Give the exec to name a process after: its first, if that came before its first (shown) child."""
    if not process.steps or (first_child_seq is not None and first_child_seq < process.steps[0].seq):
        return None
    return process.steps[0]


def _late_steps(branch: _Branch, style: TreeStyle) -> Iterator[str]:
    while branch.steps:
        step = branch.steps.pop(0)
        stroke = style.strokes.step if branch.steps else style.strokes.last_step
        yield _step_line(step, branch.prefix + stroke, style)


def _command(process: Process, opening: Step | None) -> str:
    if opening:
        command = words.step_command(opening)
    else:
        command = words.first_name(process) if process.steps else words.process_name(process)
    return command + (f"  ({process.threads:,} threads)" if process.threads > 1 else "")


def _process_line(process: Process, opening: Step | None, prefix: str, command: str, style: TreeStyle) -> str:
    took_ns = words.took_ns(process)
    took = "" if took_ns is None else words.duration(took_ns)
    state = words.ending_word(process.ending) if process.ending else words.last_state(process)
    left = _columns(style, str(process.pid), _started(process, opening, style), took, state)
    line = cut_to(left + prefix + command, style.width)
    return _painted(process, line, len(left), len(prefix), style) if style.ink.colored else line


def _started(process: Process, opening: Step | None, style: TreeStyle) -> str:
    since = process.birth or opening
    return words.offset(since.boot_ns - style.started_boot_ns, style.digits) if since else "before"


def _painted(process: Process, line: str, left: int, prefix: int, style: TreeStyle) -> str:
    ink, widths = style.ink, style.widths
    pid, times, state, strokes, command = (
        line[start:end]
        for start, end in pairwise((0, widths[0], sum(widths[:3]), left, left + prefix, len(line) + left))
    )
    if process.ending and process.ending.failed:
        state, command = ink.bad(state), ink.bad(command)
    elif not process.ending:
        state = ink.good(state) if process.birth else ink.faint(state)
    if not process.birth and not process.steps:
        command = ink.faint(command)
    return pid + ink.faint(times) + state + ink.faint(strokes) + command


def _step_line(step: Step, prefix: str, style: TreeStyle) -> str:
    started = words.offset(step.boot_ns - style.started_boot_ns, style.digits)
    left = _columns(style, "", started, "", "") + prefix
    text = words.step_command(step)
    if step.old_tid is not None:
        text += f"  (by thread {step.old_tid}, which took the process over)"
    line = cut_to(left + text, style.width)
    return style.ink.faint(line[: len(left)]) + line[len(left) :]


def _columns(style: TreeStyle, pid: str, started: str, took: str, state: str) -> str:
    *widths, state_width = style.widths
    right = "".join(
        f"{text:>{width}}" for text, width in zip((pid, started, took), widths, strict=True) if width
    )
    return f"{right}{_BEFORE_EXIT}{state:<{state_width}}"
