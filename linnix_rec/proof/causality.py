"""Checks the causal rules over a stream of batches, fast; knows neither captures nor tickets.

Nearly all of a capture is plain: a task is forked, forks and execs, exits once, and only then its tid is
used again. `CausalCheck` sorts a batch by (tid, row) and sees with a few comparisons of neighbours which
tids are plain throughout; these break no rule. All rows of the other tids go, in seq order, through the
exact rules of `proof.lives`. So the verdict is exact, and only what is odd costs Python time.

What is kept between batches is bounded by the tasks alive, those that were alive when recording began,
and a fixed window of births. An identity too old for the window is judged by reading again.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.proof.births import CAPACITY, BirthWindow
from linnix_rec.proof.lives import DEAD, Act, Birth, CausalTallies, Judge, Life
from linnix_rec.proof.living import Flags, Living, Starts, Tids
from linnix_rec.proof.rows import ENOUGH_ROWS, Gaps, Rows, batches_of_rows, joined, rows_of
from linnix_rec.proof.standing import Standing, standing_of
from linnix_rec.proof.verdict import RuleResult

Rescan = Callable[[], Iterable[pa.RecordBatch]]
Places = NDArray[np.int64]
_Number = TypeVar("_Number", bound=np.number[Any])

#: In a mention, the place of an actor is twice its row, and that of a fork's child one more.
_BORN: Final = 0  # a child's kind; no row has it, gaps are not mentioned

#: Odd young lives kept, at least, before the forgotten are left to the second reading.
_ODD_LIVES: Final = 1 << 12


class CausalCheck:
    """Checks birth, death, parent and once, incrementally over batches in seq order.

    `attached_boot_ns` is T_on: who started later must be seen born. `rescan` gives the same rows anew; it
    is called, at most once, by `results`, if identities were met that are older than what is remembered.
    Without it those count as unknown where more than one answer is possible.
    """

    def __init__(
        self,
        attached_boot_ns: int,
        rescan: Rescan | None = None,
        *,
        remembered_births: int = CAPACITY,
        rows_at_once: int = ENOUGH_ROWS,
    ) -> None:
        self._attached_boot_ns = attached_boot_ns
        self._rescan = rescan
        self._rows_at_once = rows_at_once
        self._held: list[Rows] = []
        self._held_rows = 0
        self._tallies = CausalTallies.new()
        self._births = BirthWindow(remembered_births)
        self._judge = Judge(attached_boot_ns, self._tallies, self._births)
        self._gaps = Gaps()
        self._living = Living.nobody()
        self._odd_lives_kept = _ODD_LIVES

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows; columns besides `CAUSAL_COLUMNS` are not needed."""
        self._held.append(rows_of(batch))
        self._held_rows += batch.num_rows
        # A batch costs some passes over the living: so many living want as many rows.
        if self._held_rows >= max(self._rows_at_once, self._living.tid.size):
            self._check_held()

    def results(self) -> tuple[RuleResult, ...]:
        """Give the four results for the rows so far, which are all rows if there is a `rescan`."""
        self._check_held()
        tallies = self._tallies.copy()
        if self._judge.deferrals:
            self._judge_deferred(tallies)
        tallies.birth.note = "forks, execs and exits by tasks younger than the recording"
        tallies.death.note = "execs and exits"
        tallies.parent.note = "forks"
        tallies.once.note = "forks and exits"
        return tuple(tally.result() for tally in (tallies.birth, tallies.death, tallies.parent, tallies.once))

    def standing(self) -> Standing:
        """Tell how it stands with all tasks behind the rows so far; what it gives is true until the next."""
        self._check_held()
        return standing_of(self._living, self._judge, self._births, self._gaps)

    def _check_held(self) -> None:
        if self._held_rows:
            rows, self._held, self._held_rows = joined(self._held), [], 0
            self._check(rows)

    def _check(self, rows: Rows) -> None:
        self._gaps.take(rows)
        mentions = _Mentions.of(rows)
        self._count(rows)
        forks = np.flatnonzero(rows.kind == FORK)
        place, known = self._living.find(mentions.group_tid)
        odd_groups = ~self._plain(mentions, place, known)
        forks = forks[np.argsort(rows.child_start_ns[forks], kind="stable")]
        born_start_ns, born_tid = rows.child_start_ns[forks], rows.child_tid[forks]
        # An elder's fork, seen while the programs were being attached, proves nothing about its life.
        doubtful = self._births.suspects(born_start_ns) | ~self._young(born_start_ns)
        odd = _unique(mentions.group_tid[odd_groups], _special_tids(rows), born_tid[doubtful])

        gone = np.zeros(self._living.tid.size, np.bool_)
        gone[place[known]] = True
        settled: list[Life] = []
        odd_mentions = np.zeros(mentions.tid.size, np.bool_)
        if odd.size:
            odd_groups |= _is_in(mentions.group_tid, odd)
            odd_mentions = np.repeat(odd_groups, mentions.group_sizes)
            regular = ~_is_in(born_tid, odd)
            born_start_ns, born_tid = born_start_ns[regular], born_tid[regular]
            settled = self._judge_odd(rows, mentions.place[odd_mentions], odd, gone)
        self._remember_elders(mentions, ~odd_mentions)
        self._births.slide(born_start_ns, born_tid)
        self._forget_odd()

        alive = mentions.last[(mentions.kind[mentions.last] != EXIT) & ~odd_groups]
        self._living = self._living.replaced(
            gone,
            np.append(mentions.tid[alive], np.array([life.tid for life in settled], np.uint32)),
            np.append(mentions.start_ns[alive], np.array([life.start_ns for life in settled], np.uint64)),
            np.append(mentions.tgids(rows, alive), np.array([life.tgid for life in settled], np.uint32)),
        )

    def _count(self, rows: Rows) -> None:
        counts = np.bincount(rows.kind, minlength=EXIT + 1)
        fork_count, exec_count, exit_count = int(counts[FORK]), int(counts[EXEC]), int(counts[EXIT])
        acts = (rows.kind >= FORK) & (rows.kind <= EXIT)
        self._tallies.birth.checked += int(np.count_nonzero(acts & self._young(rows.start_ns)))
        self._tallies.death.checked += exec_count + exit_count
        self._tallies.parent.checked += fork_count
        self._tallies.once.checked += fork_count + exit_count

    def _young(self, start_ns: Starts) -> Flags:
        young: Flags = start_ns > np.uint64(self._attached_boot_ns)
        return young

    def _plain(self, mentions: "_Mentions", place: NDArray[np.intp], known: Flags) -> Flags:
        """Say which groups follow on what is known, and break no rule; (groups,) bool."""
        first = mentions.first
        start_ns = mentions.start_ns[first]
        same = known.copy()
        same[known] = self._living.start_ns[place[known]] == start_ns[known]
        elder = ~known & ~self._young(start_ns)
        if elder.any():
            elder[elder] = ~_is_in(mentions.group_tid[elder], self._judge.noted_tids())
        plain: Flags = np.where(mentions.kind[first] == _BORN, ~known, same | elder)
        plain[mentions.groups_with_misfits()] = False
        return plain

    def _judge_odd(self, rows: Rows, places: Places, odd: Tids, gone: Flags) -> list[Life]:
        """Judge the rows of odd tids one by one, and give those alive at the end that are plain again."""
        judge = self._judge
        place, known = self._living.find(odd)
        gone[place[known]] = True
        for at in place[known].tolist():
            living = self._living
            judge.add(Life(int(living.tid[at]), int(living.start_ns[at]), int(living.tgid[at])))
        _judge_rows(judge, rows, np.sort(places), self._gaps)
        return [life for tid in odd.tolist() for life in self._settled(tid)]

    def _settled(self, tid: int) -> list[Life]:
        """Forget a tid's lives that are over, and give at most one that needs no more attention."""
        lives = self._judge.lives.pop(tid, {})
        plain = max((life.start_ns for life in lives.values() if life.plain), default=None)
        # The dead are remembered: the young by the window of births, the elders here.
        kept = {
            start_ns: life
            for start_ns, life in lives.items()
            if start_ns != plain and not (life.over and start_ns > self._attached_boot_ns)
        }
        if kept:
            self._judge.lives[tid] = kept
        return [] if plain is None else [lives[plain]]

    def _remember_elders(self, mentions: "_Mentions", plain_mentions: Flags) -> None:
        ended = plain_mentions & (mentions.kind == EXIT) & ~self._young(mentions.start_ns)
        for at in np.flatnonzero(ended).tolist():
            tid, start_ns = int(mentions.tid[at]), int(mentions.start_ns[at])
            self._judge.add(Life(tid, start_ns, 0, certain=DEAD, possible=DEAD))

    def _forget_odd(self) -> None:
        """Leave odd young lives to the second reading, once there are many older than the window."""
        if len(self._judge.lives) <= self._odd_lives_kept:
            return
        floor, young = self._births.floor, self._attached_boot_ns
        for tid, lives in list(self._judge.lives.items()):
            for start_ns, life in list(lives.items()):
                if young < start_ns <= floor and not life.deferred:
                    del lives[start_ns]
                    self._judge.forgot_lives |= not life.over
            if not lives:
                del self._judge.lives[tid]
        self._odd_lives_kept = max(_ODD_LIVES, 2 * len(self._judge.lives))

    def _judge_deferred(self, tallies: CausalTallies) -> None:
        deferrals = self._judge.deferrals
        if self._rescan is not None:
            since = {identity: deferral.seq for identity, deferral in deferrals.items()}
            _judge_again(Judge(self._attached_boot_ns, tallies, BirthWindow(), since), self._rescan())
            return
        for (tid, _), deferral in deferrals.items():
            if deferral.born:
                tallies.once.unknown += 1
            elif deferral.excused:
                tallies.birth.unknown += 1
            else:
                tallies.birth.violate(deferral.seq, f"task {tid} acts, and was not alive")


class _Mentions:
    """All mentions of identities in a batch, by tid and then by row; columns (n,), groups are of one tid."""

    def __init__(self, tid: Tids, place: Places, kind: NDArray[np.uint8], start_ns: Starts) -> None:
        self.tid, self.place, self.kind, self.start_ns = tid, place, kind, start_ns
        heads = np.ones(tid.size, np.bool_)
        heads[1:] = tid[1:] != tid[:-1]
        self.first = np.flatnonzero(heads)
        self.group_sizes = np.diff(self.first, append=tid.size)
        self.last = self.first + self.group_sizes - 1
        self.group_tid = tid[self.first]
        self._heads = heads

    @staticmethod
    def of(rows: Rows) -> "_Mentions":
        """Sort a batch's mentions."""
        mentioned = np.empty(2 * rows.kind.size, np.bool_)
        mentioned[::2] = (rows.kind >= FORK) & (rows.kind <= EXIT)
        mentioned[1::2] = rows.kind == FORK
        kind = np.full(2 * rows.kind.size, _BORN, np.uint8)
        kind[::2] = rows.kind
        place = np.flatnonzero(mentioned)
        tid = _interleaved(rows.tid, rows.child_tid)[place]
        order = _stable_order(tid)
        place = place[order]
        start_ns = _interleaved(rows.start_ns, rows.child_start_ns)[place]
        return _Mentions(tid[order], place, kind[place], start_ns)

    def groups_with_misfits(self) -> NDArray[np.intp]:
        """Give the groups, some repeatedly, in which a mention does not plainly follow the one before it.

        A birth must follow an exit; anything else must be of the same identity, and not follow its exit.
        """
        born = self.kind[1:] == _BORN
        after_exit = self.kind[:-1] == EXIT
        fits = (born == after_exit) & (born | (self.start_ns[1:] == self.start_ns[:-1]))
        misfits = np.flatnonzero(~(fits | self._heads[1:])) + 1
        return np.searchsorted(self.first, misfits, side="right") - 1

    def tgids(self, rows: Rows, at: NDArray[np.intp]) -> Tids:
        """Give the process ids of some mentions."""
        place = self.place[at]
        row = place >> 1
        tgids: Tids = np.where(place & 1 == 1, rows.child_tgid[row], rows.tgid[row])
        return tgids


def _interleaved(of_actors: NDArray[_Number], of_children: NDArray[_Number]) -> NDArray[_Number]:
    both = np.empty(2 * of_actors.size, of_actors.dtype)
    both[::2], both[1::2] = of_actors, of_children
    return both


def _stable_order(tid: Tids) -> NDArray[np.intp]:
    """Order by tid, equal ones as they are: numpy sorts 8 and 16 bits stably by radix, some times faster."""
    order = np.argsort(tid.astype(np.uint16), kind="stable")
    high = tid >> np.uint32(16)
    highest = int(high.max(initial=0))
    if highest == 0:
        return order
    high = high.astype(np.uint8 if highest < 1 << 8 else np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def _special_tids(rows: Rows) -> Tids:
    """Give the tids of a takeover and of a leader that waits for one."""
    leaders = np.flatnonzero((rows.kind == EXIT) & ~rows.last_thread)
    leaders = leaders[rows.tid[leaders] == rows.tgid[leaders]]
    takers = np.flatnonzero(rows.takes_over)
    return np.concatenate((rows.tid[leaders], rows.tid[takers], rows.old_tid[takers]))


def _unique(*tids: Tids) -> Tids:
    together = np.concatenate(tids)
    return np.unique(together) if together.size else together


def _is_in(tid: Tids, tids: Tids) -> Flags:
    return np.isin(tid, tids, kind="sort")


def _judge_rows(judge: Judge, rows: Rows, places: Places, gaps: Gaps) -> None:
    """Put mentions, in row order, before the judge."""
    row = places >> 1
    # Plain lists: Python is some times quicker with these than with numpy's scalars.
    columns = (rows.seq, rows.child_tid, rows.child_start_ns, rows.child_tgid)
    births = zip(*(column[row].tolist() for column in columns), strict=True)
    acted = (rows.seq, rows.kind, rows.tid, rows.start_ns, rows.tgid, rows.boot_ns, rows.last_thread)
    takes_over, old_tid = rows.takes_over[row].tolist(), rows.old_tid[row].tolist()
    acts = zip(
        *(column[row].tolist() for column in acted),
        (tid if takes else None for tid, takes in zip(old_tid, takes_over, strict=True)),
        *(column.tolist() for column in gaps.before(row)),
        strict=True,
    )
    for place, birth, act in zip(places.tolist(), births, acts, strict=True):
        if place & 1:
            judge.birth(Birth(*birth))
        else:
            judge.act(Act(*act))


def _judge_again(judge: Judge, batches: Iterable[pa.RecordBatch]) -> None:
    """Put all rows of some tids before the judge, from the beginning."""
    tids = np.array(sorted({tid for tid, _ in judge.since or ()}), np.uint32)
    gaps = Gaps()
    for rows in batches_of_rows(batches):
        gaps.take(rows)
        acts = (rows.kind >= FORK) & (rows.kind <= EXIT) & _is_in(rows.tid, tids)
        acts |= rows.takes_over & _is_in(rows.old_tid, tids)
        births = (rows.kind == FORK) & _is_in(rows.child_tid, tids)
        places = np.concatenate((np.flatnonzero(acts) * 2, np.flatnonzero(births) * 2 + 1))
        _judge_rows(judge, rows, np.sort(places), gaps)
