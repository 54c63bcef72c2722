"""The rule alive: what a kernel can list breaks nothing, and a task too many or too few is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from linnix_rec.capture.document import Filter, Listing, Stopped
from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import RuleResult, verify_capture
from tests.proof.histories import ATTACHED_BOOT_NS, ListingKernel, with_gaps
from tests.proof.mutations import dumped_capture
from tests.story import CLONE_THREAD, Story, Task, write_capture

PF_EXITING = 0x4
ZOMBIE = 32


def rules(path: Path) -> dict[str, RuleResult]:
    return {rule.name: rule for rule in verify_capture(open_capture(path)).rules}


class Told:
    """A recording of a whole host: pid 1 and a shell are listed at its start, and `end` lists at its end."""

    def __init__(self, directory: Path, *, whole_host: bool = True, mode: str = "all") -> None:
        self.story = Story()
        self._directory, self._mode, self._whole_host = directory, mode, whole_host
        self._times = 0
        self.init, self.shell = Task(1, 1, 5), Task(100, 100, 500)
        with self.story.listing(self.init, self.shell, whole_host=whole_host):
            pass

    @contextmanager
    def end(self, *tasks: Task) -> Iterator[Story]:
        """What is told inside is told while the kernel lists, behind these tasks."""
        with self.story.listing(*tasks, whole_host=self._whole_host):
            yield self.story

    def alive(self) -> RuleResult:
        """What the rule says; every other rule holds."""
        self._times += 1
        path = self._directory / f"told-{self._times}.lrec"
        found = rules(write_capture(path, self.story, filter=Filter(self._mode)))
        assert [rule.name for rule in found.values() if rule.name != "alive" and not rule.holds] == []
        return found["alive"]

    def outcome(self) -> str:
        """The first offence, "unknown" if something is, or "holds"."""
        rule = self.alive()
        if rule.violated:
            return f"{rule.first[0].seq}: {rule.first[0].message}"
        return "unknown" if rule.unknown else "holds"


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_who_lives_by_the_events_is_listed(told: Told) -> None:
    child = told.story.fork(told.shell, 101)
    gone = told.story.fork(told.shell, 102)
    told.story.exit(gone)
    with told.end(told.init, told.shell, child):
        pass
    assert told.outcome() == "holds"
    assert told.alive().checked == 3


def test_without_a_listing_at_the_end_the_rule_is_not_reported(told: Told, tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", told.story)
    assert "alive" not in rules(path)


def test_a_missing_exit_is_named(told: Told) -> None:
    told.story.fork(told.shell, 101)
    with told.end(told.init, told.shell):
        pass
    assert told.outcome() == "3: task 101 has no exit, and is not listed"


def test_a_missing_exit_of_one_listed_at_the_start_is_named(told: Told) -> None:
    with told.end(told.init):
        pass
    assert told.outcome() == "2: task 100 has no exit, and is not listed"


def test_a_missing_exit_is_named_though_the_tid_is_used_again(told: Told) -> None:
    told.story.fork(told.shell, 101)
    again = told.story.fork(told.shell, 101)
    with told.end(told.init, told.shell, again):
        pass
    assert told.outcome() == "4: task 101 has no exit, and is not listed"


def test_who_exits_while_tasks_are_listed_need_not_be_listed(told: Told) -> None:
    child, other = told.story.fork(told.shell, 101), told.story.fork(told.shell, 102)
    with told.end(told.init) as story:
        story.exit(child)
        story.list_task(told.shell)
        story.list_task(other)
        story.exit(other)
    assert told.outcome() == "holds"


def test_who_is_born_while_tasks_are_listed_may_be_listed_or_not(told: Told) -> None:
    with told.end(told.init, told.shell) as story:
        story.fork(told.shell, 101)
        story.list_task(story.fork(told.shell, 102))
    assert told.outcome() == "holds"


def test_who_is_listed_running_has_not_exited(told: Told) -> None:
    child = told.story.fork(told.shell, 101)
    told.story.exit(child)
    with told.end(told.init, told.shell, child):
        pass
    assert told.outcome() == "6: task 101 is listed running, and has exited"


def test_an_exit_between_the_rows_comes_behind_the_row_of_its_task(told: Told) -> None:
    child = told.story.fork(told.shell, 101)
    with told.end(told.init, told.shell) as story:
        story.exit(child)
        story.list_task(child)
    assert told.outcome() == "6: task 101 is listed running after its exit (seq 5)"


def test_who_is_listed_exiting_may_have_exited_or_not(told: Told) -> None:
    early, late, later = (told.story.fork(told.shell, tid) for tid in (101, 102, 103))
    told.story.exit(early)
    with told.end(told.init, told.shell) as story:
        story.list_task(early, exit_state=ZOMBIE, task_flags=PF_EXITING)
        story.list_task(late, task_flags=PF_EXITING)
        story.list_task(later, exit_state=ZOMBIE, task_flags=PF_EXITING)
    told.story.exit(later)
    assert told.outcome() == "holds"


def test_who_is_listed_dead_has_its_exit(told: Told) -> None:
    child = told.story.fork(told.shell, 101)
    with told.end(told.init, told.shell) as story:
        story.list_task(child, exit_state=ZOMBIE, task_flags=PF_EXITING)
    assert told.outcome() == "5: task 101 is listed dead, and has no exit"


def test_who_is_listed_running_was_born(told: Told) -> None:
    stranger = Task(150, 150, told.story.attached_boot_ns + 1)
    with told.end(told.init, told.shell, stranger):
        pass
    assert told.outcome() == "4: task 150 is listed running, and was never born"


def test_a_task_may_be_listed_before_its_fork_is_traced(told: Told) -> None:
    with told.end(told.init, told.shell) as story:
        story.fork(told.shell, 101)
        fork = story.rows.pop()
        story._next_seq -= 1
        story.list_task(Task(101, 101, fork["child_start_ns"]))
    told.story.fork(told.shell, 101, start=fork["child_start_ns"])
    assert told.outcome() == "holds"


def test_who_has_not_run_yet_may_be_forked_behind_the_end(told: Told) -> None:
    with told.end(told.init, told.shell) as story:
        story.list_task(Task(101, 101, story.attached_boot_ns + 900), cpu_ns=0)
    assert told.outcome() == "unknown"


def test_an_elder_was_listed_at_the_start(told: Told) -> None:
    with told.end(told.init, told.shell, Task(77, 77, 700)):
        pass
    assert told.outcome().startswith("4: task 77 is listed, is older than the recording, and was not listed")


def test_a_gap_may_hide_an_exit_a_birth_or_a_row(told: Told) -> None:
    told.story.fork(told.shell, 101)
    told.story.gap(3)
    with told.end(told.init, told.shell, Task(150, 150, told.story.attached_boot_ns + 1)):
        pass
    rule = told.alive()
    assert (rule.violated, rule.unknown) == (0, 2)


def test_a_gap_hides_no_exit_of_who_was_born_behind_it(told: Told) -> None:
    told.story.gap(3)
    told.story.fork(told.shell, 101)
    told.story.fork(told.shell, 102)
    with told.end(told.init, told.shell):
        pass
    assert told.outcome() == "7: task 102 has no exit, and is not listed"


def test_a_process_that_the_kernel_hides_is_unknown_with_its_threads(told: Told) -> None:
    hidden = Task(2, 2, 7)
    told.story.fork(hidden, 3, CLONE_THREAD)
    child = told.story.fork(hidden, 101)
    with told.end(told.init, told.shell, child):
        pass
    rule = told.alive()
    assert (rule.violated, rule.unknown) == (0, 2)


def test_threads_of_a_process_that_is_taken_over_are_unknown(told: Told) -> None:
    leader = told.story.fork(told.shell, 101)
    taker = told.story.fork(leader, 102, CLONE_THREAD)
    told.story.exit(leader, last=False)
    with told.end(told.init, told.shell, leader):
        pass
    told.story.exec(leader, "/bin/true", old_tid=taker.tid)
    assert told.outcome() == "unknown"


def test_a_process_that_was_taken_over_before_is_judged_as_any(told: Told) -> None:
    leader = told.story.fork(told.shell, 101)
    taker = told.story.fork(leader, 102, CLONE_THREAD)
    told.story.exit(leader, last=False)
    told.story.exec(leader, "/bin/true", old_tid=taker.tid)
    with told.end(told.init, told.shell, leader):
        pass
    assert told.outcome() == "holds"
    del told.story.rows[-1]
    told.story.listings[-1] = replace(told.story.listings[-1], end_seq=8)
    assert told.outcome() == "6: task 101 has no exit, and is not listed"


def test_from_a_pid_namespace_who_was_not_listed_before_is_unknown(tmp_path: Path) -> None:
    told = Told(tmp_path, whole_host=False)
    told.story.fork(told.shell, 101)
    with told.end(told.init):
        pass
    rule = told.alive()
    assert (rule.violated, rule.unknown) == (1, 1)
    assert rule.first[0].message == "task 100 has no exit, and is not listed"


def test_a_tree_is_listed_whole_even_in_a_pid_namespace(tmp_path: Path) -> None:
    told = Told(tmp_path, whole_host=False, mode="command")
    told.story.fork(told.shell, 101)
    with told.end(told.init, told.shell):
        pass
    assert told.outcome() == "3: task 101 has no exit, and is not listed"


def test_an_ended_tree_lists_nobody(tmp_path: Path) -> None:
    story = Story()
    shell = Task(100, 100, 500)
    with story.listing(shell):
        pass
    story.exit(shell)
    with story.listing():
        pass
    path = write_capture(tmp_path / "tree.lrec", story, filter=Filter("command"))
    assert (rules(path)["alive"].holds, rules(path)["alive"].checked) == (True, 0)


def test_a_listing_that_is_not_in_the_files_is_unknown(told: Told) -> None:
    with told.end(told.init, told.shell):
        pass
    told.story.listings[-1] = Listing(3, 999, True)
    assert told.outcome() == "unknown"


def test_a_dump_has_one_listing(tmp_path: Path) -> None:
    story = Story(first_seq=1000)
    shell = Task(100, 100, 500)
    story.fork(shell, 101)
    gone = story.fork(shell, 102)
    with story.listing(shell, Task(7, 7, 70)):
        pass
    stopped = Stopped("dump", "", "2026-09-21T14:17:00Z", story.attached_boot_ns + 10**9)
    path = dumped_capture(tmp_path / "dump.lrec", story, stopped)
    found = rules(path)["alive"]
    assert [offence.message for offence in found.first] == [
        f"task {tid} has no exit, and is not listed" for tid in (101, gone.tid)
    ]
    assert found.unknown == 0


@pytest.mark.parametrize("seed", range(40))
def test_what_a_kernel_can_list_breaks_nothing(seed: int, tmp_path: Path) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    for steps in (0, 5, 20, 60, 200):
        kernel = ListingKernel(random, tids=random.choice((8, 12, 30)))
        rows = with_gaps(random, kernel.run_and_list(steps), gaps := random.choice((0, 0, 1, 3)))
        found = rules(listed_capture(tmp_path / f"{steps}.lrec", kernel, rows))
        assert [name for name in ("birth", "death", "parent", "once", "alive") if not found[name].holds] == []
        if gaps == 0 and not kernel.takeovers:
            assert found["alive"].unknown == 0


@pytest.mark.parametrize("seed", range(40))
def test_a_removed_exit_is_found_wherever_it_was(seed: int, tmp_path: Path) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    kernel = ListingKernel(random)
    rows = kernel.run_and_list(60, plain=True)
    exits = [at for at, row in enumerate(rows) if row["kind"] == "exit"]
    at = random.choice(exits)
    removed = {**rows[at], "kind": "task"}  # its ticket stays
    found = rules(listed_capture(tmp_path / "a.lrec", kernel, [*rows[:at], removed, *rows[at + 1 :]]))
    assert [rule.name for rule in found.values() if not rule.holds] == ["alive"]
    assert found["alive"].violated == 1


def listed_capture(directory: Path, kernel: ListingKernel, rows: list[dict[str, Any]]) -> Path:
    """Write what a kernel gave as a capture of a whole host."""
    story = Story(attached_boot_ns=ATTACHED_BOOT_NS)
    story.rows = rows
    story.listings = [Listing(first_seq, end_seq, True) for first_seq, end_seq in kernel.listings]
    return write_capture(directory, story)
