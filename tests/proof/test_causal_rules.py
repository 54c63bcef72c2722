"""The causal rules, told as stories: what a kernel does is allowed, and what none does is named."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from linnix_rec.proof import CausalCheck, RuleResult
from tests.story import ATTACHED_BOOT_NS, CLONE_THREAD, Story, Task


def results(
    story: Story, remembered_births: int = 1 << 18, rescan: Callable[[], list[pa.RecordBatch]] | None = None
) -> dict[str, RuleResult]:
    check = CausalCheck(
        story.attached_boot_ns, rescan, remembered_births=remembered_births, rows_at_once=1
    )  # fmt: skip
    for row in range(len(story.rows)):
        check.feed(story.batch().slice(row, 1))
    return {rule.name: rule for rule in check.results()}


def outcome(story: Story, **options: int) -> dict[str, str | int]:
    """Give for each rule that does not plainly hold its first offender's seq, or "unknown"."""
    return {
        name: rule.first[0].seq if rule.violated else "unknown"
        for name, rule in results(story, **options).items()
        if rule.violated or rule.unknown
    }


def last_seq(story: Story) -> int:
    seq: int = story.rows[-1]["seq"]
    return seq


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def shell(story: Story) -> Task:
    return story.task(100)


def test_exec_by_non_leader_keeps_process_identity(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    story.fork(process, 201, CLONE_THREAD)
    story.exit(process, last=False)
    story.exec(process, "/bin/echo", old_tid=201)
    story.fork(process, 202)
    story.exec(process, "/bin/true")
    story.exit(process)
    assert outcome(story) == {}


def test_the_takers_own_identity_ends_at_its_exec(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    taker = story.fork(process, 201, CLONE_THREAD)
    story.exit(process, last=False)
    story.exec(process, "/bin/echo", old_tid=201)
    story.exit(taker)
    assert outcome(story) == {"death": last_seq(story)}


def test_a_taker_that_was_never_seen_ends_at_its_exec_too(story: Story) -> None:
    process, taker = story.task(200), story.task(201, tgid=200)
    story.exit(process, last=False)
    story.exec(process, "/bin/echo", old_tid=201)
    story.fork(taker, 202)
    assert outcome(story) == {"parent": last_seq(story)}


def test_the_takers_tid_is_free_before_its_exec(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    story.fork(process, 201, CLONE_THREAD)
    story.exit(process, last=False)
    other = story.fork(shell, 201)
    story.exec(process, "/bin/echo", old_tid=201)
    story.exec(other, "/bin/true")
    story.exit(other)
    again = story.fork(process, 201, CLONE_THREAD)
    story.exit(again, last=False)
    story.exit(process)
    assert outcome(story) == {}


def test_a_takeover_that_fails_is_a_second_exit(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    story.fork(process, 201, CLONE_THREAD)
    story.exit(process, last=False)
    story.exit(process, signal=11)
    assert outcome(story) == {}
    story.exit(process, signal=11)
    assert outcome(story) == {"once": last_seq(story)}


def test_a_leader_that_waits_neither_forks_nor_execs_itself(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    story.exit(process, last=False)
    story.exec(process, "/bin/true")
    assert outcome(story) == {"death": last_seq(story)}


def test_a_gap_may_hide_the_takeover_of_a_waiting_leader(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    story.exit(process, last=False)
    story.gap(1)
    story.fork(process, 202)
    assert outcome(story) == {"parent": "unknown"}
    story.exit(process)
    story.exec(process, "/bin/true")
    assert outcome(story) == {"parent": "unknown", "death": last_seq(story)}


def test_no_gap_excuses_what_follows_a_last_exit(story: Story, shell: Task) -> None:
    process = story.fork(shell, 200)
    story.exit(process)
    story.gap(9)
    story.exec(process, "/bin/true")
    assert outcome(story) == {"death": last_seq(story)}


def test_several_threads_of_a_process_may_each_look_like_the_last(story: Story, shell: Task) -> None:
    # signal->live before Linux 6.16
    process = story.fork(shell, 200)
    threads = [story.fork(process, tid, CLONE_THREAD) for tid in (201, 202)]
    for task in (process, *threads):
        story.exit(task, last=True)
    assert outcome(story) == {}


def test_who_is_older_than_the_recording_needs_no_birth(story: Story) -> None:
    elder = Task(300, 300, ATTACHED_BOOT_NS)
    story.exec(elder, "/bin/true")
    younger = Task(301, 301, ATTACHED_BOOT_NS + 1)
    story.exec(younger, "/bin/true")
    assert outcome(story) == {"birth": last_seq(story)}


def test_a_task_row_proves_nothing(story: Story, shell: Task) -> None:
    story.task(100, start=ATTACHED_BOOT_NS + 400)  # before its fork
    child = story.fork(shell, 200)
    story.exit(child)
    story.task(200, start=child.start_ns)  # after its exit
    assert outcome(story) == {}
    stranger = story.task(201, start=ATTACHED_BOOT_NS + 5)
    story.exit(stranger)
    assert outcome(story) == {"birth": last_seq(story)}


def test_only_a_gap_after_its_start_may_hide_a_birth(story: Story, shell: Task) -> None:
    story.fork(shell, 200)
    story.gap(1)
    hidden = Task(201, 201, story.rows[0]["boot_ns"] + 10)
    story.fork(shell, 202)
    story.exit(hidden)
    assert outcome(story) == {"birth": "unknown"}
    late = Task(203, 203, story.rows[-2]["boot_ns"] + 1)
    story.exit(late)
    assert outcome(story) == {"birth": last_seq(story)}


def test_a_tid_is_used_again_by_another_identity(story: Story, shell: Task) -> None:
    for _ in range(3):
        child = story.fork(shell, 200)
        story.exit(child)
    assert outcome(story) == {}


@pytest.mark.parametrize("remembered_births", [0, 1, 1000])
def test_a_second_birth_is_found_however_late(story: Story, shell: Task, remembered_births: int) -> None:
    child = story.fork(shell, 200)
    story.exit(child)
    for tid in range(300, 340):
        story.exit(story.fork(shell, tid))
    story.fork(shell, 200, start=child.start_ns)
    found = results(story, remembered_births, lambda: [story.batch()])
    assert [offence.seq for offence in found["once"].first] == [last_seq(story)]


@pytest.mark.parametrize("remembered_births", [0, 1, 1000])
def test_an_old_identity_is_told_dead_or_unborn(story: Story, shell: Task, remembered_births: int) -> None:
    child = story.fork(shell, 200)
    story.exit(child)
    for tid in range(300, 340):
        story.exit(story.fork(shell, tid))
    story.exec(child, "/bin/true")
    dead = last_seq(story)
    story.exec(Task(201, 201, child.start_ns), "/bin/true")
    found = results(story, remembered_births, lambda: [story.batch()])
    assert [offence.seq for offence in found["death"].first] == [dead]
    assert [offence.seq for offence in found["birth"].first] == [last_seq(story)]


def test_without_a_second_reading_what_is_forgotten_is_unknown_or_broken(story: Story, shell: Task) -> None:
    child = story.fork(shell, 200)
    story.exit(child)
    for tid in range(300, 340):
        story.exit(story.fork(shell, tid))
    story.fork(shell, 200, start=child.start_ns)
    assert outcome(story, remembered_births=1) == {"once": "unknown"}
    other = Task(201, 201, child.start_ns)
    story.exec(other, "/bin/true")
    assert outcome(story, remembered_births=1) == {"once": "unknown", "birth": last_seq(story)}


def test_what_is_kept_grows_with_the_living_and_not_with_events() -> None:
    story = Story()
    shell = story.task(100)
    check = CausalCheck(story.attached_boot_ns, remembered_births=64, rows_at_once=100)
    for turn in range(20):
        for tid in range(200, 300):
            child = story.fork(shell, tid)
            thread = story.fork(child, tid + 100, CLONE_THREAD)
            story.exit(child, last=False)  # waits for ever, as far as is known
            story.exit(thread)
        check._odd_lives_kept = 0
        check.feed(story.batch().slice(turn * 400, 400))
        assert check._living.tid.size <= 200
        assert sum(map(len, check._judge.lives.values())) <= 200
        assert sum(chunk.tid.size for chunk in check._births._chunks) <= 300
    assert [rule.violated for rule in check.results()] == [0, 0, 0, 0]


def test_results_can_be_asked_at_any_time(story: Story, shell: Task) -> None:
    check = CausalCheck(story.attached_boot_ns)
    story.exit(story.fork(shell, 200))
    check.feed(story.batch())
    first = check.results()
    assert first == check.results()
    assert [rule.checked for rule in first] == [1, 1, 1, 2]
