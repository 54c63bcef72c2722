"""Following tasks by messages: who acts, what a thread id means when it comes back, and who /proc adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.capture.schema import EVENT_SCHEMA, EXEC, EXIT, FORK
from linnix_rec.proof.causality import CausalCheck
from linnix_rec.sources.connector_lives import LAST, NO_ID, NOT_LAST, PERHAPS_LAST, ActList, Entry, Who
from linnix_rec.sources.connector_messages import RENAMED, USER_CHANGED, Acts
from linnix_rec.sources.connector_rows import event_batch
from linnix_rec.sources.connector_tasks import Tasks

TICK = 10_000_000
SINCE = 1000 * TICK
LATER = 2000 * TICK + 1  # what is cut to a tick is known by that


class Told(NamedTuple):
    """One row, as a test reads it."""

    kind: int
    who: Who
    old_tid: int | None
    last: int


Words = tuple[int, ...]
Message = tuple[int, Words]


def fork(parent: int, child: int, *, of: int | None = None, process: int | None = None) -> Message:
    """`of`: the parent's process; `process`: the child's, if it is a thread."""
    return FORK, (parent, of or parent, child, process or child)


def exec_(tid: int) -> Message:
    return EXEC, (tid, tid)


def exit_(tid: int, *, of: int | None = None, parent: int = 0) -> Message:
    return EXIT, (tid, of or tid, 0, 17, parent, parent)


class Heard:
    """Tasks, and a clock that gives each message the next nanosecond."""

    def __init__(self, *present: Entry, tree_only: bool = False) -> None:
        self.tasks = Tasks(tree_only=tree_only, tick_ns=TICK)
        self.now_ns = LATER
        self.learn(*present)

    def learn(self, *entries: Entry) -> list[Who | None]:
        return self.tasks.learn(entries, self.tasks.look(self.now_ns), since_ns=SINCE)

    def hear(self, *messages: Message, comms: Mapping[int, str | None] | None = None) -> list[Told]:
        times = list(range(self.now_ns, self.now_ns + len(messages)))
        self.now_ns += len(messages)
        words = [(*words, *[0] * (6 - len(words))) for _, words in messages]
        kinds = [kind for kind, _ in messages]
        acts = ActList(kinds, times, tuple(map(list, zip(*words, strict=True))))
        rows = self.tasks.take(acts, comms or {}, 0, len(messages))
        return [
            Told(kinds[at], who, rows.old_tid.get(at), last)
            for at, who, last in zip(rows.at, rows.who, rows.last_thread, strict=True)
        ]


def entry(tid: int, *, of: int | None = None, parent: int = 1, start: int = 5, dead: bool = False) -> Entry:
    return Entry(tid, of or tid, start * TICK, parent, 1000, 100, f"task {tid}", dead)


def test_who_is_born_started_when_the_message_was_made() -> None:
    heard = Heard(entry(1, parent=0), entry(10))
    born, ended = heard.hear(fork(10, 11), exit_(11, parent=10))
    assert born.who == Who(10, 10, 5 * TICK, 1, 1, 5 * TICK, 1000, 100, "task 10")
    assert ended.who == Who(11, 11, LATER, 10, 10, 5 * TICK, 1000, 100, "task 10")
    assert ended.last == LAST
    assert heard.tasks.strangers == 0


def test_who_was_never_heard_of_has_no_start() -> None:
    heard = Heard()
    (ended,) = heard.hear(exit_(7, parent=3))
    assert ended.who == Who(7, 7, 0, 3, 3, 0, NO_ID, NO_ID, None)
    assert heard.tasks.strangers == 1


def test_a_thread_id_that_is_back_before_its_exit_is_told_keeps_both_lives_apart() -> None:
    heard = Heard(entry(10))
    _, _, first, second = heard.hear(fork(10, 11), fork(10, 11), exit_(11), exit_(11))
    assert (first.who.start_ns, second.who.start_ns) == (LATER, LATER + 1)
    assert (first.last, second.last) == (LAST, LAST)


def test_behind_a_loss_a_thread_id_that_is_back_has_one_life_only() -> None:
    heard = Heard(entry(10))
    heard.hear(fork(10, 11))
    heard.tasks.miss()
    _, ended = heard.hear(fork(10, 11), exit_(11))
    assert ended.who.start_ns == LATER + 1
    assert len(heard.tasks) == 1


def test_a_parent_that_has_ended_is_nobody_s_parent() -> None:
    heard = Heard(entry(10))
    *_, orphan = heard.hear(fork(10, 11), fork(11, 12), exit_(11), fork(12, 13))
    assert orphan.who[:6] == (12, 12, LATER + 1, 0, 0, 0)


def test_an_exit_names_who_is_the_parent_by_then() -> None:
    heard = Heard(entry(1, parent=0), entry(10))
    *_, ended = heard.hear(fork(10, 11), fork(11, 12), exit_(11), exit_(12, parent=1))
    assert ended.who[3:6] == (1, 1, 5 * TICK)


def test_the_only_thread_of_a_process_made_its_second() -> None:
    heard = Heard(entry(1, parent=0), entry(10))
    second, third = heard.hear(fork(1, 11, process=10), fork(1, 12, process=10))
    assert second.who.tid == 10
    assert third.who == Who(0, 10, 0, 1, 1, 5 * TICK, 1000, 100, None)


def test_the_last_exit_of_a_process_is_its_last_thread_s() -> None:
    heard = Heard(entry(10))
    told = heard.hear(fork(1, 11, process=10), exit_(10), exit_(11, of=10))
    assert [row.last for row in told] == [NOT_LAST, NOT_LAST, LAST]
    assert len(heard.tasks) == 1  # who was named as the process's parent


def test_a_thread_that_takes_its_process_over_gives_up_its_id() -> None:
    heard = Heard(entry(10))
    _, _, taken, again, ended = heard.hear(
        fork(1, 11, process=10), exit_(10), exec_(10), fork(10, 11), exit_(10)
    )
    assert (taken.who.tid, taken.who.start_ns, taken.old_tid) == (10, 5 * TICK, 11)
    assert (again.who.tid, again.who.start_ns) == (10, 5 * TICK)
    assert ended.last == LAST


def test_of_several_threads_the_one_that_is_not_about_to_end_took_over() -> None:
    heard = Heard(entry(10))
    heard.hear(fork(1, 11, process=10), fork(1, 12, process=10), exit_(10))
    taken, late = heard.hear(exec_(10), exit_(11, of=10))
    assert taken.old_tid == 12
    assert (late.who.tid, late.who.start_ns) == (11, LATER)


def test_who_took_over_is_not_guessed() -> None:
    heard = Heard(entry(10))
    heard.hear(fork(1, 11, process=10), fork(1, 12, process=10), exit_(10))
    (taken,) = heard.hear(exec_(10))
    assert taken.old_tid == 0
    (late,) = heard.hear(exit_(12, of=10))
    assert (late.who.start_ns, late.last) == (LATER + 1, NOT_LAST)


def test_a_takeover_that_fails_ends_the_leader_a_second_time() -> None:
    heard = Heard(entry(10))
    _, first, second = heard.hear(fork(1, 11, process=10), exit_(10), exit_(10))
    assert first.who == second.who
    assert (first.last, second.last) == (NOT_LAST, LAST)


def test_names_and_users_are_followed_and_inherited() -> None:
    heard = Heard(entry(10))
    told = heard.hear(
        (RENAMED, (10, 10)), fork(10, 11), (USER_CHANGED, (11, 11, 33)), exec_(11), exit_(11),
        comms={0: "renamed", 3: "true"},
    )  # fmt: skip
    assert [(row.who.comm, row.who.uid) for row in told] == [("renamed", 1000), ("true", 33), ("true", 33)]


def test_the_name_after_an_exec_that_nobody_looked_at_is_not_known() -> None:
    heard = Heard(entry(10))
    assert [row.who.comm for row in heard.hear(exec_(10), exit_(10))] == [None, None]


def test_only_the_tree_has_rows_and_the_others_are_counted() -> None:
    heard = Heard(entry(10), entry(20), tree_only=True)
    assert heard.tasks.mark(10)
    told = heard.hear(
        fork(10, 11), fork(20, 21), fork(11, 12), exit_(10), exec_(12), fork(10, 13, process=11), exit_(21)
    )
    assert [row.kind for row in told] == [FORK, FORK, EXIT, EXEC, FORK]
    assert heard.tasks.filtered == 2
    assert sorted(heard.tasks.living_members()) == [11, 12, 13]


def test_descendants_from_before_are_adopted() -> None:
    heard = Heard(entry(10), entry(11, parent=10), entry(12, parent=11), entry(20), tree_only=True)
    heard.tasks.mark(10)
    assert heard.tasks.adopt() == 2
    assert sorted(heard.tasks.living_members()) == [10, 11, 12]


def test_no_process_can_not_be_marked() -> None:
    assert not Heard().tasks.mark(10)


def test_who_is_younger_than_the_messages_is_not_taken_from_proc() -> None:
    heard = Heard()
    assert heard.learn(entry(30, start=1001), entry(31, start=1000))[0] is None
    assert len(heard.tasks) == 1


def test_who_was_born_in_a_message_keeps_that_start_when_proc_names_him() -> None:
    heard = Heard(entry(10))
    heard.hear(fork(10, 11))
    (who,) = heard.learn(entry(11, parent=10, start=2000))
    assert who is not None
    assert who.start_ns == LATER


def test_who_ended_while_proc_was_read_does_not_come_back() -> None:
    heard = Heard(entry(10))
    look = heard.tasks.look(heard.now_ns)
    heard.hear(exit_(10))
    assert heard.tasks.learn([entry(10)], look, since_ns=SINCE) == [None]
    assert len(heard.tasks) == 0


def test_behind_a_loss_proc_says_who_was_born_and_who_may_have_ended() -> None:
    heard = Heard(entry(10), entry(11, parent=10), tree_only=True)
    heard.tasks.mark(10)
    heard.tasks.adopt()
    heard.tasks.miss()
    heard.now_ns += TICK
    heard.learn(entry(10), entry(12, parent=10, start=1500))
    assert not heard.tasks.has_missed
    assert sorted(heard.tasks.living_members()) == [10, 12]
    (ended,) = heard.hear(exit_(12))
    assert ended.who.start_ns == 1500 * TICK


def test_a_loss_during_a_look_wants_another() -> None:
    heard = Heard(entry(10))
    heard.tasks.miss()
    look = heard.tasks.look(heard.now_ns)
    heard.tasks.miss()
    heard.tasks.learn([entry(10)], look, since_ns=SINCE)
    assert heard.tasks.has_missed


def test_among_doubtful_threads_nobody_is_known_to_be_the_last() -> None:
    heard = Heard(entry(10))
    heard.hear(fork(1, 11, process=10))
    heard.tasks.miss()
    heard.now_ns += TICK
    heard.learn(entry(10))
    (ended,) = heard.hear(exit_(10))
    assert ended.last == PERHAPS_LAST


def test_a_zombie_is_told_and_not_followed() -> None:
    heard = Heard()
    (who,) = heard.learn(entry(10, dead=True))
    assert who is not None
    assert who.tid == 10
    assert len(heard.tasks) == 0


def test_a_leader_that_was_a_zombie_before_can_be_taken_over() -> None:
    heard = Heard(entry(10, dead=True), entry(11, of=10))
    (taken,) = heard.hear(exec_(10))
    assert (taken.who.tid, taken.who.start_ns, taken.old_tid) == (10, 5 * TICK, 11)


def batch_of(heard: Heard, *messages: Message) -> pa.RecordBatch:
    """The rows of messages as a recording writes them, in one batch."""
    begin_ns = heard.now_ns
    words = np.zeros((len(messages), 6), np.uint32)
    for row, (_, given_words) in zip(words, messages, strict=True):
        row[: len(given_words)] = given_words
    count = len(messages)
    boot_ns = np.arange(begin_ns, begin_ns + count, dtype=np.int64)
    kind = np.array([kind for kind, _ in messages], np.uint8)
    acts = Acts(np.arange(count), kind, np.zeros(count, np.uint16), boot_ns, words)
    listed = ActList(kind.tolist(), boot_ns.tolist(), tuple(words.T.tolist()))
    rows = heard.tasks.take(listed, {}, 0, count)
    heard.now_ns += count
    return event_batch(rows, acts, boot_ns, {}, seq=0, realtime_offset_ns=0)


LIVES = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["fork", "thread", "exec", "exit"])), max_size=60
)


@settings(deadline=None)  # the first batch imports what Arrow needs
@given(LIVES)
def test_no_rule_is_broken_by_what_was_heard_whole(steps: list[tuple[int, str]]) -> None:
    """A process bears processes and threads, which act and end, some ids being used again at once."""
    heard = Heard(entry(1, parent=0), entry(10))
    living, free, messages = {10: 10}, [13, 12, 11], []
    for choice, step in steps:
        tid = sorted(living)[choice % len(living)]
        if step in {"fork", "thread"} and free:
            child = free.pop()
            process = living[tid] if step == "thread" else child
            messages.append(fork(tid if step == "fork" else 1, child, of=living[tid], process=process))
            living[child] = process
        elif step == "exec" and list(living.values()).count(living[tid]) == 1 and tid == living[tid]:
            messages.append(exec_(tid))
        elif step == "exit" and tid != 10:
            process = living.pop(tid)
            messages.append(exit_(tid, of=process))
            if tid != process or process not in living.values():
                free.append(tid)
    check = CausalCheck(SINCE)
    if messages:
        batch = batch_of(heard, *messages)
        assert batch.schema == EVENT_SCHEMA
        assert batch.num_rows == len(messages)
        check.feed(batch)
    assert [rule for rule in check.results() if rule.violated] == []
    assert heard.tasks.strangers == 0


TID = st.integers(0, 4)
ANY_MESSAGE = st.one_of(
    st.tuples(st.just(FORK), st.tuples(TID, TID, TID, TID)),
    st.tuples(st.sampled_from([EXEC, RENAMED, USER_CHANGED]), st.tuples(TID, TID)),
    st.tuples(st.just(EXIT), st.tuples(TID, TID, st.just(0), st.just(17), TID, TID)),
)
ANY_ENTRY = st.builds(
    Entry, TID, TID, st.sampled_from([5 * TICK, 1500 * TICK]), TID, st.just(0), st.just(0), st.just(""),
    st.booleans(),
)  # fmt: skip
ANY_STEP = st.one_of(st.lists(ANY_MESSAGE, max_size=8), st.lists(ANY_ENTRY, max_size=4).map(tuple), st.none())


@settings(deadline=None)
@given(st.lists(ANY_STEP, max_size=12), st.booleans())
def test_whatever_is_heard_every_event_has_its_row_or_is_another_s(
    steps: list[list[Message] | tuple[Entry, ...] | None], tree_only: bool
) -> None:
    """Messages that fit nothing, entries that contradict them, losses in between."""
    heard = Heard(entry(1, parent=0), tree_only=tree_only)
    heard.tasks.mark(1)
    rows = events = 0
    for step in steps:
        if step is None:
            heard.tasks.miss()
        elif isinstance(step, tuple):
            assert len(heard.learn(*step)) == len(step)
        else:
            rows += len(heard.hear(*step))
            events += sum(kind in {FORK, EXEC, EXIT} for kind, _ in step)
    assert rows + heard.tasks.filtered == events
    assert tree_only or heard.tasks.filtered == 0


@pytest.mark.parametrize("status", [0, 7 << 8, 11, 11 | 0x80])
def test_a_status_is_read_as_wait_does(status: int) -> None:
    heard = Heard(entry(10))
    message = (EXIT, (10, 10, status, 17, 1, 1))
    (row,) = batch_of(heard, message).to_pylist()
    assert (row["exit_code"], row["exit_signal"], row["core_dumped"]) == (
        status >> 8, status & 0x7F, bool(status & 0x80),
    )  # fmt: skip
