"""disarm's command line: says what ended. tests/kernel/test_armed.py has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from linnix_rec.errors import UsageError
from linnix_rec.session import armed
from linnix_rec.session.armed import Armed

ENDED = Armed("host", "2026-09-21T14:16:00.123456Z", "all", 4096, 12_345, 3)
TOLD = "disarmed host: it had given 12,345 tickets since 2026-09-21T14:16:00Z"


@pytest.mark.parametrize(
    ("what", "told"),
    [(ENDED, TOLD), (Armed("host", problem="half removed"), "removed host: half removed")],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_ended_is_said(
    run: Any, monkeypatch: pytest.MonkeyPatch, what: Armed, told: str, force: bool
) -> None:
    asked: list[tuple[str, bool]] = []

    def disarm(name: str, *, force: bool) -> Armed:
        asked.append((name, force))
        return what

    monkeypatch.setattr(armed, "disarm", disarm)
    ended = run("disarm", "host", *["--force"] * force)
    assert (ended.exit_code, ended.stderr) == (0, f"linnix-rec: {told}\n")
    assert asked == [("host", force)]


def test_a_refusal_is_status_2(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *, force: bool) -> Armed:
        raise UsageError("'host' is being recorded to a.lrec: stop that recorder (Ctrl-C, SIGTERM)")

    monkeypatch.setattr(armed, "disarm", refuse)
    ended = run("disarm", "host")
    assert ended.exit_code == 2
    assert ended.stderr.startswith("linnix-rec: error: 'host' is being recorded to a.lrec")
