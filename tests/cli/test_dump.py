"""dump's command line: a capture or a raw image, never both. tests/kernel/test_armed.py has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnix_rec.session import dump

Asked = list[tuple[Any, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What would be dumped."""
    calls: Asked = []

    def capture(name: str, output: Path | None, *, force: bool, redact: str | None) -> str:
        calls.append(("capture", name, output, force, redact))
        return "5 events"

    def raw(name: str, path: Path, *, force: bool) -> str:
        calls.append(("raw", name, path, force))
        return "5 slots"

    monkeypatch.setattr(dump, "dump", capture)
    monkeypatch.setattr(dump, "dump_raw", raw)
    return calls


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["host"], ("capture", "host", None, False, None)),
        (["host", "-o", "a.lrec", "--force"], ("capture", "host", Path("a.lrec"), True, None)),
        (["host", "--redact", "x"], ("capture", "host", None, False, "x")),
        (["host", "--raw", "a.ring"], ("raw", "host", Path("a.ring"), False)),
        (["host", "--raw", "a.ring", "--force"], ("raw", "host", Path("a.ring"), True)),
    ],
)
def test_options_are_asked_for(asked: Asked, run: Any, arguments: list[str], call: tuple[Any, ...]) -> None:
    ended = run("dump", *arguments)
    assert (ended.exit_code, asked) == (0, [call])
    assert ended.stderr == f"linnix-rec: 5 {'slots' if call[0] == 'raw' else 'events'}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "missing argument 'NAME'"),
        (["host", "--raw", "-"], "--raw writes a file, not stdout"),
        (["host", "--raw", "a", "-o", "b"], "--raw and -o exclude each other"),
        (["host", "--raw", "a", "--redact", "b"], "--raw and --redact exclude each other"),
    ],
)
def test_what_can_t_be_asked_is_usage(asked: Asked, run: Any, arguments: list[str], complaint: str) -> None:
    ended = run("dump", *arguments)
    assert (ended.exit_code, asked) == (2, [])
    assert complaint in ended.stderr
