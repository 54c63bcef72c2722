"""The accounts: each identity has two sides, and the one that fails is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from linnix_rec.capture.document import (
    DOCUMENT_NAME,
    Accounts,
    CaptureDocument,
    EventAccount,
    PerfWitness,
    Pruned,
    Resumption,
    Stopped,
)
from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import RuleResult, Verdict, verify_capture
from linnix_rec.proof.verdict import Identity
from tests.proof.mutations import dumped_capture
from tests.story import Story, write_capture


def a_story(first_seq: int = 0) -> Story:
    story = Story(first_seq=first_seq)
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", slots=3)
    story.exit(child)
    return story


def proved(accounts: Accounts) -> Accounts:
    """The accounts with the kernel's own counts of runs beside them: two listings, one task in all."""
    runs = {"on_newtask": 1, "on_exec": 1, "on_exit": 1, "list_task": 3, "adopt_task": 77}
    return replace(accounts, run_counts=runs, listings=2)


def changed(path: Path, change: Callable[[CaptureDocument], CaptureDocument]) -> Verdict:
    document = path / DOCUMENT_NAME
    document.write_bytes(change(CaptureDocument.load(document)).dump())
    return verify_capture(open_capture(path))


def with_accounts(path: Path, change: Callable[[Accounts], Accounts]) -> RuleResult:
    def edit(document: CaptureDocument) -> CaptureDocument:
        assert document.accounts is not None
        return replace(document, accounts=change(document.accounts))

    return rule(changed(path, edit), "account")


def rule(verdict: Verdict, name: str) -> RuleResult:
    return next(rule for rule in verdict.rules if rule.name == name)


def broken(result: RuleResult) -> list[str]:
    return [identity.name for identity in result.identities if not identity.holds]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "a.lrec", a_story())


def test_every_identity_has_two_sides(capture: Path) -> None:
    result = with_accounts(capture, proved)
    assert result.checked == len(result.identities) == 17
    told = {identity.name: (identity.left, identity.right) for identity in result.identities}
    assert told["runs of on_newtask = forks seen"] == (1, 1)
    assert told["runs of list_task = tasks seen + listings"] == (3, 3)
    assert told["execs seen = filtered + claimed"] == (1, 1)
    assert told["exits claimed - abandoned = exit rows"] == (1, 1)
    assert told["tickets issued = in the rows"] == (6, 6)
    assert told["tickets published + abandoned = tickets issued"] == (6, 6)
    assert told["recursion misses of any program = none"] == (0, 0)
    assert not any("adopt_task" in name for name in told)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"run_counts": {"on_exit_group_dead": 2}}, ["runs of on_exit_group_dead = exits seen"]),
        ({"run_counts": {"list_task": 1}}, ["runs of list_task = tasks seen + listings"]),
        ({"recursion_misses": {"on_exec": 3, "on_exit": 0}}, ["recursion misses of on_exec = none"]),
        ({"storage_refused": 1}, ["marks of the tree's members refused = none"]),
        ({"published": 5}, ["tickets published + abandoned = tickets issued"]),
    ],
)
def test_the_identity_that_fails_is_named(capture: Path, change: dict[str, object], named: list[str]) -> None:
    result = with_accounts(capture, lambda accounts: replace(proved(accounts), **change))
    assert broken(result) == named
    assert result.violated == 1


def test_an_offence_tells_both_sides(capture: Path) -> None:
    result = with_accounts(capture, lambda accounts: replace(accounts, run_counts={"on_exec": 2}))
    assert [offence.message for offence in result.first] == ["runs of on_exec: 2, execs seen: 1"]


def test_no_counter_runs_back(capture: Path) -> None:
    start = Accounts(3, 3, 0, {"fork": EventAccount(2, 0, 1, 0)}, running=True)
    verdict = changed(capture, lambda document: replace(document, accounts_at_start=start))
    assert broken(rule(verdict, "account")) == ["counters lower than at the start (forks seen) = none"]
    start = replace(start, events={})
    verdict = changed(capture, lambda document: replace(document, accounts_at_start=start))
    assert verdict.proven


def test_what_came_before_the_first_ticket_is_issued_and_no_row(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", a_story(first_seq=1000))
    assert verify_capture(open_capture(path)).proven
    result = with_accounts(path, lambda accounts: replace(accounts, issued=1007, published=1007))
    assert broken(result) == ["tickets issued = before the first + in the rows"]
    busy = EventAccount(500, 0, 500, 0)
    result = with_accounts(
        path, lambda accounts: replace(accounts, issued=1006, published=1006, events={"fork": busy})
    )
    assert "forks claimed - abandoned >= fork rows" not in broken(result)
    assert "execs claimed - abandoned >= exec rows" in broken(result)


def test_a_dump_of_counters_that_move_is_judged_by_bounds(tmp_path: Path) -> None:
    stopped = Stopped("dump", "", "2026-09-21T14:17:00Z", 1 << 50)
    path = dumped_capture(tmp_path / "a.lrec", a_story(first_seq=1000), stopped)
    verdict = verify_capture(open_capture(path))
    assert verdict.proven
    assert {identity.relation for identity in rule(verdict, "account").identities} == {"=", ">="}
    assert rule(verdict, "account").note.endswith("bounds instead of sums")
    result = with_accounts(path, lambda accounts: replace(accounts, published=1005))
    assert broken(result) == ["tickets published + abandoned >= end of the capture"]
    assert (
        result.first[0].message == "tickets published + abandoned: 1005, fewer than end of the capture: 1006"
    )


def pruned_capture(directory: Path) -> Path:
    """A capture of two segments whose first one retention has removed, with all that it held noted."""
    path = write_capture(directory, a_story(), rows_per_segment=2)
    capture = open_capture(path)
    first, kept = capture.document.segments[0], capture.document.segments[1:]
    pruned = Pruned(
        end_seq=first.end_seq,
        segments=1,
        bytes=capture.segments[0].path.stat().st_size,
        rows={"task": 1, "fork": 1},
        event_tickets=2,
        lost={},
        sha256=first.sha256,
        boot_ns=capture.document.started.boot_ns + 1_002_500,  # behind the fork of 101
    )
    capture.segments[0].path.unlink()
    edited = replace(capture.document, segments=kept, pruned=pruned)
    (path / DOCUMENT_NAME).write_bytes(edited.dump())
    return path


def test_what_retention_removed_is_counted_and_its_births_are_not_missed(tmp_path: Path) -> None:
    path = pruned_capture(tmp_path / "a.lrec")
    verdict = verify_capture(open_capture(path))
    assert verdict.proven
    assert verdict.pruned is not None
    assert (verdict.pruned.end_seq, verdict.events["exec"], verdict.events["fork"]) == (2, 1, 0)
    told = {identity.name: identity.left for identity in rule(verdict, "account").identities}
    assert told["tickets issued = in the rows + removed by retention"] == 6
    assert told["tickets before the cut = removed by retention"] == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"event_tickets": 1}, {"account"}),
        ({"rows": {"task": 1}}, {"account"}),
        ({"sha256": "00" * 32}, {"digest"}),
        ({"end_seq": 1}, {"sequence", "account"}),
        ({"boot_ns": 0}, {"birth"}),
    ],
)
def test_a_lie_about_what_was_removed_is_named(
    tmp_path: Path, change: dict[str, object], named: set[str]
) -> None:
    def edit(document: CaptureDocument) -> CaptureDocument:
        assert document.pruned is not None
        return replace(document, pruned=replace(document.pruned, **change))

    verdict = changed(pruned_capture(tmp_path / "a.lrec"), edit)
    assert {result.name for result in verdict.rules if not result.holds} == named


PERF = PerfWitness(
    {"fork": 1, "exec": 1, "exit": 0}, {"fork": 1, "exec": 2, "exit": 3}, cpus=2, complete=True
)


def witnessed(path: Path, perf: PerfWitness, **changes: object) -> RuleResult:
    return rule(changed(path, lambda document: replace(document, perf=perf, **changes)), "witness")


def test_perf_counts_no_more_within_and_no_less_around(capture: Path) -> None:
    result = witnessed(capture, PERF)
    assert (result.holds, result.checked) == (True, 6)
    assert [(each.left, each.relation, each.right) for each in result.identities] == [
        (1, "<=", 1), (1, "<=", 1), (1, "<=", 1), (1, "<=", 2), (0, "<=", 1), (1, "<=", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("perf", "named"),
    [
        (replace(PERF, inner={"fork": 2}), "forks counted while attached <= forks seen"),
        (replace(PERF, inner={"exec": 1}, outer={"exec": 0}), "execs seen <= execs counted around it"),
    ],
)
def test_perf_disagreeing_is_named_with_both_sides(capture: Path, perf: PerfWitness, named: str) -> None:
    result = witnessed(capture, perf)
    assert (broken(result), result.violated) == ([named], 1)


def test_perf_that_did_not_count_all_is_unknown(capture: Path) -> None:
    result = witnessed(capture, replace(PERF, inner={"fork": 9}, complete=False))
    assert (result.holds, result.unknown, result.identities) == (True, 1, ())
    again = Resumption("2026-09-21T14:16:50Z", 1 << 40, 3)
    assert witnessed(capture, replace(PERF, inner={"fork": 9}), resumptions=(again,)).unknown == 1


def test_a_relation_is_told_as_it_reads() -> None:
    identity = Identity("forks seen", 3, "<=", 2, "forks counted")
    assert (identity.holds, identity.name) == (False, "forks seen <= forks counted")
    assert str(identity) == "forks seen: 3, more than forks counted: 2"


# ---- channels without tickets ----------------------------------------------------------------------------


@pytest.fixture
def dropping(tmp_path: Path) -> Path:
    """A capture of perf, which lost two forks of three."""
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true")
    story.gap(2, "dropped")
    story.exit(child)
    return write_capture(tmp_path / "p.lrec", story, source="perf", ordered=False)


def test_a_channel_s_counters_make_a_chain_to_the_rows(dropping: Path) -> None:
    result = rule(verify_capture(open_capture(dropping)), "account")
    assert result.holds
    told = {str(each.name): (each.left, each.right) for each in result.identities}
    assert told["forks seen = filtered + claimed"] == (3, 3)
    assert told["forks claimed - abandoned = fork rows"] == (1, 1)
    assert told["events offered = claimed, of all kinds"] == (6, 6)
    assert told["events taken + abandoned = events offered"] == (6, 6)
    assert told["events abandoned = abandoned, of all kinds"] == (2, 2)
    assert told["events lost in gaps = events abandoned"] == (2, 2)
    assert not any("ticket" in name for name in told)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (
            {"abandoned": 1, "published": 5},
            {"events abandoned = abandoned, of all kinds", "events lost in gaps = events abandoned"},
        ),
        ({"issued": 7, "published": 5}, {"events offered = claimed, of all kinds"}),
        ({"channel_lost": 3}, {"lost by the channel's own count <= events abandoned"}),
        ({"recursion_misses": {"on_exec": 1}}, {"recursion misses of on_exec = none"}),
    ],
)  # fmt: skip
def test_a_channel_s_counter_that_disagrees_is_named(
    dropping: Path, wrong: dict[str, object], named: set[str]
) -> None:
    result = with_accounts(dropping, lambda accounts: replace(accounts, **wrong))  # type: ignore[arg-type]
    assert set(broken(result)) == named


def test_what_the_channel_says_itself_it_lost_is_a_bound(dropping: Path) -> None:
    result = with_accounts(dropping, lambda accounts: replace(accounts, channel_lost=1))
    (identity,) = [each for each in result.identities if each.left_name.startswith("lost by the channel")]
    assert (identity.left, identity.relation, identity.right, result.holds) == (1, "<=", 2, True)


def test_runs_are_held_against_a_channel_s_counters_too(dropping: Path) -> None:
    result = with_accounts(dropping, lambda accounts: replace(accounts, run_counts={"on_newtask": 4}))
    assert broken(result) == ["runs of on_newtask = forks seen"]


def test_an_unfinished_channel_s_counters_are_unknown(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "p.lrec", a_story(), finished=False, source="perf", ordered=False)
    assert rule(verify_capture(open_capture(path)), "account").unknown == 1
