"""Claims about selections: what is asked for is kept, and a gap always is."""

import pytest

from linnix_rec.replay.selection import Bound, Selection, Selector
from tests.story import CLONE_THREAD, Story, rows_to_batch


@pytest.fixture
def story() -> Story:
    story = Story()
    shell = story.task(100)  # 0
    child = story.fork(shell, 101)  # 1
    story.exec(child, "/bin/cat", ["cat"])  # 2
    story.fork(child, 102, CLONE_THREAD)  # 3
    story.gap(10)  # 4..13
    story.exec(child, "/bin/true", ["true"], old_tid=102)  # 14
    story.exit(child)  # 15
    return story


def kept(story: Story, selection: Selection, rows_per_batch: int = 100) -> list[int]:
    selector = Selector(selection)
    parts = (story.rows[at : at + rows_per_batch] for at in range(0, len(story.rows), rows_per_batch))
    return [seq for part in parts for seq in selector.select(rows_to_batch(part)).column("seq").to_pylist()]


def test_nothing_asked_keeps_all(story: Story) -> None:
    assert kept(story, Selection()) == [0, 1, 2, 3, 4, 14, 15]


def test_pid_keeps_the_process_its_fork_and_gaps(story: Story) -> None:
    assert kept(story, Selection(pid=101)) == [1, 2, 3, 4, 14, 15]


def test_tid_keeps_the_threads_fork_and_its_takeover(story: Story) -> None:
    assert kept(story, Selection(tid=102)) == [3, 4, 14]


def test_comm_is_a_glob_in_which_case_matters(story: Story) -> None:
    assert kept(story, Selection(comm="t?u*")) == [4, 14, 15]
    assert kept(story, Selection(comm="T*")) == [4]


def test_kinds_exclude_gaps_unless_named(story: Story) -> None:
    assert kept(story, Selection(kinds=("exec",))) == [2, 14]
    assert kept(story, Selection(kinds=("gap",), pid=101)) == [4]


def test_range_of_seqs_is_half_open(story: Story) -> None:
    assert kept(story, Selection(since=Bound("seq", 2), until=Bound("seq", 14))) == [2, 3, 4]


@pytest.mark.parametrize("rows_per_batch", [1, 2, 100])
@pytest.mark.parametrize(("column", "unit_ns"), [("boot_ns", 1), ("time", 1000)])
def test_gap_stands_at_the_time_of_the_event_before_it(
    story: Story, column: str, unit_ns: int, rows_per_batch: int
) -> None:
    when = [row.get(column) for row in story.rows]
    assert kept(story, Selection(since=Bound(column, when[3])), rows_per_batch) == [3, 4, 14, 15]  # type: ignore[arg-type]
    assert kept(story, Selection(until=Bound(column, when[3])), rows_per_batch) == [0, 1, 2]  # type: ignore[arg-type]
