"""The rule *alive*: the tasks that the kernel lists at the end are those that live by the events.

Each row of a listing takes its ticket like any event, and its state is read after that. So much follows:

 1. Who is listed running has its exit, if any, behind its row: the kernel sets PF_EXITING before it traces
    the exit, and the row was claimed before the flag was read. It was born in the capture, unless it is
    older than the recording. Its birth may stand behind its row, and even behind the end of the capture,
    as a task can be found before its fork is traced; but it runs only after that, so who has used CPU
    time was born. Who is older, and did nothing, is in the first listing: that ran when forks were traced.
 2. Who lives before the listing, and has no exit before its end, is listed: it can be found (kernel/pid.c)
    from before its fork is traced until after its exit is.
 3. Who is listed dead has its exit in the capture: it was traced before exit_state was set.

Where that can't be said, it is `unknown`: what a gap may hide; a thread whose leader has exited, since then
it may take its process over: it becomes the leader, unseen until its exec is traced, and if that fails its
own identity has ended without a trace; a process that some kernels hide from the iterator, with its threads:
it is older than the recording, and was never listed; and on a whole host, seen from a pid namespace, whoever
was not listed before. A recording of a tree lists that tree alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linnix_rec.capture.document import CaptureDocument, Listing
from linnix_rec.capture.reader import Capture
from linnix_rec.proof.listed import Events, Listed, is_there, read_behind, read_listed, read_listing
from linnix_rec.proof.living import Flags, Tasks, joined_tasks
from linnix_rec.proof.standing import Past, Standing
from linnix_rec.proof.verdict import RuleResult, Tally

_NOTE: Final = "tasks that are listed at the end, or live by their events"
_NEVER: Final = np.uint64((1 << 64) - 1)

Numbers = NDArray[np.intp]
#: A row that does not fit, and why; without a reason, it can't be said.
Finding = tuple[int, str]


def end_listing(document: CaptureDocument) -> Listing | None:
    """Give the listing that *alive* looks at: the last that is not the first; a dump has only that one."""
    dumped = document.stopped is not None and document.stopped.reason == "dump"
    return document.listings[-1] if len(document.listings) > (0 if dumped else 1) else None


def check_alive(capture: Capture, listing: Listing, standing: Standing) -> RuleResult:
    """Compare a listing with how it stands with all tasks before its first ticket.

    Reads the listings, and the events between and behind the rows of this one; raises
    UnreadableCaptureError.
    """
    if not is_there(capture, listing):
        return RuleResult("alive", unknown=1, note="the listing at the end is not in the files")
    read = read_listing(capture, listing, standing.gaps)
    if read is None:
        return RuleResult("alive", unknown=1, note="the listing at the end is longer than any kernel's")
    check = _Check(capture, listing, standing, *read)
    tally = Tally("alive", checked=check.checked, note=_NOTE)
    for seq, reason in (*check.unlisted(), *check.listed()):
        if reason:
            tally.violate(seq, reason)
        else:
            tally.unknown += 1
    return tally.result()


@dataclass(frozen=True)
class _Identities:
    """Identities, numbered; `tasks` has one row each."""

    tasks: Tasks

    @staticmethod
    def of(parties: list[Tasks]) -> "tuple[_Identities, list[Numbers]]":
        """Number the identities of several parties, and give the numbers of each party's rows."""
        everybody = joined_tasks(parties)
        order = np.lexsort((everybody.start_ns, everybody.tid))
        tid, start_ns = everybody.tid[order], everybody.start_ns[order]
        heads = np.ones(order.size, np.bool_)
        heads[1:] = (tid[1:] != tid[:-1]) | (start_ns[1:] != start_ns[:-1])
        numbers = np.empty(order.size, np.intp)
        numbers[order] = np.cumsum(heads) - 1
        ends = np.cumsum([party.tid.size for party in parties])
        return _Identities(everybody.only(order[heads])), np.split(numbers, ends[:-1])

    def mask(self, numbers: Numbers) -> Flags:
        """Mark those of these numbers; (identities,) bool."""
        marked = np.zeros(self.tasks.tid.size, np.bool_)
        marked[numbers] = True
        return marked


class _Check:
    """One comparison."""

    def __init__(
        self, capture: Capture, listing: Listing, standing: Standing, listed: Listed, during: Events
    ) -> None:
        document = capture.document
        self._capture, self._listing, self._standing, self._rows = capture, listing, standing, listed
        earlier = [each for each in document.listings if each.end_seq <= listing.first_seq]
        before = [
            tasks
            for each in earlier
            if is_there(capture, each) and (tasks := read_listed(capture, each)) is not None
        ]
        parties = [standing.tasks, listed.tasks, during.exits, during.births]
        self._who, numbers = _Identities.of([*parties, *(each.tasks for each in before)])
        of_living, self._of_rows, of_exits, of_births, *of_before = numbers
        who = self._who
        self._listed, self._born = who.mask(self._of_rows), who.mask(of_births)
        self._exit_seq = np.full(who.tasks.tid.size, _NEVER)
        np.minimum.at(self._exit_seq, of_exits, during.exit_seq)
        self._living, self._doubtful = who.mask(of_living), np.zeros(who.tasks.tid.size, np.bool_)
        self._listed_before = who.mask(np.concatenate([np.zeros(0, np.intp), *of_before]))
        for each, numbers_of in zip(before, of_before, strict=True):
            self._take_elders(numbers_of[each.running])

        self._taken_over = frozenset(during.taken_over.tolist())
        self._known_processes = _processes(who.tasks, self._listed | self._listed_before) | _processes(
            who.tasks, self._living & (who.tasks.start_ns > np.uint64(document.births_known_from_ns))
        )
        # A gap may hide the exit of a leader, too, whose tid another process has by now.
        runs = self._living & (who.tasks.start_ns > np.uint64(max(standing.gaps.horizon_ns, 0)))
        runs[self._of_rows[listed.running]] = True
        self._leaders = _leaders(who.tasks, runs)
        whole_host = document.filter.mode == "all"
        self._all_seen = not whole_host or listing.whole_host
        self._elders_listed = whole_host and bool(before) and all(each.whole_host for each in earlier)
        self.checked = int(np.count_nonzero(self._living | self._listed))

    def _take_elders(self, numbers: Numbers) -> None:
        """Take up those who ran when they were listed before, and have done nothing since."""
        for number in numbers[~self._living[numbers]].tolist():
            past = self._standing.past(*self._names(number))
            self._living[number] |= past is Past.UNHEARD
            self._doubtful[number] |= past is Past.DOUBTFUL

    def unlisted(self) -> Iterator[Finding]:
        """Find who lives before the listing, does not exit in it, and is not listed."""
        horizon_ns = self._standing.gaps.horizon_ns
        missing = self._living & ~self._listed & (self._exit_seq == _NEVER)
        for number in np.flatnonzero(missing).tolist():
            tid, tgid, start_ns = self._names(number)
            seen = self._all_seen or bool(self._listed_before[number])
            hidden = tgid not in self._known_processes
            led = tid == tgid or self._leaders.get(tgid, start_ns) < start_ns
            certain = seen and not hidden and led and start_ns > horizon_ns and not self._changes(tid, tgid)
            reason = f"task {tid} has no exit, and is not listed"
            yield self._listing.first_seq, reason if certain else ""

    def listed(self) -> Iterator[Finding]:
        """Find whose row says something else than the events."""
        rows, of_rows = self._rows, self._of_rows
        here = self._living[of_rows] | self._born[of_rows]
        over = rows.running & (self._exit_seq[of_rows] < rows.seq)
        for row in np.flatnonzero(over).tolist():
            tid, tgid, _ = self._names(int(of_rows[row]))
            reason = f"task {tid} is listed running after its exit (seq {self._exit_seq[of_rows[row]]})"
            yield int(rows.seq[row]), "" if self._changes(tid, tgid) else reason
        unborn = rows.running & ~here & ~over
        unended = rows.dead & here & (self._exit_seq[of_rows] == _NEVER)
        yield from self._wait_for(
            {int(of_rows[row]): int(row) for row in np.flatnonzero(unborn)},
            {int(of_rows[row]): int(row) for row in np.flatnonzero(unended)},
        )

    def _wait_for(self, unborn: dict[int, int], unended: dict[int, int]) -> Iterator[Finding]:
        """Judge rows (by number of the task) whose birth or exit may come behind the listing."""
        for number in list(unborn):
            past = self._standing.past(*self._names(number))
            if past in (Past.ENDED, Past.UNHEARD, Past.DOUBTFUL):
                yield from self._judge_past(unborn.pop(number), number, past)
        births = {self._names(number)[::2]: number for number in unborn}
        exits = {self._names(number)[::2]: number for number in unended}
        gaps = self._standing.gaps
        if births or exits:
            for events in read_behind(self._capture, self._listing.end_seq, gaps):
                for identity in events.births.identities(set(births)):
                    del unborn[births.pop(identity)]
                for identity in events.exits.identities(set(exits)):
                    del unended[exits.pop(identity)]
                if not births and not exits:
                    break
        for number, row in unborn.items():
            yield from self._judge_past(row, number, self._standing.past(*self._names(number)))
        for number, row in unended.items():
            tid, tgid, start_ns = self._names(number)
            certain = start_ns > gaps.horizon_ns and not self._changes(tid, tgid)
            reason = f"task {tid} is listed dead, and has no exit"
            yield int(self._rows.seq[row]), reason if certain else ""

    def _judge_past(self, row: int, number: int, past: Past) -> Iterator[Finding]:
        """Judge a row of a task that is listed running, and is not alive by the events."""
        tid, tgid, start_ns = self._names(number)
        reason = f"task {tid} is listed running, and {past.value}"
        hidden_in_gap = start_ns <= self._standing.gaps.horizon_ns
        certain = not self._changes(tid, tgid)
        if past is Past.UNHEARD:
            if not self._elders_listed or self._listed_before[number]:
                return
            certain &= not hidden_in_gap
            reason = f"task {tid} is listed, is older than the recording, and was not listed at its beginning"
        elif past is not Past.ENDED:
            # Who has not run yet may be listed before its fork is traced, and the recording end between.
            certain &= past is not Past.DOUBTFUL and not hidden_in_gap and bool(self._rows.has_run[row])
        yield int(self._rows.seq[row]), reason if certain else ""

    def _names(self, number: int) -> tuple[int, int, int]:
        """Thread id, process id and start of an identity."""
        tasks = self._who.tasks
        return int(tasks.tid[number]), int(tasks.tgid[number]), int(tasks.start_ns[number])

    def _changes(self, tid: int, tgid: int) -> bool:
        return tgid in self._taken_over or self._standing.changes_identity(tid, tgid)


def _leaders(tasks: Tasks, mask: Flags) -> dict[int, int]:
    """Give when the leader of each process started, of those who are among these."""
    leaders = mask & (tasks.tid == tasks.tgid)
    return dict(zip(tasks.tid[leaders].tolist(), tasks.start_ns[leaders].tolist(), strict=True))


def _processes(tasks: Tasks, mask: Flags) -> frozenset[int]:
    """Give the ids of the processes whose leader is among these."""
    return frozenset(tasks.tid[mask & (tasks.tid == tasks.tgid)].tolist())
