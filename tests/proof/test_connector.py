"""A capture against the process connector's messages: what agrees, what is missing, what can't be told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.capture.connector import FILE_NAME
from linnix_rec.capture.document import Filter
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import UnreadableCaptureError
from linnix_rec.proof import connector_matching, connector_story
from linnix_rec.proof.connector import check_connector
from linnix_rec.proof.verdict import RuleResult
from tests.proof.messages import SECOND_NS, message_of, messages_of, write_messages
from tests.story import ATTACHED_BOOT_NS, CLONE_THREAD, Row, Story, write_capture


class Scene:
    """A shell that was there before, with a child that execs, has a thread, and ends."""

    def __init__(self) -> None:
        self.story = Story(step_ns=2 * SECOND_NS)
        with self.story.listing():
            self.shell = self.story.task(100)
        self.child = self.story.fork(self.shell, 101)
        self.story.exec(self.child, "/bin/worker")
        self.thread = self.story.fork(self.child, 102, CLONE_THREAD)
        self.story.exit(self.thread, last=False)
        self.story.exit(self.child)
        self.messages = messages_of(self.story)

    def row(self, kind: str, tid: int) -> Row:
        name = "child_tid" if kind == "fork" else "tid"
        return next(row for row in self.story.rows if row["kind"] == kind and row[name] == tid)

    def drop_row(self, kind: str, tid: int) -> None:
        """Take an event out as if nobody had claimed a ticket for it."""
        self.story.rows.remove(self.row(kind, tid))

    def lose_row(self, kind: str, tid: int) -> None:
        """Turn an event into a gap."""
        at = self.story.rows.index(self.row(kind, tid))
        lost = self.story.rows[at]["seq"]
        self.story.rows[at] = {"seq": lost, "slots": 0, "kind": "gap", "lost": 1, "reason": "lapped"}

    def drop_message(self, kind: str, tid: int) -> None:
        name = "child_tid" if kind == "fork" else "tid"
        self.messages.remove(next(m for m in self.messages if m["kind"] == kind and m[name] == tid))


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., RuleResult]:
    def run(scene: Scene, mode: str = "all", **witness: Any) -> RuleResult:
        path = write_capture(tmp_path / "a.lrec", scene.story, filter=Filter(mode))
        write_messages(path, scene.messages, **witness)
        return check_connector(open_capture(path))

    return run


@pytest.mark.parametrize("mode", ["all", "command", "pid"])
def test_a_capture_and_its_messages_agree(judge: Callable[..., RuleResult], scene: Scene, mode: str) -> None:
    result = judge(scene, mode)
    assert (result.checked, result.violated, result.unknown) == (5, 0, 0)
    assert result.note == "5 events in both, 0 only here, 0 only there, it lost 0"


@pytest.mark.parametrize(("kind", "tid"), [("fork", 101), ("fork", 102), ("exec", 101), ("exit", 102)])
def test_an_event_that_nobody_else_saw_is_named(
    judge: Callable[..., RuleResult], scene: Scene, kind: str, tid: int
) -> None:
    scene.drop_message(kind, tid)
    result = judge(scene)
    assert (result.checked, result.violated, result.unknown) == (5, 1, 0)
    assert result.first[0].seq == scene.row(kind, tid)["seq"]
    assert f"the {kind} of {tid} (process 101)" in result.first[0].message
    assert "4 events in both, 1 only here, 0 only there" in result.note


@pytest.mark.parametrize("mode", ["all", "command"])
@pytest.mark.parametrize(("kind", "tid"), [("fork", 102), ("exec", 101), ("exit", 102), ("exit", 101)])
def test_an_event_that_only_the_connector_saw_is_named(
    judge: Callable[..., RuleResult], scene: Scene, kind: str, tid: int, mode: str
) -> None:
    message = message_of(scene.row(kind, tid))
    scene.drop_row(kind, tid)
    result = judge(scene, mode)
    assert (result.violated, result.unknown) == (1, 0)
    assert f"the {kind} of {tid} (process 101)" in result.first[0].message
    at = (message["boot_ns"] - ATTACHED_BOOT_NS + 1_000_000) / 1e9
    assert f"at {at:+.6f} s is among" in result.first[0].message


def test_what_the_connector_lost_itself_is_its_own_loss(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    scene.drop_message("exec", 101)
    scene.drop_message("exit", 102)
    result = judge(scene, lost={"0": 1})
    assert (result.violated, result.unknown) == (1, 1)
    assert result.note == "3 events in both, 2 only here, 0 only there, it lost 1"


def test_a_gap_hides_as_many_events_as_it_has_tickets(judge: Callable[..., RuleResult], scene: Scene) -> None:
    scene.lose_row("fork", 102)  # the counters of the story say that what is lost are forks
    scene.drop_row("exit", 102)
    result = judge(scene)
    assert (result.violated, result.unknown) == (1, 1)
    assert "exit of 102" in result.first[0].message
    assert "2 only there (1 of them in our gaps)" in result.note


def test_other_tasks_do_not_count_beside_a_tree(judge: Callable[..., RuleResult], scene: Scene) -> None:
    other = Story(attached_boot_ns=ATTACHED_BOOT_NS + SECOND_NS)
    stranger = other.fork(other.task(7), 101)  # the number of our child, before it is born
    other.exec(stranger, "/bin/other")
    other.exit(stranger)
    other.exit(other.fork(other.task(8), 9))
    scene.messages[:0] = messages_of(other)
    result = judge(scene, "command")
    assert (result.checked, result.violated, result.unknown) == (5, 0, 0)


def test_on_a_whole_host_every_task_counts(judge: Callable[..., RuleResult], scene: Scene) -> None:
    other = Story(attached_boot_ns=ATTACHED_BOOT_NS + SECOND_NS)
    other.exit(other.fork(other.task(8), 9))
    scene.messages[:0] = messages_of(other)
    assert judge(scene).violated == 2


def test_a_reused_number_is_counted_as_often_as_it_lived(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    again = scene.story.fork(scene.shell, 101)
    scene.story.exit(again)
    scene.messages = messages_of(scene.story)
    scene.messages.pop()
    result = judge(scene)
    assert (result.checked, result.violated) == (7, 1)
    assert result.first[0].seq == scene.story.rows[-1]["seq"]


def test_messages_from_before_and_after_the_recording_do_not_count(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    begin, end = ATTACHED_BOOT_NS, max(message["boot_ns"] for message in scene.messages) + SECOND_NS
    early = {**scene.messages[0], "boot_ns": begin - 1, "child_tid": 50, "child_tgid": 50}
    late = {**scene.messages[-1], "boot_ns": end + 1, "tid": 60, "tgid": 60}
    scene.messages = [early, *scene.messages, late]
    result = judge(scene, end_boot_ns=end)
    assert (result.checked, result.violated, result.unknown) == (5, 0, 0)


def test_who_was_on_its_way_out_before_the_recording_may_say_so_late(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    scene.messages.insert(0, {**scene.messages[-1], "boot_ns": ATTACHED_BOOT_NS + 5, "tid": 60, "tgid": 60})
    result = judge(scene)
    assert (result.violated, result.unknown) == (0, 1)


def test_who_was_listed_alive_must_have_its_exit_here(judge: Callable[..., RuleResult], scene: Scene) -> None:
    last = scene.messages[-1]
    scene.messages.append({**last, "boot_ns": last["boot_ns"] + SECOND_NS, "tid": 100, "tgid": 100})
    assert judge(scene).violated == 1


def test_an_exec_held_by_a_tracer_since_before_the_recording_is_unknown(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    held = {**message_of(scene.row("exec", 101)), "boot_ns": ATTACHED_BOOT_NS + SECOND_NS, "tid": 100}
    scene.messages.insert(0, {**held, "tgid": 100})
    result = judge(scene)
    assert (result.violated, result.unknown) == (0, 1)


def test_an_exec_of_one_that_has_acted_since_is_missing(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    late = {**message_of(scene.row("exec", 101)), "tid": 100, "tgid": 100}
    scene.messages.append({**late, "boot_ns": scene.messages[-1]["boot_ns"] + 1})
    assert judge(scene).violated == 1  # it had forked


def test_an_exit_that_takes_longer_than_the_listening_is_unknown(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    scene.drop_message("exit", 101)
    end = scene.row("exit", 101)["boot_ns"] + SECOND_NS // 2
    assert judge(scene, end_boot_ns=end).unknown == 1


def test_an_exit_that_the_last_listing_finds_on_its_way_is_unknown(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    scene.drop_message("exit", 101)
    scene.story.list_task(scene.child, task_flags=0x4)
    result = judge(scene)
    assert (result.violated, result.unknown) == (0, 1)


def test_a_fork_that_was_not_finished_when_recording_ended_is_unknown(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    last = scene.messages[-1]["boot_ns"]
    scene.messages.append(
        {**scene.messages[0], "boot_ns": last + SECOND_NS, "child_tid": 103, "child_tgid": 103}
    )
    result = judge(scene, end_boot_ns=last + SECOND_NS + 5)
    assert (result.violated, result.unknown) == (0, 1)


def takeover(scene: Scene, *, executes: bool) -> None:
    """Another thread execs while the leader has exited and not yet said so: the message has its number."""
    story = scene.story
    leader = story.fork(scene.shell, 200)
    taker = story.fork(leader, 201, CLONE_THREAD)
    story.exit(leader, last=False)
    leaders_exit = story.rows[-1]
    if executes:
        story.exec(leader, "/bin/taken", old_tid=taker.tid)
    story.exit(leader)
    scene.messages = messages_of(story)
    at = scene.messages.index(message_of(leaders_exit))
    scene.messages[at] = {**scene.messages[at], "tid": 201}


def test_a_leader_s_exit_under_its_taker_s_number_is_the_same_event(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    takeover(scene, executes=True)
    result = judge(scene)
    assert (result.checked, result.violated, result.unknown) == (10, 0, 0)
    assert result.note == "10 events in both, 0 only here, 0 only there, it lost 0"


def test_a_taker_whose_exec_failed_leaves_its_number_unknown(
    judge: Callable[..., RuleResult], scene: Scene
) -> None:
    takeover(scene, executes=False)
    result = judge(scene)
    assert (result.checked, result.violated, result.unknown) == (9, 0, 1)


def test_too_much_to_look_at_closely_is_counted_all_the_same(
    judge: Callable[..., RuleResult], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_story, "STORY_ROWS", 2)
    scene.drop_message("exec", 101)
    scene.drop_row("exit", 102)
    result = judge(scene)
    assert (result.violated, result.checked) == (2, 5)
    assert "1 only here, 1 only there" in result.note


def test_what_can_not_be_held_in_memory_is_not_compared(
    judge: Callable[..., RuleResult], scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_matching, "UNMATCHED_KEYS", 1)
    scene.messages.clear()
    result = judge(scene)
    assert result.violated == 1
    assert "not compared further" in result.first[0].message


def test_a_capture_without_witness_can_not_be_judged(tmp_path: Path, scene: Scene) -> None:
    result = check_connector(open_capture(write_capture(tmp_path / "a.lrec", scene.story)))
    assert (result.checked, result.violated, result.unknown) == (0, 0, 1)


def written(tmp_path: Path, scene: Scene, **witness: Any) -> Path:
    path = write_capture(tmp_path / "a.lrec", scene.story)
    write_messages(path, scene.messages, **witness)
    return path


def test_a_missing_file_breaks_the_rule(tmp_path: Path, scene: Scene) -> None:
    path = written(tmp_path, scene)
    (path / FILE_NAME).unlink()
    result = check_connector(open_capture(path))
    assert result.first[0].message == f"{FILE_NAME} is not there"


def test_an_edited_file_breaks_the_rule(tmp_path: Path, scene: Scene) -> None:
    path = written(tmp_path, scene, sha256="00" * 32)
    result = check_connector(open_capture(path))
    assert result.first[0].message == f"{FILE_NAME} has another SHA-256 than capture.json says"


def test_a_count_that_is_not_the_file_s_breaks_the_rule(tmp_path: Path, scene: Scene) -> None:
    result = check_connector(open_capture(written(tmp_path, scene, rows=6)))
    assert [offence.message for offence in result.first] == [f"{FILE_NAME} has 5 messages, not 6"]


@pytest.mark.parametrize("name", ["../a.arrow", "/etc/passwd", "capture.json", "", "a\x1b[31m"])
def test_no_other_file_is_opened(tmp_path: Path, scene: Scene, name: str) -> None:
    path = written(tmp_path, scene, file=name)
    with pytest.raises(UnreadableCaptureError, match="no connector's file is called") as refused:
        check_connector(open_capture(path))
    assert "\x1b" not in str(refused.value)


def test_a_link_out_of_the_capture_is_not_followed(tmp_path: Path, scene: Scene) -> None:
    path = written(tmp_path, scene)
    (path / FILE_NAME).rename(tmp_path / "elsewhere")
    (path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreadableCaptureError, match="it is not a file"):
        check_connector(open_capture(path))


@settings(max_examples=40, deadline=None)
@given(
    lost_rows=st.sets(st.integers(0, 199), max_size=40),
    lost_messages=st.sets(st.integers(0, 199), max_size=40),
)
def test_every_single_loss_is_counted_in_a_storm(
    tmp_path_factory: pytest.TempPathFactory, lost_rows: set[int], lost_messages: set[int]
) -> None:
    """100 tasks with numbers that come back after 50; each is born and ends."""
    story = Story(step_ns=SECOND_NS // 10)
    shell = story.task(1)
    for at in range(100):
        story.exit(story.fork(shell, 1000 + at % 50))
    events = [row for row in story.rows if row["kind"] != "task"]
    messages = [message_of(row) for at, row in enumerate(events) if at not in lost_messages]
    # Of an event that both lost there is no trace.
    only_here = len(lost_messages - lost_rows)
    only_there = len(lost_rows - lost_messages)
    kept = [row for at, row in enumerate(events) if at not in lost_rows]
    path = write_capture(tmp_path_factory.mktemp("storm") / "a.lrec", [story.rows[0], *kept])
    write_messages(path, messages, first_boot_ns=ATTACHED_BOOT_NS - 2 * SECOND_NS)
    result = check_connector(open_capture(path))
    # A key that lost one event and another's message has cancelled out: never more than those.
    ours, theirs = lost_rows - lost_messages, lost_messages - lost_rows
    hidden = sum(
        (at in ours and at + 100 in theirs) or (at in theirs and at + 100 in ours) for at in range(100)
    )
    assert result.violated + result.unknown == only_here + only_there - 2 * hidden
