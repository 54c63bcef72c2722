"""Claims about lineage: every corner that a real kernel shows still gives one process one life."""

import random

import pytest

from linnix_rec.replay.lineage import Lineage, Tally, lineage_of
from linnix_rec.replay.process import Process
from tests.story import CLONE_PARENT, CLONE_THREAD, CLONE_VFORK, Story, rows_to_batch

PF_EXITING = 0x4
PF_KTHREAD = 0x200000
ZOMBIE = 32


def lineage(story: Story, rows_per_batch: int | None = None) -> Lineage:
    size = rows_per_batch or len(story.rows) or 1
    return lineage_of(
        rows_to_batch(story.rows[first : first + size]) for first in range(0, len(story.rows), size)
    )


def only(story: Story, pid: int) -> Process:
    told = lineage(story)
    (number,) = told.holders_of(pid).tolist()
    return told.process(number)


def parent_pid(told: Lineage, process: Process) -> int | None:
    return None if process.parent_number is None else told.process(process.parent_number).pid


def test_chain_is_fork_exec_exit() -> None:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", ["true", "-v"])
    story.exit(child, code=3)
    process = only(story, 101)
    assert process.whole
    assert process.birth is not None
    assert (process.birth.seq, process.birth.forker_pid, process.birth.comm) == (1, 100, "sh")
    assert [(step.seq, step.filename, step.argv, step.comm) for step in process.steps] == [
        (2, "/bin/true", ("true", "-v"), "true")
    ]
    assert process.ending is not None
    assert (process.ending.seq, process.ending.code, process.ending.signal) == (3, 3, 0)
    assert process.ending.failed
    assert process.lived_ns == 2500
    assert process.parent_number == 0


def test_takeover_by_exec_keeps_the_process() -> None:
    story = Story()
    python = story.fork(story.task(100), 101)
    story.fork(python, 102, CLONE_THREAD)
    story.exit(python, last=False)
    story.exec(python, "/bin/echo", ["echo", "hi"], old_tid=102)
    story.exit(python, code=4)
    process = only(story, 101)
    assert process.ending is not None
    assert (process.ending.seq, process.ending.code) == (5, 4)
    assert [step.old_tid for step in process.steps] == [102]
    assert process.threads == 2


def test_failed_takeover_ends_with_the_second_exit_of_the_leader() -> None:
    story = Story()
    program = story.fork(story.task(100), 101)
    story.fork(program, 102, CLONE_THREAD)
    story.exit(program, last=False)
    story.exit(program, signal=9)
    process = only(story, 101)
    assert process.ending is not None
    assert (process.ending.seq, process.ending.signal) == (4, 9)
    assert process.steps == ()


def test_leader_that_ends_first_leaves_the_status_to_the_last_thread() -> None:
    story = Story()
    leader = story.fork(story.task(100), 101)
    thread = story.fork(leader, 102, CLONE_THREAD)
    story.exit(leader, code=7, last=False)
    child = story.fork(thread, 103)
    story.exit(thread, code=3)
    story.exit(child)
    told = lineage(story)
    process = only(story, 101)
    assert process.ending is not None
    assert process.ending.code == 3
    assert parent_pid(told, only(story, 103)) == 101


def test_last_of_several_last_threads_counts() -> None:
    story = Story()
    leader = story.fork(story.task(100), 101)
    thread = story.fork(leader, 102, CLONE_THREAD)
    story.exit(leader, code=1)
    story.exit(thread, code=2)
    process = only(story, 101)
    assert process.ending is not None
    assert (process.ending.seq, process.ending.code) == (4, 2)


def test_reused_pid_is_another_process() -> None:
    story = Story()
    shell = story.task(100)
    for code in (1, 2):
        child = story.fork(shell, 101)
        thread = story.fork(child, 102, CLONE_THREAD)
        story.exit(thread, last=False)
        story.exit(child, code=code)
    told = lineage(story)
    holders = list(told.processes(told.holders_of(101)))
    assert [process.ending.code for process in holders if process.ending] == [1, 2]
    assert [process.threads for process in holders] == [2, 2]
    assert [parent_pid(told, process) for process in holders] == [100, 100]


def test_pid_that_comes_back_as_a_childs_parent_is_the_holder_of_that_time() -> None:
    story = Story()
    shell = story.task(100)
    first = story.fork(shell, 101)
    elder = story.fork(first, 201)
    story.exit(first)
    second = story.fork(shell, 101)
    younger = story.fork(second, 202)
    told = lineage(story)
    assert only(story, elder.tid).parent_number == told.holders_of(101).tolist()[0]
    assert only(story, younger.tid).parent_number == told.holders_of(101).tolist()[1]


def test_clone_parent_makes_a_sibling_and_remembers_the_forker() -> None:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.fork(child, 102, CLONE_PARENT)
    sibling = only(story, 102)
    assert parent_pid(lineage(story), sibling) == 100
    assert sibling.birth is not None
    assert sibling.birth.forker_pid == 101


def test_thread_is_no_process() -> None:
    story = Story()
    shell = story.task(100)
    for tid in (101, 102, 103):
        story.exit(story.fork(shell, tid, CLONE_THREAD), last=False)
    told = lineage(story)
    assert [process.pid for process in told] == [100]
    assert told.process(0).threads == 4


def test_child_of_a_thread_is_the_processs_child() -> None:
    story = Story()
    thread = story.fork(story.task(100), 101, CLONE_THREAD)
    story.fork(thread, 102, CLONE_VFORK)
    child = only(story, 102)
    assert parent_pid(lineage(story), child) == 100
    assert child.birth is not None
    assert (child.birth.forker_tid, child.birth.forker_pid) == (101, 100)


def test_task_row_after_the_exit_changes_nothing() -> None:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true")
    story.exit(child, code=5)
    story.task(101, start=child.start_ns, parent=shell, exit_state=ZOMBIE)
    process = only(story, 101)
    assert process.whole
    assert not process.dead_before


def test_task_row_before_its_own_fork_changes_nothing() -> None:
    story = Story()
    shell = story.task(100)
    early = story.task(101, start=story.attached_boot_ns + 1, parent=shell)
    story.fork(shell, 101, start=early.start_ns)
    story.exit(early)
    process = only(story, 101)
    assert process.whole
    assert process.birth is not None
    assert process.birth.seq == 2


def test_dead_in_the_snapshot_is_not_running() -> None:
    story = Story()
    story.task(100)
    story.task(101, exit_state=ZOMBIE)
    story.task(102, task_flags=PF_EXITING)
    assert [(process.dead_before, process.running) for process in lineage(story)] == [
        (False, True),
        (True, False),
        (True, False),
    ]


def test_process_whose_leader_alone_is_dead_still_runs() -> None:
    story = Story()
    story.task(100, exit_state=ZOMBIE)
    story.task(101, tgid=100, start=story.attached_boot_ns - 10)
    (process,) = lineage(story)
    assert process.running
    assert process.threads == 2


def test_kernel_threads_are_told_from_processes() -> None:
    story = Story()
    kthreadd = story.task(2, start=5, task_flags=PF_KTHREAD)
    story.fork(kthreadd, 60)
    worker = story.fork(kthreadd, 61)
    story.exec(worker, "/sbin/modprobe")
    assert [(process.pid, process.kernel_thread) for process in lineage(story)] == [
        (2, True),
        (60, True),
        (61, False),
    ]


def test_fork_hidden_by_a_gap_leaves_a_process_without_birth() -> None:
    story = Story()
    shell = story.task(100)
    lost = story.fork(shell, 101)
    del story.rows[-1]
    story.rows.append({"seq": 1, "slots": 0, "kind": "gap", "lost": 1, "reason": "lapped"})
    story.exec(lost, "/bin/true")
    story.exit(lost)
    told = lineage(story)
    process = only(story, 101)
    assert process.birth is None
    assert parent_pid(told, process) == 100
    assert told.tally(story.attached_boot_ns) == Tally(
        processes=2, whole=0, existed_before=1, still_running=0, birth_unknown=1, lost_tickets=1
    )


def test_process_of_which_only_a_thread_is_known_is_one_process() -> None:
    story = Story()
    shell = story.task(100)
    leader = story.fork(shell, 101)
    thread = story.fork(leader, 102, CLONE_THREAD)
    story.rows = [row for row in story.rows if row["kind"] == "task"]
    story.fork(thread, 103)
    story.exit(thread)
    process = only(story, 101)
    assert process.start_ns is None
    assert process.ending is not None
    assert process.lived_ns is None
    assert parent_pid(lineage(story), only(story, 103)) == 101


def test_parents_that_claim_each_other_do_not_make_a_ring() -> None:
    story = Story()
    first, second = story.task(100, start=50), story.task(101, start=60)
    for row, parent in zip(story.rows, (second, first), strict=True):
        row.update(parent_tid=parent.tid, parent_tgid=parent.tgid, parent_start_ns=parent.start_ns)
    told = lineage(story)
    assert told.roots().tolist() == [0]
    assert [number for _, number in told.walk(told.active() | True)] == [0, 1]


def test_numbers_follow_birth_and_the_snapshot_comes_first() -> None:
    story = Story()
    late = story.fork(story.task(200, start=90), 50)
    story.fork(late, 49)
    story.task(10, start=80)
    assert [process.pid for process in lineage(story)] == [10, 200, 50, 49]


def test_ancestors_of_the_active_are_shown_and_the_idle_are_not() -> None:
    story = Story()
    init = story.task(1, start=1)
    shell = story.task(100, parent=init)
    story.task(101, parent=init)
    story.fork(shell, 102)
    told = lineage(story)
    shown = told.with_ancestors(told.active())
    assert [process.pid for process in told if shown[process.number]] == [1, 100, 102]


def test_cpu_time_is_that_of_all_threads() -> None:
    story = Story()
    leader = story.fork(story.task(100), 101)
    thread = story.fork(leader, 102, CLONE_THREAD)
    story.exit(thread, last=False, cpu_ns=1 << 60)
    story.exit(leader, cpu_ns=5)
    assert only(story, 101).cpu_ns == (1 << 60) + 5


def test_empty_capture_has_no_processes() -> None:
    told = lineage(Story())
    assert list(told) == []
    assert told.tally(0).processes == 0
    assert told.roots().tolist() == []


def test_null_is_nothing() -> None:
    story = Story()
    child = story.fork(story.task(100), 101)
    story.exec(child, "/bin/true")
    story.rows[-1].update(dict.fromkeys(("filename", "argv", "argv_truncated", "old_tid", "comm")))
    story.exit(child, last_thread=None, max_rss_bytes=None)
    process = only(story, 101)
    (step,) = process.steps
    assert (step.filename, step.argv, step.argv_truncated, step.old_tid, step.comm) == (
        None,
        (),
        False,
        None,
        "",
    )
    assert process.ending is None


def random_story(seed: int) -> Story:
    chance = random.Random(seed)  # noqa: S311
    story = Story()
    alive = [story.task(100)]
    for tid in range(101, 140):
        actor = chance.choice(alive)
        flags = chance.choice([0, 0, CLONE_THREAD, CLONE_PARENT, CLONE_VFORK])
        alive.append(story.fork(actor, tid, flags))
        if chance.random() < 0.4 and actor.tid == actor.tgid:
            story.exec(actor, f"/bin/{tid}", [str(tid)])
        if chance.random() < 0.3 and len(alive) > 2:
            gone = alive.pop(chance.randrange(1, len(alive)))
            story.exit(gone, code=tid, last=gone.tid == gone.tgid)
    return story


@pytest.mark.parametrize("rows_per_batch", [1, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_lineage_does_not_depend_on_batches(seed: int, rows_per_batch: int) -> None:
    story = random_story(seed)
    assert list(lineage(story, rows_per_batch)) == list(lineage(story))


@pytest.mark.parametrize("seed", range(5))
def test_children_and_parents_agree(seed: int) -> None:
    told = lineage(random_story(seed))
    for process in told:
        assert all(told.process(child).parent_number == process.number for child in process.child_numbers)
        if process.parent_number is not None:
            assert process.number in told.process(process.parent_number).child_numbers


def test_exit_may_be_lost_only_if_a_gap_follows_the_last_event() -> None:
    story = Story()
    shell = story.task(100)
    quiet, busy, ended = (story.fork(shell, tid) for tid in (101, 102, 103))
    story.exit(ended)
    story.gap(5)
    story.exec(busy, "/bin/true")
    assert [(process.pid, process.exit_may_be_lost) for process in lineage(story)] == [
        (100, True),
        (quiet.tid, True),
        (busy.tid, False),
        (ended.tid, False),
    ]
