"""Waiting for programs that still run: by a grace period, or where there is none by their own accounts."""

from __future__ import annotations

import platform

import pytest

from linnix_rec.sources import quiesce


def never() -> bool:
    raise AssertionError("a grace period needs no accounts")


def test_where_membarrier_works_the_accounts_are_not_asked() -> None:
    if platform.machine() in quiesce._MEMBARRIER:
        quiesce.wait_for_running_programs(never)


def test_an_unknown_machine_has_no_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "unheard-of")
    assert quiesce._grace_period() is False


def test_without_a_grace_period_all_must_be_done_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quiesce, "_grace_period", lambda: False)
    answers = [False, True, False, False] + [True] * 1000
    asked: list[bool] = []

    def all_done() -> bool:
        asked.append(answers[len(asked)])
        return asked[-1]

    quiesce.wait_for_running_programs(all_done)
    assert len(asked) > 5
    assert asked[4:] == [True] * (len(asked) - 4)


def test_a_program_that_never_ends_does_not_hold_the_recorder_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quiesce, "_grace_period", lambda: False)
    monkeypatch.setattr(quiesce, "_PATIENCE_SECONDS", 0.2)
    quiesce.wait_for_running_programs(lambda: False)
