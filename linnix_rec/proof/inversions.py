"""The causal rules over rows as they arrived, of a source that numbers no events; knows no file.

There `seq` counts arrivals, so an effect can stand before its cause: an *inversion*, the source's fault and
not the kernel's. Three kinds are counted, each by comparing two rows of one task; with the segments as the
table `events` these queries give the same numbers:

    -- births: forks, execs and exits that arrived before the fork of who acts
    select count(*) from events act
    join (select child_tid tid, child_start_ns start_ns, min(seq) seq from events
          where kind = 'fork' group by 1, 2) birth using (tid, start_ns)
    where act.kind in ('fork', 'exec', 'exit') and act.seq < birth.seq

    -- deaths: execs (parents: forks) that arrived after the exit of who acts
    select count(*) from events act
    join (select tid, start_ns, max(seq) seq from events
          where kind = 'exit' and (tid <> tgid or last_thread) group by 1, 2) death using (tid, start_ns)
    where act.kind = 'exec' and act.seq > death.seq

The exit of a leader before its last thread is left out there, as it may not be the end: exec by another
thread gives that one the leader's identity (`proof.lives`). So a task has one exit, and one more for each
time that it is taken over; each but the last of these is such a leader's, and the last takeover may have
failed unseen. More exits than that break *once*, as a second fork does.

What is not there at all is judged by existence, for a source without numbers knows no place of its losses:
an act of a young task without a fork is a violation if nothing was lost, else unknown. An act whose task has
no start, as the process connector tells none and its recorder missed the birth, is unknown. Memory is some
100 bytes a row.
"""

from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.document import FAILURE
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.schema import EXEC, EXIT, FORK, GAP, KINDS
from linnix_rec.proof.verdict import FIRST_OFFENCES, Inversions, Offence, RuleResult

#: The columns read; a reader may leave out the others.
ARRIVAL_COLUMNS: Final = (
    "seq", "kind", "tid", "tgid", "start_ns", "child_tid", "child_start_ns", "old_tid", "last_thread",
)  # fmt: skip

Seqs = NDArray[np.uint64]
Tids = NDArray[np.int32]
Numbers = NDArray[np.intp]
Flags = NDArray[np.bool_]


class Acts(NamedTuple):
    """Forks, execs and exits by who acts, columns (n,).

    may_wait: exit of a leader before its last thread; takes_over: exec by a thread that becomes the leader
    """

    seq: Seqs
    kind: NDArray[np.uint8]
    tid: Tids
    start_ns: Seqs
    may_wait: Flags
    takes_over: Flags


class Births(NamedTuple):
    """The children of forks, columns (n,)."""

    seq: Seqs
    tid: Tids
    start_ns: Seqs


_NO_SEQ: Final = np.zeros(0, np.uint64)
_NO_TID: Final = np.zeros(0, np.int32)
_NO_FLAG: Final = np.zeros(0, np.bool_)
_NOBODY: Final = Acts(_NO_SEQ, np.zeros(0, np.uint8), _NO_TID, _NO_SEQ, _NO_FLAG, _NO_FLAG)
_UNBORN: Final = Births(_NO_SEQ, _NO_TID, _NO_SEQ)


class ArrivalCheck:
    """Checks birth, death, parent and once on rows as they arrived, once all were fed.

    `births_known_from_ns`: who started later must be seen born; `lossy`: something may be missing, even if
    no gap says so.
    """

    def __init__(self, births_known_from_ns: int, *, lossy: bool = False) -> None:
        self._births_known_from_ns = births_known_from_ns
        self._lossy = lossy
        self._acts, self._births = [_NOBODY], [_UNBORN]
        self._nameless = 0
        self._arrivals: _Arrivals | None = None

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows; columns besides `ARRIVAL_COLUMNS` are not needed."""
        kind = columns.kind_codes(batch)
        self._lossy |= bool((kind == GAP).any())
        acts = _acts_of(batch, kind)
        self._acts.append(acts)
        self._births.append(_births_of(batch, kind))
        self._nameless += _count((kind >= FORK) & (kind <= EXIT)) - acts.seq.size
        self._arrivals = None

    def inversions(self) -> Inversions:
        """Give how many rows stand on the wrong side of another one."""
        return self._all().inversions()

    def results(self) -> tuple[RuleResult, ...]:
        """Give the four results for all rows."""
        found = self._all()
        birth = found.birth(self._lossy)
        birth = replace(birth, checked=birth.checked + self._nameless, unknown=birth.unknown + self._nameless)
        return (birth, found.death(), found.parent(), found.once(self._lossy))

    def _all(self) -> "_Arrivals":
        if self._arrivals is None:
            acts = Acts(*map(np.concatenate, zip(*self._acts, strict=True)))
            births = Births(*map(np.concatenate, zip(*self._births, strict=True)))
            self._acts, self._births = [acts], [births]
            self._arrivals = _Arrivals(acts, births, self._births_known_from_ns)
        return self._arrivals


def arrival_check(capture: Capture) -> ArrivalCheck:
    """Give the check for a capture, which may have lost something without a gap: its end, say."""
    document = capture.document
    lost = document.accounts is not None and document.accounts.abandoned > 0
    ended = document.stopped is not None and document.stopped.reason != FAILURE
    lossy = lost or not ended or bool(capture.missing)
    return ArrivalCheck(document.births_known_from_ns, lossy=lossy)


def count_inversions(capture: Capture) -> Inversions:
    """Count a capture's inversions, of whatever source; raises UnreadableCaptureError."""
    check = arrival_check(capture)
    for batch in capture.batches(ARRIVAL_COLUMNS):
        check.feed(batch)
    return check.inversions()


class _Arrivals:
    """All acts and births, by the number of their task.

    early: acts before the fork of their task; late: those after its exit; unborn: those without any fork
    """

    def __init__(self, acts: Acts, births: Births, births_known_from_ns: int) -> None:
        self._acts, self._births = acts, births
        self._of_acts, self._of_births, self._count = _numbered(acts, births)
        self._birth_seq = np.full(self._count, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(self._birth_seq, self._of_births, births.seq)
        final = (acts.kind == EXIT) & ~acts.may_wait
        self._end_seq = np.zeros(self._count, np.uint64)
        np.maximum.at(self._end_seq, self._of_acts[final], acts.seq[final])
        born, ended = _mask(self._of_births, self._count), _mask(self._of_acts[final], self._count)

        has_birth = born[self._of_acts]
        young = acts.start_ns > np.uint64(births_known_from_ns)
        self._judged = young | has_birth
        self._unborn = young & ~has_birth
        self._early = has_birth & (acts.seq < self._birth_seq[self._of_acts])
        late = ended[self._of_acts] & (acts.seq > self._end_seq[self._of_acts])
        self._late_execs, self._late_forks = late & (acts.kind == EXEC), late & (acts.kind == FORK)

    def inversions(self) -> Inversions:
        """Count what stands on the wrong side."""
        return Inversions(_count(self._early), _count(self._late_execs), _count(self._late_forks))

    def birth(self, lossy: bool) -> RuleResult:
        """Judge who acts before its fork, or without one."""
        note = "forks, execs and exits by tasks younger than the recording, as they arrived"
        if not lossy:
            return self._result("birth", self._judged, self._early | self._unborn, note)
        return replace(self._result("birth", self._judged, self._early, note), unknown=_count(self._unborn))

    def death(self) -> RuleResult:
        """Judge execs after the exit."""
        return self._result("death", self._acts.kind == EXEC, self._late_execs, "execs, as they arrived")

    def parent(self) -> RuleResult:
        """Judge forks after the exit."""
        return self._result("parent", self._acts.kind == FORK, self._late_forks, "forks, as they arrived")

    def once(self, lossy: bool) -> RuleResult:
        """Judge second forks of a task, and more exits of it than its takeovers explain."""
        acts, births = self._acts, self._births
        exits = acts.kind == EXIT
        exit_count, waits, takeovers = (
            np.bincount(self._of_acts[rows], minlength=self._count)
            for rows in (exits, acts.may_wait, acts.takes_over)
        )
        excess = np.maximum(exit_count - np.minimum(waits + 1, takeovers + 2), 0)
        # A takeover that is lost explains one of them, but never one that no leader's exit came before.
        certain = np.maximum(exit_count - (waits + 1), 0) if lossy else excess
        forked_again = np.maximum(np.bincount(self._of_births, minlength=self._count) - 1, 0)
        first = [
            *_repeated(certain, self._of_acts[exits], acts.seq[exits], acts.tid[exits], "exits"),
            *_repeated(forked_again, self._of_births, births.seq, births.tid, "is forked"),
        ]
        return RuleResult(
            "once",
            checked=_count(exits) + births.seq.size,
            violated=int(certain.sum() + forked_again.sum()),
            unknown=int((excess - certain).sum()),
            first=tuple(sorted(first, key=_by_seq)[:FIRST_OFFENCES]),
            note="forks and exits",
        )

    def _result(self, name: str, checked: Flags, violated: Flags, note: str) -> RuleResult:
        rows = np.flatnonzero(violated)[:FIRST_OFFENCES].tolist()
        first = tuple(Offence(int(self._acts.seq[row]), self._why(row)) for row in rows)
        return RuleResult(name, _count(checked), _count(violated), first=first, note=note)

    def _why(self, row: int) -> str:
        number = self._of_acts[row]
        what = f"{KINDS[self._acts.kind[row]]} of task {self._acts.tid[row]}"
        if self._early[row]:
            return f"{what} before its fork (seq {self._birth_seq[number]})"
        if self._unborn[row]:
            return f"{what}, whose fork is nowhere"
        return f"{what} after it exited (seq {self._end_seq[number]})"


def _repeated(again: Numbers, of_rows: Numbers, seq: Seqs, tid: Tids, what: str) -> list[Offence]:
    """Name the first tasks of which something happened `again`, (tasks,), at the last of those rows."""
    last = np.zeros(again.size, np.uint64)
    np.maximum.at(last, of_rows, seq)
    rows = np.flatnonzero((again[of_rows] > 0) & (seq == last[of_rows]))[:FIRST_OFFENCES].tolist()
    return [Offence(int(seq[row]), f"task {tid[row]} {what} again") for row in rows]


def _count(rows: Flags) -> int:
    return int(np.count_nonzero(rows))


def _mask(numbers: Numbers, count: int) -> Flags:
    marked = np.zeros(count, np.bool_)
    marked[numbers] = True
    return marked


def _by_seq(offence: Offence) -> int:
    return offence.seq


def _heads(*columns_of_rows: NDArray[Any]) -> Flags:
    """Mark the rows that differ from the one before them in any column."""
    heads = np.zeros(columns_of_rows[0].size, np.bool_)
    heads[:1] = True
    for column in columns_of_rows:
        heads[1:] |= column[1:] != column[:-1]
    return heads


def _numbered(acts: Acts, births: Births) -> tuple[Numbers, Numbers, int]:
    """Number the tasks; give the number of each act's and of each birth's, and how many tasks there are."""
    tid = np.concatenate((acts.tid, births.tid))
    start_ns = np.concatenate((acts.start_ns, births.start_ns))
    order = np.lexsort((tid, start_ns))
    heads = _heads(tid[order], start_ns[order])
    numbers = np.empty(order.size, np.intp)
    numbers[order] = np.cumsum(heads) - 1
    return numbers[: acts.seq.size], numbers[acts.seq.size :], _count(heads)


def _acts_of(batch: pa.RecordBatch, kind: NDArray[np.uint8]) -> Acts:
    at = np.flatnonzero((kind >= FORK) & (kind <= EXIT) & columns.valid(batch, "start_ns"))
    kind = kind[at]
    tid, tgid, old_tid = (columns.int32(batch, name)[at] for name in ("tid", "tgid", "old_tid"))
    # Null is "not known to be the last": a leader then may be waiting.
    last = (columns.boolean(batch, "last_thread") & columns.valid(batch, "last_thread"))[at]
    return Acts(
        columns.uint64(batch, "seq")[at],
        kind,
        tid,
        columns.uint64(batch, "start_ns")[at],
        (kind == EXIT) & (tid == tgid) & ~last,
        (kind == EXEC) & (old_tid != tid) & columns.valid(batch, "old_tid")[at],
    )


def _births_of(batch: pa.RecordBatch, kind: NDArray[np.uint8]) -> Births:
    at = np.flatnonzero((kind == FORK) & columns.valid(batch, "child_start_ns"))
    return Births(
        columns.uint64(batch, "seq")[at],
        columns.int32(batch, "child_tid")[at],
        columns.uint64(batch, "child_start_ns")[at],
    )
