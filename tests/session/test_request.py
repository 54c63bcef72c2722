"""What follows from a request alone."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from linnix_rec.session.request import Request, output_path, owner

NOON = datetime(2026, 11, 21, 12, 0, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("request_", "mode", "tree_only"),
    [
        (Request(), "all", False),
        (Request(command=("true",)), "command", True),
        (Request(pid=7), "pid", True),
        (Request(command=("true",), whole_host=True), "all", False),
        (Request(pid=7, whole_host=True), "all", False),
    ],
)
def test_only_a_command_or_a_pid_makes_a_tree(request_: Request, mode: str, tree_only: bool) -> None:
    assert (request_.mode, request_.tree_only) == (mode, tree_only)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Request(command=("/usr/bin/make", "-j4")), "make-20261121T120005Z.lrec"),
        (Request(command=("./odd name\n\x1b[",)), "odd_name___-20261121T120005Z.lrec"),
        (Request(command=("bin/",)), "command-20261121T120005Z.lrec"),
        (Request(pid=42), "pid42-20261121T120005Z.lrec"),
        (Request(), "host-20261121T120005Z.lrec"),
        (Request(command=("make",), output=Path("x.lrec")), "x.lrec"),
    ],
)
def test_a_capture_is_named_after_what_it_records(request_: Request, name: str) -> None:
    assert output_path(request_, NOON) == Path(name)


def test_captures_that_begin_in_the_same_second_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a service that is stopped and started at once."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "host-20261121T120005Z.lrec",
        "host-20261121T120005Z-2.lrec",
        "host-20261121T120005Z-3.lrec",
    ):
        assert output_path(Request(), NOON) == Path(name)
        Path(name).mkdir()


def test_the_owner_is_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert owner({"SUDO_UID": "1000", "SUDO_GID": "1001"}) == (1000, 1001)
    assert owner({}) is None
    assert owner({"SUDO_UID": "1000"}) is None
    assert owner({"SUDO_UID": "root", "SUDO_GID": "0"}) is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert owner({"SUDO_UID": "0", "SUDO_GID": "0"}) is None
