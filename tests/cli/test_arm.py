"""arm's command line: options to a request. tests/kernel/test_armed.py has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from linnix_rec.session import armed
from linnix_rec.session.request import Request


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    """What would be armed."""
    asked: list[tuple[str, Request]] = []
    monkeypatch.setattr(armed, "arm", lambda name, request: asked.append((name, request)))
    return asked


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ([], Request()),
        (["--ring-slots", "4096"], Request(ring_slots=4096)),
        (["-p", "7"], Request(pid=7)),
        (["--no-argv"], Request(argv=False)),
    ],
)
def test_options_are_asked_for(
    requested: list[tuple[str, Request]], run: Any, options: list[str], request_: Request
) -> None:
    ended = run("arm", "host", *options)
    assert (ended.exit_code, requested) == (0, [("host", request_)])
    slots = f"{request_.ring_slots:,}"
    assert ended.stderr == f"linnix-rec: armed: the last {slots} slots can be had by `linnix-rec dump host`\n"


@pytest.mark.parametrize("arguments", [[], ["host", "-p", "0"], ["host", "--ring-slots", "x"], ["a", "b"]])
def test_what_can_t_be_asked_is_usage(
    requested: list[tuple[str, Request]], run: Any, arguments: list[str]
) -> None:
    assert run("arm", *arguments).exit_code == 2
    assert requested == []
