"""The causal rules for one identity at a time, row by row; exact, and slow. Knows no batch and no file.

An identity (tid, start_ns) is alive until its exit. One exit is not the end: a leader (tid == tgid) that
exits while threads of its process live on is *waiting*, because exec by another thread makes that thread
the leader, under the leader's identity (fs/exec.c: de_thread()). What may come next is that exec, with
another old_tid, or a second exit, if the taker's exec failed after the point of no return. The taker's
own identity ends there without an exit.

`last_thread` decides whether a leader waits. Before Linux 6.16 it is `signal->live == 0`, which several
exits of one process can read. It still never lies to us: a taker has not passed its own decrement of
`live`, so no exit reads 0 while a takeover can follow. The second exit may be anybody's last or not: a
vhost worker is not waited for by de_thread().

What a gap may hide is kept as a second state next to the certain one: waiting before a gap, an identity
is possibly alive after it. What only the possible state allows counts as unknown, and proves it.

Each rule looks at its own rows, so that one fault breaks one rule: *parent* at forks by an identity that
has ended, *death* at its execs, and at exits after it ended as a taker, *once* at a second fork of it and
at a second exit. *birth* looks at the first row of an identity that no fork row started.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.proof.births import FORKED, TAKEN, BirthWindow
from linnix_rec.proof.verdict import Tally

#: States, each allowing all that the one before it allows.
DEAD: Final = 0
WAITING: Final = 1
ALIVE: Final = 2

Identity = tuple[int, int]

#: Identities too old to be remembered that wait for a second reading; more than these are believed.
MAX_DEFERRED: Final = 1 << 16
#: Takeovers remembered, for takers that are first met after their end.
MAX_TAKEOVERS: Final = 1 << 16


class Act(NamedTuple):
    """What a fork, exec or exit row says of its actor."""

    seq: int
    kind: int
    tid: int
    start_ns: int
    tgid: int
    boot_ns: int
    last_thread: bool
    old_tid: int | None  # of an exec that took over its process, else None
    gaps: int  # before this row
    horizon_ns: int  # a gap can hide the births of identities that started until here


class Birth(NamedTuple):
    """What a fork row says of the new task."""

    seq: int
    tid: int
    start_ns: int
    tgid: int


@dataclass(slots=True)
class Life:
    """What is known of one identity."""

    tid: int
    start_ns: int
    tgid: int
    certain: int = ALIVE
    possible: int = ALIVE
    waiting_since_gap: int = 0
    taken: bool = False
    deferred: bool = False

    @property
    def plain(self) -> bool:
        """Alive, and nothing else to remember."""
        return self.certain == ALIVE and not self.deferred

    @property
    def over(self) -> bool:
        """Ended, whatever a gap hides."""
        return self.possible == DEAD and not self.deferred


@dataclass(frozen=True)
class Deferral:
    """An identity that may have been forgotten: from `seq` on only a second reading can judge it."""

    seq: int
    born: bool  # met as the child of a fork
    excused: bool  # a gap may hide its fork


@dataclass
class CausalTallies:
    """The four causal rules."""

    birth: Tally
    death: Tally
    parent: Tally
    once: Tally

    @staticmethod
    def new() -> "CausalTallies":
        """Give empty ones."""
        return CausalTallies(Tally("birth"), Tally("death"), Tally("parent"), Tally("once"))

    def copy(self) -> "CausalTallies":
        """Give an independent copy."""
        return CausalTallies(self.birth.copy(), self.death.copy(), self.parent.copy(), self.once.copy())


class Judge:
    """Judges rows in seq order against the lives it has seen, into `tallies`.

    With `since`, only the identities in it are judged, each from its seq on: the second reading.
    """

    def __init__(
        self,
        attached_boot_ns: int,
        tallies: CausalTallies,
        births: BirthWindow,
        since: dict[Identity, int] | None = None,
    ) -> None:
        self._attached_boot_ns = attached_boot_ns
        self._tallies = tallies
        self._births = births
        self.since = since
        self._takeovers: dict[Identity, int] = {}
        #: Whether takeovers, or odd lives that were not over, had to be forgotten.
        self.forgot_takeovers = False
        self.forgot_lives = False
        self.lives: dict[int, dict[int, Life]] = {}
        self.deferrals: dict[Identity, Deferral] = {}

    def add(self, life: Life) -> None:
        """Take up an identity."""
        self.lives.setdefault(life.tid, {})[life.start_ns] = life

    def noted_tids(self) -> NDArray[np.uint32]:
        """Give the tids of which an identity is remembered, or was ended unseen by a takeover; (n,)."""
        tids = self.lives.keys() | {tid for tid, _ in self._takeovers}
        return np.fromiter(tids, np.uint32, len(tids))

    def is_young(self, start_ns: int) -> bool:
        """Say whether an identity started after T_on, so that it must be seen born."""
        return start_ns > self._attached_boot_ns

    def taken_over(self, tid: int, tgid: int, start_ns: int) -> bool:
        """Say whether a thread took over its process, which ended its own identity."""
        return start_ns < self._takeovers.get((tid, tgid), 0)

    def birth(self, row: Birth) -> None:
        """Judge a fork row's child."""
        identity = (row.tid, row.start_ns)
        if self.since is not None and identity not in self.since:
            return
        life = self._life(*identity)
        if life is not None and life.deferred:
            return
        marks = self._births.marks(*identity)
        forgotten = marks is None and row.start_ns <= self._births.floor
        if forgotten and self._defer(row, born=True, excused=False):
            return
        if marks is not None and marks & FORKED:
            self._violate(self._tallies.once, identity, row.seq, f"task {row.tid} is forked a second time")
            return
        self._births.note(*identity, FORKED)
        if life is None and marks is None:
            self.add(Life(row.tid, row.start_ns, row.tgid))

    def act(self, row: Act) -> None:
        """Judge a fork, exec or exit row's actor."""
        if self.since is None or (row.tid, row.start_ns) in self.since:
            life = self._life(row.tid, row.start_ns) or self._first_met(row)
            if not life.deferred:
                self._judge(life, row)
        if row.old_tid is not None:
            self._end_taker(row, row.old_tid)

    def _life(self, tid: int, start_ns: int) -> Life | None:
        lives = self.lives.get(tid)
        return None if lives is None else lives.get(start_ns)

    def _first_met(self, row: Act) -> Life:
        life = Life(row.tid, row.start_ns, row.tgid)
        if self.is_young(row.start_ns):
            excused = row.start_ns <= row.horizon_ns
            if row.start_ns <= self._births.floor and self._defer(row, born=False, excused=excused):
                return self.lives[row.tid][row.start_ns]
            marks = self._births.marks(row.tid, row.start_ns)
            if marks is not None:  # it was here, and has ended
                life.certain = life.possible = DEAD
                life.taken = bool(marks & TAKEN)
                return life
            self._births.note(row.tid, row.start_ns, 0)
            self._judge_missing_birth(row, excused)
        if self.taken_over(row.tid, row.tgid, row.start_ns):
            self._end_by_takeover(life)
        self.add(life)
        return life

    def _judge_missing_birth(self, row: Act, excused: bool) -> None:
        birth = self._tallies.birth
        if excused:
            self._excuse(birth, row)
        else:
            identity = (row.tid, row.start_ns)
            self._violate(birth, identity, row.seq, f"{_KINDS[row.kind]} of task {row.tid} before its fork")

    def _judge(self, life: Life, row: Act) -> None:
        if life.possible == WAITING and row.gaps > life.waiting_since_gap:
            life.possible = ALIVE
        if _allows(life.certain, row):
            life.certain = _next_state(life.certain, row)
            life.possible = _next_state(life.possible, row)
        elif _allows(life.possible, row):
            self._excuse(self._rule_of_the_dead(life, row), row)
            life.certain = life.possible = _next_state(life.possible, row)
        else:
            how = "became its process's leader" if life.taken else "exited"
            message = f"{_KINDS[row.kind]} of task {row.tid} after it {how}"
            self._violate(self._rule_of_the_dead(life, row), (row.tid, row.start_ns), row.seq, message)
        if row.kind == EXIT:
            life.waiting_since_gap = row.gaps

    def _rule_of_the_dead(self, life: Life, row: Act) -> Tally:
        if row.kind == FORK:
            return self._tallies.parent
        return self._tallies.once if row.kind == EXIT and not life.taken else self._tallies.death

    def _end_taker(self, row: Act, old_tid: int) -> None:
        """End the taker's own identity: the thread `old_tid` of this process.

        Its tid was free before the exec's ticket, so another process may have it by now, or this one
        anew later: the taker started before the exec, and de_thread() leaves no other such thread.
        """
        for life in self.lives.get(old_tid, {}).values():
            if life.tgid == row.tgid and life.start_ns < row.boot_ns and not (life.over or life.deferred):
                self._end_by_takeover(life)
        if len(self._takeovers) >= MAX_TAKEOVERS:
            self._takeovers.clear()
            self.forgot_takeovers = True
        self._takeovers[old_tid, row.tgid] = row.boot_ns

    def _end_by_takeover(self, life: Life) -> None:
        life.certain = life.possible = DEAD
        life.taken = True
        if life.start_ns > self._births.floor:
            self._births.note(life.tid, life.start_ns, TAKEN)

    def _defer(self, row: Birth | Act, *, born: bool, excused: bool) -> bool:
        if len(self.deferrals) >= MAX_DEFERRED:
            return False
        self.deferrals[row.tid, row.start_ns] = Deferral(row.seq, born, excused)
        life = self._life(row.tid, row.start_ns) or Life(row.tid, row.start_ns, row.tgid)
        life.deferred = True
        self.add(life)
        return True

    def _violate(self, tally: Tally, identity: Identity, seq: int, message: str) -> None:
        if self.since is None or seq >= self.since[identity]:
            tally.violate(seq, message)

    def _excuse(self, tally: Tally, row: Act) -> None:
        if self.since is None or row.seq >= self.since[row.tid, row.start_ns]:
            tally.unknown += 1


_KINDS: Final = {FORK: "fork", EXEC: "exec", EXIT: "exit"}


def _allows(state: int, row: Act) -> bool:
    return state == ALIVE or (state == WAITING and (row.kind == EXIT or row.old_tid is not None))


def _next_state(state: int, row: Act) -> int:
    if row.kind == EXIT:
        leaves_threads = row.tid == row.tgid and not row.last_thread
        return WAITING if state == ALIVE and leaves_threads else DEAD
    return ALIVE
