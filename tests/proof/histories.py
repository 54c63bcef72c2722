"""Histories as a kernel could write them, at random: takeovers, reused tids, late task rows, gaps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

Row = dict[str, Any]

ATTACHED_BOOT_NS = 1_000_000


@dataclass
class _Task:
    tid: int
    tgid: int
    start_ns: int
    ended: bool = False


@dataclass
class Kernel:
    """A little kernel with few tids, so that they are reused soon."""

    random: Random
    tids: int = 12
    rows: list[Row] = field(default_factory=list)
    tasks: list[_Task] = field(default_factory=list)
    #: Takeovers past the point of no return: (leader as it will be, taker).
    in_exec: list[tuple[_Task, _Task]] = field(default_factory=list)
    now_ns: int = ATTACHED_BOOT_NS - 300
    seq: int = 0

    def run(self, steps: int) -> list[Row]:
        """Give the rows of so many steps."""
        for tid in range(1, 1 + self.random.randint(1, 4)):
            self.tasks.append(_Task(tid, tid, self._tick() - 5000))
        self.tasks.append(_Task(5, 1, self._tick() - 4000))  # a thread of an elder
        acts = (self._fork, self._fork, self._thread, self._exec, self._exit, self._exit)
        rare = (self._takeover, self._takeover, self._snapshot, self._jump, self._leader_exits)
        for _ in range(steps):
            self.random.choice(self.random.choice((acts, acts, acts, rare)))()
            if self.in_exec and self.random.random() < 0.5:
                self._finish_exec()
        return self.rows

    def _tick(self) -> int:
        self.now_ns += self.random.randint(1, 20)
        return self.now_ns

    def _jump(self) -> None:
        self.now_ns += 100

    def _anybody(self, threads_of: int | None = None) -> _Task | None:
        busy = {taker.tgid for _, taker in self.in_exec}
        free = [
            task for task in self.tasks
            if not task.ended and task.tgid not in busy and threads_of in (None, task.tgid)
        ]  # fmt: skip
        return self.random.choice(free) if free else None

    def _free_tid(self) -> int | None:
        # A leader's tid stays taken while its threads live.
        taken = {task.tid for task in self.tasks if not task.ended}
        taken |= {task.tgid for task in self.tasks if not task.ended}
        taken |= {leader.tid for leader, _ in self.in_exec}
        free = [tid for tid in range(1, self.tids + 1) if tid not in taken]
        return self.random.choice(free) if free else None

    def _row(self, kind: str, task: _Task, **values: Any) -> None:
        # Read after the ticket, so sometimes later than a later ticket's.
        boot_ns = self._tick() + self.random.choice((0, 0, 0, 30))
        self.rows.append(
            {
                "seq": self.seq,
                "slots": 1,
                "kind": kind,
                "boot_ns": boot_ns,
                "tid": task.tid,
                "tgid": task.tgid,
                "start_ns": task.start_ns,
                **values,
            }
        )
        self.seq += 1

    def _fork(self, thread: bool = False) -> None:
        parent, tid = self._anybody(), self._free_tid()
        if parent is None or tid is None:
            return
        child = _Task(tid, parent.tgid if thread else tid, self._tick())
        self._row(
            *("fork", parent), child_tid=tid, child_tgid=child.tgid, child_start_ns=child.start_ns
        )  # fmt: skip
        self.tasks.append(child)

    def _thread(self) -> None:
        self._fork(thread=True)

    def _exec(self) -> None:
        task = self._anybody()
        if task is None:
            return
        # An exec ends the other threads first; only a leader that is alone execs here.
        if task.tid == task.tgid and len(self._threads(task.tgid)) == 1:
            self._row("exec", task, old_tid=task.tid)

    def _exit(self) -> None:
        task = self._anybody()
        if task is not None:
            self._end(task)

    def _leader_exits(self) -> None:
        leaders = [task for task in self.tasks if task.tid == task.tgid and not task.ended]
        if leaders and (leader := self.random.choice(leaders)) and not self._in_exec(leader.tgid):
            self._end(leader)

    def _in_exec(self, tgid: int) -> bool:
        return any(taker.tgid == tgid for _, taker in self.in_exec)

    def _threads(self, tgid: int) -> list[_Task]:
        return [task for task in self.tasks if task.tgid == tgid and not task.ended]

    def _end(self, task: _Task) -> None:
        task.ended = True
        self._row("exit", task, last_thread=not self._threads(task.tgid))

    def _takeover(self) -> None:
        takers = [
            task for task in self.tasks
            if not task.ended and task.tid != task.tgid and not self._in_exec(task.tgid)
        ]  # fmt: skip
        if not takers:
            return
        taker = self.random.choice(takers)
        leader = next((task for task in self.tasks[::-1] if task.tid == task.tgid == taker.tgid), None)
        if leader is None:
            return
        for other in self._threads(taker.tgid):
            if other is not taker:
                self._end(other)
        self.in_exec.append((_Task(leader.tid, leader.tgid, leader.start_ns), taker))
        taker.ended = True  # its tid is free before the exec's row
        self.tasks = [task for task in self.tasks if task is not leader]

    def _finish_exec(self) -> None:
        leader, taker = self.in_exec.pop(self.random.randrange(len(self.in_exec)))
        self.tasks.append(leader)
        if self.random.random() < 0.3:
            self._end(leader)  # past the point of no return, and failed
        else:
            self._row("exec", leader, old_tid=taker.tid)

    def _snapshot(self) -> None:
        if self.tasks:
            task = self.random.choice(self.tasks)
            self._row("task", task)


@dataclass
class ListingKernel(Kernel):
    """One that lists its tasks at the beginning and at the end, while they act."""

    listings: list[tuple[int, int]] = field(default_factory=list)
    takeovers: int = 0

    def run_and_list(self, steps: int, *, plain: bool = False) -> list[Row]:
        """Give the rows of so many steps, of both listings, and of what goes on behind the last one.

        plain: only births and exits of processes, none while tasks are listed
        """
        for tid in range(1, 1 + self.random.randint(1, 4)):
            self.tasks.append(_Task(tid, tid, self._tick() - 5000))
        acts = (self._fork, self._fork, self._exit, self._exit)
        if not plain:
            self.tasks.append(_Task(5, 1, self._tick() - 4000))
            acts = (
                *acts,
                self._fork,
                self._thread,
                self._thread,
                self._exec,
                self._takeover,
                self._leader_exits,
            )
        self.now_ns = ATTACHED_BOOT_NS
        self._list(() if plain else acts)
        for _ in range(steps):
            self._act(acts)
        self._list(() if plain else acts)
        for _ in range(0 if plain else self.random.randint(0, 6)):
            self._act(acts)
        return self.rows

    def _act(self, acts: tuple[Callable[[], None], ...]) -> None:
        if acts:
            self.random.choice(acts)()
        self.takeovers += len(self.in_exec)
        if self.in_exec and self.random.random() < 0.5:
            self._finish_exec()

    def _list(self, acts: tuple[Callable[[], None], ...]) -> None:
        first_seq = self.seq
        for tid in range(1, self.tids + 1):
            while self.random.random() < 0.3 and acts:
                self._act(acts)
            running = [task for task in self.tasks if task.tid == tid and not task.ended]
            running += [leader for leader, _ in self.in_exec if leader.tid == tid]
            if running:
                self._row("task", running[0], exit_state=0, task_flags=0, cpu_ns=self.random.choice((0, 5)))
                continue
            zombies = [task for task in self.tasks if task.tid == task.tgid == tid and self._threads(tid)]
            if zombies:
                self._row("task", zombies[-1], exit_state=32, task_flags=4, cpu_ns=5)
        self.listings.append((first_seq, self.seq))


def with_gaps(random: Random, rows: list[Row], gaps: int) -> list[Row]:
    """Lose some runs of rows."""
    for _ in range(gaps):
        if len(rows) < 2:
            break
        first = random.randrange(len(rows))
        end = min(len(rows), first + random.randint(1, 6))
        gap = {"seq": rows[first]["seq"], "slots": 0, "kind": "gap", "reason": "lapped"}
        lost = rows[end - 1]["seq"] + 1 - gap["seq"] if rows[end - 1]["kind"] != "gap" else 1
        rows = [*rows[:first], {**gap, "lost": max(1, lost)}, *rows[end:]]
    return rows


def renumbered(rows: list[Row]) -> list[Row]:
    """Give rows consecutive tickets again."""
    seq = rows[0]["seq"] if rows else 0
    numbered = []
    for row in rows:
        numbered.append({**row, "seq": seq})
        seq += row["lost"] if row["kind"] == "gap" else row["slots"]
    return numbered


def damaged(random: Random, rows: list[Row], faults: int) -> list[Row]:
    """Move, drop and double rows."""
    rows = list(rows)
    for _ in range(faults):
        if not rows:
            break
        at, to = random.randrange(len(rows)), random.randrange(len(rows))
        fault = random.choice(("move", "drop", "double", "swap"))
        if fault == "move":
            rows.insert(to, rows.pop(at))
        elif fault == "drop":
            del rows[at]
        elif fault == "double":
            rows.insert(to, dict(rows[at]))
        else:
            rows[at], rows[to] = rows[to], rows[at]
    return renumbered(rows)
