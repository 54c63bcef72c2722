"""Verify: a whole capture is proven; each fault is named by its rule, and only by that, at its seq."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.capture.document import Accounts, CaptureDocument
from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import Verdict, verify_capture
from linnix_rec.proof.verdict import Inversions
from tests.proof import mutations
from tests.story import CLONE_THREAD, Row, Story, Task, arrived, write_capture

RULES = ("sequence", "birth", "death", "parent", "once", "digest", "account")


def a_shell_session(story: Story | None = None) -> Story:
    """A shell's children, a thread that takes its process over, a failed takeover, a reused pid."""
    story = story or Story()
    shell = story.task(100)
    story.task(7)
    for tid in (101, 102, 101):
        child = story.fork(shell, tid)
        story.exec(child, "/bin/true", ["true", str(tid)], slots=3)
        story.exit(child)
    make = story.fork(shell, 110)
    story.exec(make, "/usr/bin/make")
    compiler = story.fork(make, 111)
    story.exec(compiler, "/usr/bin/cc")
    linker = story.fork(compiler, 112)
    story.exit(linker, code=1)
    story.exit(compiler, code=1)
    story.exit(make, code=2)
    for tid, fails in ((120, False), (130, True)):
        process = story.fork(shell, tid)
        taker = story.fork(process, tid + 1, CLONE_THREAD)
        story.exit(process, last=False)
        if not fails:
            story.fork(shell, taker.tid)  # its tid is free before the exec's row
            story.exec(process, "/bin/echo", old_tid=taker.tid)
        story.exit(process)
    return story


def a_listed_session() -> Story:
    """The same, on a whole host whose tasks are listed at the beginning and at the end."""
    story = Story()
    long_ago = story.attached_boot_ns - 1_000_000_000
    elders = [Task(tid, tid, long_ago) for tid in (1, 7, 50, 100)]
    with story.listing(*elders):
        pass
    story = a_shell_session(story)
    reused = next(row for row in story.rows if row.get("child_tgid") == 121)  # it never exits
    sleepers = [Task(121, 121, reused["child_start_ns"]), story.fork(elders[-1], 140)]
    with story.listing(*elders, *sleepers):
        pass
    story.fork(elders[-1], 141)
    return story


def verdict_on(path: Path) -> Verdict:
    return verify_capture(open_capture(path))


def broken(verdict: Verdict) -> dict[str, int]:
    return {rule.name: rule.first[0].seq for rule in verdict.rules if rule.violated}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "whole.lrec", a_shell_session(), rows_per_segment=9)


def test_a_whole_capture_is_proven(capture: Path) -> None:
    verdict = verdict_on(capture)
    assert tuple(rule.name for rule in verdict.rules) == RULES
    assert broken(verdict) == {}
    assert (verdict.proven, verdict.exit_status(), verdict.summary) == (True, 0, "proven")
    assert sum(rule.unknown for rule in verdict.rules) == 0


def test_rules_count_what_they_checked(capture: Path) -> None:
    verdict = verdict_on(capture)
    assert verdict.events == {"gap": 0, "fork": 11, "exec": 6, "exit": 10, "task": 2}
    checked = {rule.name: rule.checked for rule in verdict.rules}
    assert checked["sequence"] == 29
    assert checked["parent"] == 11
    assert checked["death"] == 16
    assert checked["once"] == 21
    assert checked["birth"] == 20  # all but the shell's own forks
    assert checked["digest"] == 4


@pytest.mark.parametrize("name", mutations.ROW_MUTATIONS)
def test_a_fault_in_the_rows_is_named_by_one_rule_at_its_seq(
    capture: Path, tmp_path: Path, name: str
) -> None:
    mutated = mutations.ROW_MUTATIONS[name](mutations.rows_of_capture(capture))
    path = mutations.write_mutated(tmp_path / "mutated.lrec", capture, mutated.rows, rows_per_segment=9)
    verdict = verdict_on(path)
    assert broken(verdict) == {mutated.rule: mutated.seq}
    assert verdict.exit_status() == 1
    # Two rows in each other's place break the sequence before, between and behind them.
    assert sum(rule.violated for rule in verdict.rules) == (3 if name == "neighbours_swapped" else 1)


@pytest.mark.parametrize("name", [*mutations.ROW_MUTATIONS, *mutations.LISTING_MUTATIONS])
def test_a_fault_beside_a_listing_is_named_by_one_rule_at_its_seq(tmp_path: Path, name: str) -> None:
    whole = write_capture(tmp_path / "whole.lrec", a_listed_session(), rows_per_segment=9)
    assert verdict_on(whole).proven
    mutate = {**mutations.ROW_MUTATIONS, **mutations.LISTING_MUTATIONS}[name]
    mutated = mutate(mutations.rows_of_capture(whole))
    path = mutations.write_mutated(tmp_path / "mutated.lrec", whole, mutated.rows)
    assert broken(verdict_on(path)) == {mutated.rule: mutated.seq}


def test_rewriting_rows_unchanged_stays_proven(capture: Path, tmp_path: Path) -> None:
    rows = mutations.rows_of_capture(capture)
    assert verdict_on(mutations.write_mutated(tmp_path / "same.lrec", capture, rows)).proven


def test_a_rewritten_segment_is_named_by_digest(capture: Path) -> None:
    seq = mutations.segment_rewritten(capture)
    verdict = verdict_on(capture)
    assert broken(verdict) == {"digest": seq}


def test_a_missing_segment_breaks_digest_sequence_and_account(capture: Path) -> None:
    last = open_capture(capture).segments[-1]
    last.path.unlink()
    verdict = verdict_on(capture)
    assert {"digest", "account"} <= broken(verdict).keys()
    assert broken(verdict)["digest"] == last.metadata.first_seq


def _changed_fork(accounts: Accounts, **changes: int) -> Accounts:
    fork = replace(accounts.events["fork"], **changes)
    return replace(accounts, events={**accounts.events, "fork": fork})


@pytest.mark.parametrize(
    "change",
    [
        lambda accounts: replace(accounts, issued=accounts.issued + 1, published=accounts.published + 1),
        lambda accounts: replace(accounts, published=accounts.published - 1),
        lambda accounts: replace(accounts, published=accounts.published - 1, abandoned=1),
        lambda accounts: replace(accounts, storage_refused=1),
        lambda accounts: replace(accounts, recursion_misses={"on_fork": 2}),
        lambda accounts: _changed_fork(accounts, seen=accounts.events["fork"].seen + 1),
        lambda accounts: _changed_fork(accounts, seen=13, claimed=13),
        lambda accounts: _changed_fork(accounts, seen=12, claimed=12, filtered=0),
        lambda accounts: replace(accounts, events={}),
    ],
)
def test_counters_that_disagree_are_named_by_account(
    capture: Path, change: Callable[[Accounts], Accounts]
) -> None:
    mutations.accounts_changed(capture, change)
    verdict = verdict_on(capture)
    assert broken(verdict) == {"account": mutations.end_seq(open_capture(capture))}


def test_an_unfinished_capture_is_not_proven(tmp_path: Path) -> None:
    verdict = verdict_on(write_capture(tmp_path / "a.lrec", a_shell_session(), finished=False))
    assert broken(verdict) == {}
    assert (verdict.finished, verdict.proven) == (False, False)
    assert (verdict.exit_status(), verdict.exit_status(allow_loss=True)) == (1, 1)
    account = verdict.rules[-1]
    assert (account.name, account.checked, account.unknown) == ("account", 0, 1)


def test_loss_is_no_violation_and_no_proof(tmp_path: Path) -> None:
    story = a_shell_session()
    story.gap(5, "lapped")
    story.gap(2, "abandoned")
    shell = story.task(100)
    story.fork(shell, 150)
    verdict = verdict_on(write_capture(tmp_path / "a.lrec", story))
    assert broken(verdict) == {}
    assert (verdict.lost_tickets, verdict.gaps, verdict.proven) == (7, 2, False)
    assert (verdict.exit_status(), verdict.exit_status(allow_loss=True)) == (1, 0)


def test_what_a_gap_may_hide_is_unknown(tmp_path: Path) -> None:
    story = a_shell_session()
    shell = story.task(100)
    hidden = story.fork(shell, 160)
    lost = story.rows.pop()
    story.rows.append({"seq": lost["seq"], "slots": 0, "kind": "gap", "lost": 1, "reason": "lapped"})
    story.exec(hidden, "/bin/true")
    story.exit(hidden)
    late = story.fork(shell, 161)
    del story.rows[-1]
    story.exit(late)
    for row in story.rows[-1:]:
        row["seq"] -= 1
    verdict = verdict_on(write_capture(tmp_path / "a.lrec", story))
    birth = next(rule for rule in verdict.rules if rule.name == "birth")
    assert (birth.unknown, birth.violated) == (1, 1)
    assert birth.first[0].seq == story.rows[-1]["seq"]


def unnumbered(directory: Path, rows: list[Row], source: str = "perf", **changes: Any) -> Verdict:
    return verdict_on(write_capture(directory / "a.lrec", rows, ordered=False, source=source, **changes))


def test_the_process_connector_is_judged_by_cause_alone(tmp_path: Path) -> None:
    rows = [dict(row, seq=row["seq"] * 2) for row in a_shell_session().rows]
    verdict = unnumbered(tmp_path, rows, "connector")
    assert [rule.name for rule in verdict.rules] == ["birth", "death", "parent", "once", "digest"]
    assert (verdict.proven, verdict.exit_status(), verdict.lost_unit) == (False, 0, "message")
    assert verdict.summary == "causal; completeness unknown"


def test_a_counting_source_without_tickets_is_judged_by_its_accounts_too(tmp_path: Path) -> None:
    story = a_shell_session()
    verdict = unnumbered(tmp_path, arrived(story))
    assert [rule.name for rule in verdict.rules] == ["birth", "death", "parent", "once", "digest", "account"]
    assert (verdict.proven, verdict.holds, verdict.exit_status()) == (False, True, 0)
    assert verdict.summary == "causal; complete by the kernel's counts, order not proven"
    assert verdict.inversions == Inversions(0, 0, 0)


def test_inversions_of_a_source_without_tickets_are_counted_and_named(tmp_path: Path) -> None:
    story = a_shell_session()
    make = next(place for place, row in enumerate(story.rows) if row.get("child_tid") == 110)
    verdict = unnumbered(tmp_path, arrived(story, make + 1, make + 2))
    assert broken(verdict) == {"birth": 0}
    assert verdict.inversions == Inversions(births=2, deaths=0, parents=0)
    assert verdict.exit_status(allow_loss=True) == 1
    assert verdict.summary == "not proven: birth broken"


def test_what_a_source_without_tickets_lost_ends_1_unless_allowed(tmp_path: Path) -> None:
    story = a_shell_session()
    story.gap(3, "dropped")
    verdict = unnumbered(tmp_path, arrived(story))
    assert (verdict.holds, verdict.lost_tickets, verdict.lost_unit) == (True, 3, "event")
    assert (verdict.exit_status(), verdict.exit_status(allow_loss=True)) == (1, 0)
    assert verdict.summary == "not whole: 3 events lost in 1 gaps"


@pytest.mark.parametrize("finished", [True, False])
def test_an_act_whose_fork_may_be_in_what_was_cut_off_is_unknown(tmp_path: Path, finished: bool) -> None:
    story = a_shell_session()
    story.rows = [row for row in story.rows if row.get("child_tid") != 110]
    verdict = unnumbered(tmp_path, arrived(story), finished=finished)
    birth = next(rule for rule in verdict.rules if rule.name == "birth")
    assert (birth.violated, birth.unknown) == ((3, 0) if finished else (0, 3))
    assert verdict.inversions == Inversions(0, 0, 0)


def test_a_listing_at_the_end_is_not_compared_where_seq_is_arrival(tmp_path: Path) -> None:
    story = a_listed_session()
    path = write_capture(tmp_path / "a.lrec", story, ordered=False, source="ringbuf")
    assert "alive" not in [rule.name for rule in verdict_on(path).rules]


def test_the_largest_inversion_is_reported_and_no_violation(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = a_shell_session().rows
    latest = max(row["boot_ns"] for row in rows[:10])
    rows[9]["boot_ns"] = latest + 70_000
    rows[10]["boot_ns"] = latest + 1
    verdict = verdict_on(write_capture(tmp_path / "a.lrec", rows, rows_per_segment=10))
    assert verdict.largest_inversion_ns == 69_999
    assert verdict.proven


def test_an_empty_capture_is_proven(tmp_path: Path) -> None:
    verdict = verdict_on(write_capture(tmp_path / "a.lrec", []))
    assert verdict.proven
    assert verdict.events == {"gap": 0, "fork": 0, "exec": 0, "exit": 0, "task": 0}


def test_a_recording_that_failed_is_not_proven_though_all_else_holds(capture: Path) -> None:
    document = CaptureDocument.load(capture / "capture.json")
    assert document.stopped is not None
    stopped = replace(document.stopped, reason="failure", detail="the disk is full")
    (capture / "capture.json").write_bytes(replace(document, stopped=stopped).dump())
    verdict = verdict_on(capture)
    assert (broken(verdict), verdict.proven, verdict.finished) == ({}, False, True)
    assert (verdict.exit_status(), verdict.exit_status(allow_loss=True)) == (1, 1)
    assert verdict.summary == "not proven: the recording failed: the disk is full"
