"""Batches of events → who started whom: every process's life, and the tree. Knows no file and no screen.

Everything stays in columns; a `Process` is made when it is asked for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.replay.family import Family, assemble
from linnix_rec.replay.identity import NOBODY
from linnix_rec.replay.process import Birth, Ending, Process, Step
from linnix_rec.replay.rows import NO_TEXT, Rows, RowStore

Numbers = NDArray[np.int64]

_BLOCK: Final = 4096

_BIRTH_FIELDS: Final = ("seq", "boot_ns", "tid", "tgid", "comm", "clone_flags")
_ENDING_FIELDS: Final = ("seq", "boot_ns", "exit_code", "exit_signal", "core_dumped", "max_rss_bytes")
_STEP_FIELDS: Final = ("seq", "boot_ns", "filename", "argv_truncated", "comm", "tid", "old_tid")


class LineageBuilder:
    """Takes batches in order of seq (with at least the columns `rows.COLUMNS`) and makes a `Lineage`."""

    def __init__(self) -> None:
        self._store = RowStore()

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next batch."""
        self._store.feed(batch)

    def finish(self) -> "Lineage":
        """Give the lineage of all that was fed; the builder is spent."""
        return Lineage(assemble(self._store), self._store.texts.listed())


def lineage_of(batches: Iterable[pa.RecordBatch]) -> "Lineage":
    """Give the lineage of batches in order of seq."""
    builder = LineageBuilder()
    for batch in batches:
        builder.feed(batch)
    return builder.finish()


@dataclass(frozen=True)
class Tally:
    """How many lives are known in full, and why the others are not. The counts add up to `processes`."""

    processes: int
    whole: int
    existed_before: int
    still_running: int
    birth_unknown: int
    lost_tickets: int


class Lineage:
    """All processes of a capture, numbered in the order of their birth (those from before come first)."""

    def __init__(self, family: Family, texts: list[str]) -> None:
        self._family = family
        self._texts = texts

    def __len__(self) -> int:
        return self._family.pid.size

    def __iter__(self) -> Iterator[Process]:
        return self.processes()

    @property
    def events(self) -> int:
        """Give the number of events that it was made of, gaps not counted."""
        return self._family.events

    def process(self, number: int) -> Process:
        """Give one process by its number."""
        return next(self.processes(np.array([number])))

    def processes(self, numbers: Numbers | None = None) -> Iterator[Process]:
        """Give the processes with these numbers (all, if None), in that order."""
        wanted = np.arange(len(self)) if numbers is None else numbers
        for first in range(0, wanted.size, _BLOCK):
            yield from self._made(wanted[first : first + _BLOCK])

    def holders_of(self, pid: int) -> Numbers:
        """Give the numbers of all processes that had a pid, in the order of their birth."""
        return np.flatnonzero(self._family.pid == pid)

    def roots(self) -> Numbers:
        """Give the processes whose parent the capture does not hold."""
        return np.flatnonzero(self._family.parent == NOBODY)

    def active(self) -> NDArray[np.bool_]:
        """Say which processes were born, or did anything, while recorded, (n,) bool."""
        return self._family.active

    def walk(self, shown: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """Give (depth, number) of the shown processes, each before its children; roots have depth 0."""
        first_child, child = self._family.first_child.tolist(), self._family.child
        stack = [(0, number) for number in self.roots().tolist()[::-1] if shown[number]]
        while stack:
            depth, number = stack.pop()
            yield depth, number
            if first_child[number] != first_child[number + 1]:
                below = child[first_child[number] : first_child[number + 1]][::-1]
                stack.extend((depth + 1, each) for each in below[shown[below]].tolist())

    def birth_seq(self, number: int) -> int:
        """Give the seq of a process's fork; 0 if no fork is known."""
        row = self._family.birth_row[number]
        return 0 if row == NOBODY else int(self._family.forks["seq"][row])

    def children(self, number: int) -> Numbers:
        """Give a process's children, in the order of their birth."""
        family = self._family
        return family.child[family.first_child[number] : family.first_child[number + 1]]

    def with_ancestors(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give the chosen processes and all that they descend from, (n,) bool."""
        shown: NDArray[np.bool_] = chosen.copy()
        # Numbers don't tell who is above whom where a fork is lost: go up until all is marked.
        front = np.flatnonzero(shown)
        while front.size:
            above = np.unique(self._family.parent[front])
            above = above[above != NOBODY]
            front = above[~shown[above]]
            shown[front] = True
        return shown

    def tally(self, attached_boot_ns: int) -> Tally:
        """Count whole lives and the others; `attached_boot_ns` is when the recording saw its first fork."""
        family = self._family
        born, ended = family.birth_row != NOBODY, family.exit_row != NOBODY
        before = ~born & (family.snapshot | (family.start_ns <= attached_boot_ns) & (family.start_ns != 0))
        return Tally(
            processes=len(self),
            whole=int((born & ended).sum()),
            existed_before=int(before.sum()),
            still_running=int((born & ~ended).sum()),
            birth_unknown=int((~born & ~before).sum()),
            lost_tickets=int(family.gaps["lost"].sum()),
        )

    def _made(self, numbers: Numbers) -> Iterator[Process]:
        family = self._family
        births = self._births(family.birth_row[numbers])
        endings = _endings(family.exits, family.exit_row[numbers])
        own = zip(*(column[numbers].tolist() for column in family.own_columns()), strict=True)
        steps = self._steps(family.first_exec[numbers], family.first_exec[numbers + 1])
        children = map(
            self._children, family.first_child[numbers].tolist(), family.first_child[numbers + 1].tolist()
        )
        for number, birth, ending, steps_, children_, values in zip(
            numbers.tolist(), births, endings, steps, children, own, strict=True
        ):
            pid, start_ns, comm, first_comm, uid, parent, parent_pid, *more = values
            threads, cpu_ns, snapshot, kernel_thread, dead_before, active, exit_may_be_lost = more
            yield Process(
                number=number,
                pid=pid,
                start_ns=start_ns or None,
                comm=self._text(comm) or "",
                born_as=self._text(first_comm) or "",
                uid=None if uid < 0 else uid,
                parent_number=None if parent == NOBODY else parent,
                parent_pid=parent_pid,
                birth=birth,
                steps=steps_,
                ending=ending,
                threads=threads,
                cpu_ns=cpu_ns,
                snapshot=snapshot,
                kernel_thread=kernel_thread,
                dead_before=dead_before,
                active=active,
                exit_may_be_lost=exit_may_be_lost,
                child_numbers=children_,
            )

    def _text(self, number: int) -> str | None:
        return None if number == NO_TEXT else self._texts[number]

    def _births(self, at: Numbers) -> Iterator[Birth | None]:
        for known, values in zip(at.tolist(), _picked(self._family.forks, at, _BIRTH_FIELDS), strict=True):
            if known == NOBODY:
                yield None
                continue
            seq, boot_ns, tid, tgid, comm, flags = values
            yield Birth(seq, boot_ns, tid, tgid, self._text(comm) or "", flags)

    def _children(self, first: int, end: int) -> tuple[int, ...]:
        return tuple(self._family.child[first:end].tolist()) if first != end else ()

    def _steps(self, first: Numbers, end: Numbers) -> Iterator[tuple[Step, ...]]:
        """Give each process's execs, rows `first` to `end` (not included)."""
        counts = end - first
        at = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        argv = self._family.argv.take(pa.array(at)).to_pylist() if at.size else []
        steps = map(self._step, _picked(self._family.execs, at, _STEP_FIELDS), argv)
        return (tuple(islice(steps, count)) for count in counts.tolist())

    def _step(self, values: tuple[Any, ...], argv: list[str | None] | None) -> Step:
        seq, boot_ns, filename, truncated, comm, tid, old_tid = values
        return Step(
            seq=seq,
            boot_ns=boot_ns,
            filename=self._text(filename),
            argv=tuple(argument or "" for argument in argv or ()),
            argv_truncated=truncated,
            comm=self._text(comm) or "",
            old_tid=old_tid if old_tid not in {0, tid} else None,
        )


def _endings(exits: Rows, at: Numbers) -> Iterator[Ending | None]:
    for known, values in zip(at.tolist(), _picked(exits, at, _ENDING_FIELDS), strict=True):
        yield None if known == NOBODY else Ending(*values)


def _picked(rows: Rows, at: Numbers, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Give these fields of some rows as plain values; of `NOBODY`'s row, arbitrary ones."""
    if not rows.size:
        return iter([()] * at.size)
    picked = rows[at]
    return zip(*(picked[name].tolist() for name in names), strict=True)
