"""What syscalls come to: seen = filtered + shed + claimed, and what was shed is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.capture.document import Accounts, EventAccount, Filter
from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import Verdict, verify_capture
from linnix_rec.proof.verdict import Identity
from tests.story import Story, consistent_accounts, write_capture

WANTED = Filter("all", events=("process", "syscall"))


def a_story() -> Story:
    story = Story()
    shell = story.task(100)
    for _ in range(5):
        story.syscall(shell, "read", 0)
    return story


def verdict_of(tmp_path: Path, syscalls: EventAccount, **changes: Any) -> Verdict:
    accounts = consistent_accounts(a_story().rows)
    accounts = replace(accounts, events={**accounts.events, "syscall": syscalls}, **changes)
    return verify_capture(
        open_capture(write_capture(tmp_path / "a.lrec", a_story(), accounts=accounts, filter=WANTED))
    )


def broken(verdict: Verdict) -> list[str]:
    identities = [identity for rule in verdict.rules for identity in rule.identities]
    return [identity.name for identity in identities if not identity.holds]


def test_what_was_shed_is_a_loss_with_a_number_and_breaks_no_rule(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, EventAccount(seen=20, filtered=3, claimed=5, abandoned=0, shed=12))
    assert verdict.holds
    assert not verdict.proven
    assert verdict.shed == 12
    assert verdict.lost_tickets == 0
    assert verdict.summary == "not whole: 12 syscalls shed; forks, execs and exits are proven"
    assert (verdict.exit_status(), verdict.exit_status(allow_loss=True)) == (1, 0)


def test_without_a_shed_one_it_is_proven(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, EventAccount(seen=8, filtered=3, claimed=5, abandoned=0))
    assert verdict.proven
    assert verdict.exit_status() == 0


@pytest.mark.parametrize(
    ("syscalls", "name"),
    [
        (EventAccount(19, 3, 5, 0, 12), "syscalls seen = filtered + shed + claimed"),
        (EventAccount(5, 0, 5, 0, 1), "syscalls seen = filtered + shed + claimed"),
        (EventAccount(9, 3, 6, 0, 0), "syscalls claimed - abandoned = syscall rows"),
    ],
)
def test_an_event_that_is_not_accounted_for_is_named(
    tmp_path: Path, syscalls: EventAccount, name: str
) -> None:
    assert name in broken(verdict_of(tmp_path, syscalls))


def test_rows_that_nobody_counted_are_named(tmp_path: Path) -> None:
    assert broken(verdict_of(tmp_path, EventAccount(0, 0, 0, 0))) == [
        "syscalls claimed - abandoned = syscall rows"
    ]


@pytest.mark.parametrize(
    ("ended", "begun", "names"),
    [
        (29, 19, []),
        (28, 19, ["runs of on_sys_exit = syscalls seen + unwanted + unbegun"]),
        (29, 16, ["runs of on_sys_enter >= syscalls shed + claimed"]),
    ],
)
def test_each_run_of_the_programs_came_to_something(
    tmp_path: Path, ended: int, begun: int, names: list[str]
) -> None:
    verdict = verdict_of(
        tmp_path,
        EventAccount(seen=20, filtered=3, claimed=5, abandoned=0, shed=12),
        run_counts={"on_sys_exit": ended, "on_sys_enter": begun},
        syscalls_unwanted=7,
        syscalls_unbegun=2,
    )
    assert broken(verdict) == names


def test_of_failed_execs_alone_nobody_counts_the_runs(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, EventAccount(5, 0, 5, 0), run_counts={"on_sys_exit": 1000})
    assert broken(verdict) == []


def test_process_captures_have_no_identities_of_syscalls(tmp_path: Path) -> None:
    story = Story()
    story.task(100)
    verdict = verify_capture(open_capture(write_capture(tmp_path / "a.lrec", story)))
    told: list[Identity] = [identity for rule in verdict.rules for identity in rule.identities]
    assert told
    assert not [identity.name for identity in told if "syscall" in identity.name]


def test_an_account_of_before_syscalls_has_shed_nothing() -> None:
    assert Accounts(0, 0, 0, {"fork": EventAccount(1, 0, 1, 0)}).shed == 0
