"""Two captures beside each other: every event of one is found in the other, or named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import pytest

from linnix_rec.capture.document import Accounts, EventAccount, Filter, Host, Pruned, Stopped
from linnix_rec.capture.reader import Capture, open_capture
from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.proof.reconcile import Reconciliation, Window, reconcile
from linnix_rec.proof.verdict import Inversions
from tests.story import ATTACHED_BOOT_NS, CLONE_THREAD, Row, Story, arrived, document, write_capture

MS = 1_000_000
S = 1_000 * MS


def a_busy_second() -> Story:
    """An event a ms: a shell starts 333 processes, each of which execs and exits."""
    story = Story(step_ns=MS)
    shell = story.task(100)
    for tid in range(200, 533):
        child = story.fork(shell, tid)
        story.exec(child, "/bin/true")
        story.exit(child)
    return story


def seen_by_another(rows: list[Row], seed: int = 1) -> list[Row]:
    """The same events, each some microseconds later by another program's clock."""
    random = Random(seed)  # noqa: S311 - no secret
    return [
        {**row, "boot_ns": row["boot_ns"] + random.randint(0, 5000)} if row.get("boot_ns") else row
        for row in rows
    ]


def without(story: Story, *places: int) -> list[Row]:
    """The story as a channel kept it that dropped these rows: a gap stands for each."""
    told = Story(step_ns=MS)
    for place, row in enumerate(story.rows):
        if place in places:
            told.gap(1, "dropped")
        else:
            told.rows.append({**row, "seq": told._next_seq})
            told._next_seq += 1
    return told.rows


Pair = Callable[..., tuple[Capture, Capture]]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    def written(a: list[Row], b: list[Row], **changes_of_b: Any) -> tuple[Capture, Capture]:
        changes = {"source": "ringbuf", "ordered": False, **changes_of_b}
        room = Path(mkdtemp(dir=tmp_path))
        first = write_capture(room / "a.lrec", a)
        second = write_capture(room / "b.lrec", seen_by_another(b), **changes)
        return open_capture(first), open_capture(second)

    return written


def compare(captures: tuple[Capture, Capture], window_ns: int = S) -> Reconciliation:
    return reconcile(*captures, window_ns=window_ns)


def alone(found: Reconciliation) -> tuple[int, int]:
    a, b = (sum(side.alone.values()) for side in found.sides)
    return a, b


# ---- what is there ---------------------------------------------------------------------------------------


def test_two_recordings_of_the_same_events_have_all_in_common(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(story.rows, story.rows))
    assert (alone(found), found.at_edges) == ((0, 0), 0)
    # The last event is at the very end of the second, and by one clock behind it.
    assert sum(found.both.values()) == 999
    assert found.sides[0].events == {"fork": 333, "exec": 333, "exit": 333}
    assert found.longest_bad_run(0.0) == 0
    assert found.sides[1].source == "ringbuf"


def test_what_one_lost_is_in_the_other_only_and_named(pair: Pair) -> None:
    story = a_busy_second()
    fork, exec_, exit_ = 301, 302, 306  # rows: 0 is the shell
    found = compare(pair(story.rows, without(story, fork, exec_, exit_)))
    here, there = found.sides
    assert (here.alone, there.alone) == (
        {"fork": 1, "exec": 1, "exit": 1}, {"fork": 0, "exec": 0, "exit": 0}
    )  # fmt: skip
    assert [(each.seq, each.kind, each.tid, each.comm) for each in here.first] == [
        (fork, "fork", 300, "sh"), (exec_, "exec", 300, "true"), (exit_, "exit", 301, "true")
    ]  # fmt: skip
    assert here.first[0].boot_ns == story.rows[fork]["boot_ns"]
    assert (there.lost, there.gaps, sum((there.lost_by_kind or {}).values())) == (3, 3, 3)
    assert (here.lost, here.lost_by_kind) == (0, {"fork": 0, "exec": 0, "exit": 0})
    assert there.first == ()


def test_both_may_lack_something(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(without(story, 100), without(story, 200, 500)))
    assert alone(found) == (2, 1)
    assert [each.seq for each in found.sides[1].first] == [100]


def test_only_the_first_are_named_but_all_are_counted(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(story.rows, without(story, *range(100, 140))))
    assert (alone(found), len(found.sides[0].first)) == ((40, 0), 10)
    assert [each.seq for each in found.sides[0].first] == list(range(100, 110))


def test_inversions_of_each_side_are_counted(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(story.rows, arrived(story, 302, 306)))
    assert found.sides[0].inversions == Inversions(0, 0, 0)
    assert found.sides[1].inversions == Inversions(births=2, deaths=1, parents=0)
    assert alone(found) == (0, 0)


# ---- the common time -------------------------------------------------------------------------------------


def test_what_one_saw_before_the_other_began_is_not_missing(pair: Pair) -> None:
    story = a_busy_second()
    late_ns = ATTACHED_BOOT_NS + 400 * MS
    started = replace(document().started, boot_ns=late_ns - MS, attached_boot_ns=late_ns)
    late = [row for row in story.rows if row["boot_ns"] >= late_ns]
    found = compare(pair(story.rows, late, started=started))
    assert (found.from_ns, alone(found), found.at_edges) == (late_ns, (0, 0), 0)
    # What one lacks right then may have been before that moment by its own clock.
    found = compare(pair(story.rows, late[5:], started=started))
    assert (alone(found), found.at_edges) == ((0, 0), 5)
    found = compare(pair(story.rows, late[25:], started=started))
    assert (alone(found), found.at_edges) == ((15, 0), 10)


def test_what_one_saw_after_the_other_stopped_is_not_missing(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(story.rows, story.rows[:601]))
    assert found.end_ns == seen_by_another(story.rows)[600]["boot_ns"] + 1000
    assert (alone(found), found.at_edges) == ((0, 0), 0)
    a, b = pair(story.rows, story.rows[:581])
    stopped = Stopped("signal", "SIGINT", "", found.end_ns)
    found = compare((a, replace(b, document=replace(b.document, stopped=stopped))))
    assert (alone(found), found.at_edges) == ((10, 0), 10)


def test_an_unfinished_recording_ends_a_second_before_its_last_event(tmp_path: Path) -> None:
    story = Story(step_ns=10 * MS)
    shell = story.task(100)
    for tid in range(200, 500):
        story.exit(story.fork(shell, tid))
    whole = open_capture(write_capture(tmp_path / "a.lrec", story))
    # Its channel still held some of what was before its last event.
    rows = [*story.rows[:540], *story.rows[550:560]]
    cut = open_capture(write_capture(tmp_path / "b.lrec", rows, finished=False, source="perf", ordered=False))
    found = reconcile(whole, cut, window_ns=S)
    assert found.end_ns == story.rows[559]["boot_ns"] - S
    assert (alone(found), found.sides[1].finished, found.sides[1].lost_by_kind) == ((0, 0), False, None)


def test_a_recording_that_retention_cut_is_compared_from_there(tmp_path: Path, pair: Pair) -> None:
    story = a_busy_second()
    a, b = pair(story.rows, story.rows)
    cut_ns = story.rows[500]["boot_ns"]
    pruned = Pruned(0, 0, 0, {}, 0, {}, "", cut_ns)
    b = replace(b, document=replace(b.document, pruned=pruned))
    assert compare((a, b)).from_ns == cut_ns


# ---- windows ---------------------------------------------------------------------------------------------


def test_windows_count_what_is_missing_and_lost_in_them(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(story.rows, without(story, 150, 350, 351, 352)), 100 * MS)
    assert len(found.windows) == 10  # and not an eleventh of a microsecond
    assert [window.alone for window in found.windows[:5]] == [(0, 0), (1, 0), (0, 0), (3, 0), (0, 0)]
    assert [window.lost for window in found.windows[:5]] == [(0, 0), (0, 1), (0, 0), (0, 3), (0, 0)]
    assert [window.events[0] for window in found.windows[1:5]] == [100] * 4
    assert found.windows[3].share == pytest.approx(0.03)
    assert found.windows[0].from_ns == found.from_ns
    assert found.windows[-1].end_ns == found.end_ns
    assert sum(window.both for window in found.windows) == sum(found.both.values())


def test_a_window_is_bad_beyond_the_tolerance_and_only_runs_of_them_count(pair: Pair) -> None:
    story = a_busy_second()
    found = compare(pair(story.rows, without(story, 150, 350, 351, 352, 450)), 100 * MS)
    assert [place for place, bad in enumerate(found.bad_windows(0.005)) if bad] == [1, 3, 4]
    assert (found.longest_bad_run(0.005), found.longest_bad_run(0.01), found.longest_bad_run(0.03)) == (
        2,
        1,
        0,
    )


def test_a_window_of_nothing_is_good() -> None:
    assert Window(0, S, (0, 0), (0, 0), (0, 0), 0).share == 0.0
    assert Window(0, S, (0, 0), (1, 0), (0, 0), 0).share == 1.0


# ---- the process connector -------------------------------------------------------------------------------


def heard(rows: list[Row]) -> list[Row]:
    """As the connector's recorder makes them: starts are made up, or unknown."""
    return [
        {**row, "start_ns": None, "child_start_ns": row["boot_ns"] if row["kind"] == "fork" else None}
        for row in rows
    ]


def test_connector_events_are_matched_without_starts(pair: Pair) -> None:
    story = Story(step_ns=MS)
    shell = story.task(100)
    for number in range(400):  # two thread ids, used again and again
        child = story.fork(shell, 200 + number % 2)
        story.exit(child)
    found = compare(pair(story.rows, heard(without(story, 401, 402)), source="connector"))
    assert (found.sides[0].alone, found.sides[1].alone) == (
        {"fork": 1, "exec": 0, "exit": 1}, {"fork": 0, "exec": 0, "exit": 0}
    )  # fmt: skip
    assert [each.seq for each in found.sides[0].first] == [401, 402]
    assert found.sides[1].lost_by_kind is None


@pytest.mark.parametrize("connector_first", [False, True])
def test_the_exit_of_a_leader_that_was_taken_over_is_found_under_the_taker_s_id(
    tmp_path: Path, connector_first: bool
) -> None:
    story = a_busy_second()
    leader = story.fork(story.task(99), 700)
    story.fork(leader, 701, CLONE_THREAD)
    story.exit(leader, last=False)
    story.exec(leader, "/bin/new", old_tid=701)
    story.exit(leader)
    story._now_ns += S
    story.exit(story.fork(story.task(98), 702))
    rows = heard(story.rows)
    leaders_exit = next(row for row in rows if row["tid"] == 700 and row["kind"] == "exit")
    leaders_exit["tid"] = 701
    traced = open_capture(write_capture(tmp_path / "a.lrec", story.rows))
    told = open_capture(write_capture(tmp_path / "b.lrec", rows, source="connector", ordered=False))
    captures = (told, traced) if connector_first else (traced, told)
    assert alone(compare(captures)) == (0, 0)


# ---- what can't be compared ------------------------------------------------------------------------------


def refused(captures: tuple[Capture, Capture]) -> str:
    with pytest.raises(UsageError) as refusal:
        compare(captures)
    return str(refusal.value)


def test_other_hosts_and_other_boots_are_refused(pair: Pair) -> None:
    rows = a_busy_second().rows
    elsewhere = Host("elsewhere", "6.18.0", "x86_64", "another-boot", 2, 4096)
    assert "are of different hosts" in refused(pair(rows, rows, host=elsewhere))


def test_another_boot_of_the_host_is_refused(pair: Pair) -> None:
    rows = a_busy_second().rows
    again = replace(document().host, boot_id="another-boot")
    assert "are of different boots of a host" in refused(pair(rows, rows, host=again))


@pytest.mark.parametrize(
    ("here", "there", "complaint"),
    [
        (Filter("all"), Filter("pid", pid=7), "is of the whole host, "),
        (Filter("command", ("make",), 7), Filter("pid", pid=8), "b.lrec of the tree of pid 8"),
        (Filter("command", ("make",)), Filter("command", ("true",)), "b.lrec of a command's tree"),
    ],
)
def test_recordings_of_other_tasks_are_refused(
    pair: Pair, here: Filter, there: Filter, complaint: str
) -> None:
    rows = a_busy_second().rows
    a, b = pair(rows, rows, filter=there)
    assert complaint in refused((replace(a, document=replace(a.document, filter=here)), b))


def test_a_command_and_the_pid_that_it_had_are_the_same_tree(pair: Pair) -> None:
    rows = a_busy_second().rows
    a, b = pair(rows, rows, filter=Filter("pid", pid=100))
    a = replace(a, document=replace(a.document, filter=Filter("command", ("sh",), 100, redacted=True)))
    assert alone(compare((a, b))) == (0, 0)


def test_recordings_without_common_time_are_refused(pair: Pair) -> None:
    rows = a_busy_second().rows
    far = document().started
    far = replace(far, attached_boot_ns=far.attached_boot_ns + 990 * MS)
    assert "have no time in common, or less than 20 ms" in refused(pair(rows, rows, started=far))


def test_an_incomplete_capture_is_refused(tmp_path: Path) -> None:
    story = a_busy_second()
    a = open_capture(write_capture(tmp_path / "a.lrec", story, rows_per_segment=300))
    path = write_capture(tmp_path / "b.lrec", story, rows_per_segment=300)
    sorted(path.glob("*.parquet"))[1].unlink()
    with pytest.raises(UnreadableCaptureError, match="is incomplete"):
        reconcile(a, open_capture(path), window_ns=S)


def test_too_many_windows_and_absurd_times_are_refused(pair: Pair) -> None:
    rows = a_busy_second().rows
    a, b = pair(rows, rows)
    with pytest.raises(UsageError, match="windows are too many"):
        reconcile(a, b, window_ns=1000)
    never = Stopped("signal", "", "", (1 << 64) - 1)
    b = replace(b, document=replace(b.document, stopped=never))
    assert alone(compare((a, b))) == (0, 0)
    a = replace(a, document=replace(a.document, stopped=never))
    assert "windows are too many" in refused((a, b))
    late = replace(a.document.started, attached_boot_ns=(1 << 64) - 1)
    assert "no time in common" in refused((replace(a, document=replace(a.document, started=late)), b))


def test_losses_by_kind_leave_out_what_retention_removed_and_moving_counters(pair: Pair) -> None:
    rows = a_busy_second().rows
    a, b = pair(rows, rows)
    assert b.document.accounts is not None
    events = {**b.document.accounts.events, "exec": EventAccount(340, 0, 340, 7)}
    accounts: Accounts = replace(b.document.accounts, events=events)
    told = compare((a, replace(b, document=replace(b.document, accounts=accounts)))).sides[1]
    assert told.lost_by_kind == {"fork": 0, "exec": 7, "exit": 0}
    moving = replace(accounts, running=True)
    told = compare((a, replace(b, document=replace(b.document, accounts=moving)))).sides[1]
    assert told.lost_by_kind is None
