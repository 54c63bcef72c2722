"""The corners of tests/programs on the live kernel: each capture is proven, and says what happened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.text import encode_text
from linnix_rec.proof.verify import verify_capture

pytestmark = pytest.mark.kernel

CLONE_VFORK = 0x4000
CLONE_PARENT = 0x8000
CLONE_THREAD = 0x10000
SIGSEGV = 11

Event = dict[str, Any]


def events_of(recording: Any, status: int = 0) -> list[Event]:
    """The events after the root's own `task` row and first exec, of a recording that ended as expected."""
    assert recording.status == status, recording.stderr
    capture = open_capture(recording.capture)
    verdict = verify_capture(capture)
    assert verdict.proven, verdict
    rows = [row for batch in capture.batches() for row in batch.to_pylist()]
    assert [row["kind"] for row in rows[:2]] == ["task", "exec"]
    return rows[2:]


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["kind"] == kind]


def identity(event: Event) -> tuple[int, int]:
    return event["tid"], event["start_ns"]


def born(fork: Event) -> tuple[int, int]:
    return fork["child_tid"], fork["child_start_ns"]


def test_exec_by_non_leader_keeps_the_process_identity(record: Any, programs: Path) -> None:
    fork, leader_exit, takeover, last_exit = events_of(record(programs / "takeover"))
    assert [leader_exit["kind"], takeover["kind"], last_exit["kind"]] == ["exit", "exec", "exit"]
    assert fork["clone_flags"] & CLONE_THREAD
    assert identity(leader_exit) == identity(takeover) == identity(last_exit) == identity(fork)
    assert (takeover["filename"], takeover["argv"]) == ("/bin/echo", ["echo", "taken over"])
    assert takeover["old_tid"] == fork["child_tid"]
    assert (leader_exit["last_thread"], last_exit["last_thread"]) == (False, True)


def test_failed_takeover_is_two_exits_of_the_leader_and_no_exec(record: Any, programs: Path) -> None:
    fork, *doomed, root_exit = events_of(record(programs / "takeover_fails"))
    assert [event["kind"] for event in doomed] == ["fork", "exit", "exit"]
    assert {identity(event) for event in doomed} == {born(fork)}
    assert [event["last_thread"] for event in doomed[1:]] == [False, True]
    assert doomed[2]["exit_signal"] == SIGSEGV
    assert root_exit["exit_code"] == 0


def test_process_status_is_the_group_s_and_not_the_leader_s(record: Any, programs: Path) -> None:
    _, leader, last = events_of(record(programs / "leader_first"), status=3)
    assert (leader["tid"] == leader["tgid"], leader["last_thread"], leader["exit_code"]) == (True, False, 7)
    assert (last["tid"] == last["tgid"], last["last_thread"], last["exit_code"]) == (False, True, 3)


def test_vfork_children_are_whole(record: Any, programs: Path) -> None:
    events = events_of(record(programs / "vforker"))
    executed, left = of_kind(events, "fork")
    assert executed["clone_flags"] & left["clone_flags"] & CLONE_VFORK
    ends = {identity(event): event["exit_code"] for event in of_kind(events, "exit")}
    assert (ends[born(executed)], ends[born(left)]) == (0, 5)
    (execution,) = of_kind(events, "exec")
    assert (identity(execution), execution["filename"]) == (born(executed), "/bin/true")


def test_posix_spawn_of_nothing_is_a_life_without_exec(record: Any, programs: Path) -> None:
    events = events_of(record(programs / "posix_spawner"))
    children = [born(fork) for fork in of_kind(events, "fork")]
    assert [identity(event) for event in of_kind(events, "exec")] == children[:3]
    ends = {identity(event): event["exit_code"] for event in of_kind(events, "exit")}
    assert [ends[child] for child in children] == [0, 0, 0, 127]


def test_io_uring_worker_has_a_birth(record: Any, programs: Path) -> None:
    recording = record(programs / "uring_worker")
    fork, *ends = events_of(recording)
    (worker,) = [event for event in ends if event["comm"].startswith("iou-wrk-")]
    assert identity(worker) == born(fork)
    assert worker["tgid"] == fork["tgid"]


def test_clone_parent_tells_who_forked_from_who_is_parent(record: Any, programs: Path) -> None:
    events = events_of(record(programs / "clone_parent"))
    child, sibling = of_kind(events, "fork")
    assert sibling["clone_flags"] & CLONE_PARENT
    assert identity(sibling) == born(child)
    (end,) = [event for event in of_kind(events, "exit") if identity(event) == born(sibling)]
    assert (end["parent_tid"], end["parent_start_ns"]) == identity(child)
    assert end["exit_code"] == 4


def test_every_thread_of_a_storm_is_born_and_dies_once(record: Any, programs: Path) -> None:
    events = events_of(record(programs / "thread_storm", "20", "10"))
    births = Counter(born(fork) for fork in of_kind(events, "fork"))
    deaths = Counter(identity(event) for event in of_kind(events, "exit"))
    assert len(births) == 200
    assert births.total() == 200
    assert set(deaths.values()) == {1}
    assert births.keys() < deaths.keys()
    assert [event["last_thread"] for event in of_kind(events, "exit")].count(True) == 1


def test_reused_pid_is_another_task_each_time(record: Any, programs: Path) -> None:
    recording = record(programs / "pid_reuse", "20")
    events = events_of(recording)
    births = [born(fork) for fork in of_kind(events, "fork")]
    assert len(set(births)) == 20
    assert len({tid for tid, _ in births}) < 20
    ends = {identity(event): event["exit_code"] for event in of_kind(events, "exit")}
    assert [ends[child] for child in births] == list(range(20))


def test_names_that_are_no_text_keep_their_bytes(record: Any, programs: Path) -> None:
    events = events_of(record(programs / "odd_names"))
    execs = of_kind(events, "exec")
    names = [encode_text(execution["argv"][0]) for execution in execs]
    assert b"\xff\xfe invalid \xc3" in names
    assert b"\xee\xbe\x80 a private-use character" in names
    assert b"two\nlines\r" in names
    assert all(execution["argv"][2] == "" for execution in execs[:9])
    assert [execution["argv_truncated"] for execution in execs] == [False] * 9 + [True, True, False]
    comms = {encode_text(event["comm"]) for event in of_kind(events, "exit")}
    assert b"\x1b[2J\x1b]0;owned\x07" in comms


@pytest.mark.parametrize("command", ["show", "replay"])
def test_names_that_are_no_text_are_not_printed_raw(
    record: Any, programs: Path, linnix_rec: Any, command: str
) -> None:
    recording = record(programs / "odd_names")
    shown = linnix_rec(command, recording.capture)
    assert shown.returncode == 0, shown.stderr
    assert all(line.isprintable() for line in shown.stdout.split("\n"))
    assert "owned" in shown.stdout


def test_orphan_s_end_is_waited_for_only_if_asked(record: Any, programs: Path) -> None:
    left = of_kind(events_of(record(programs / "orphan")), "exit")
    waited = of_kind(events_of(record(programs / "orphan", options=["--wait"])), "exit")
    assert [event["exit_code"] for event in left] == [0, 0]
    assert [event["exit_code"] for event in waited] == [0, 0, 6]
