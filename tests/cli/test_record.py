"""record's command line: options to a request, and 125 for every mistake. tests/kernel has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from linnix_rec.cli.record import duration_s, size_bytes
from linnix_rec.session import record as session
from linnix_rec.session.request import BUFFER_BYTES, Request


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10s", 10), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("500ms", 0.5), ("0.25", 0.25)],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1 s", "1e3", "1.s", "10sec", "\N{SUPERSCRIPT TWO}s", "nan", "inf"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no duration: try 10s, 1\.5m, 2h or 500ms"):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64K", 65536),
        ("64k", 65536),
        ("64M", BUFFER_BYTES),
        ("64MiB", BUFFER_BYTES),
        ("1GB", 1 << 30),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "1T", "64 M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size: try 64M or 1G"):
        size_bytes(text)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The request that a command line makes, without carrying it out."""
    from linnix_rec.cli.record import command

    asked: list[Request] = []
    monkeypatch.setattr(session, "record", lambda request: asked.append(request) or 0)

    def parse(*arguments: str) -> Request:
        command.main(list(arguments), standalone_mode=False)
        return asked[-1]

    return parse


def test_without_options_the_whole_host_is_recorded(requested: Any) -> None:
    assert requested() == Request()


def test_every_option_arrives(requested: Any) -> None:
    wanted = Request(
        command=("make", "-j4"), whole_host=True, output=Path("x.lrec"), force=True, user="alice",
        duration_s=1.5, ring_slots=4096, buffer_bytes=1 << 20, wait=True, strict=True, quiet=True,
    )  # fmt: skip
    options = (
        "-a -o x.lrec --force -u alice -d 1.5s --ring-slots 4096 --buffer 1M --wait --strict -q -- make -j4"
    )
    assert requested(*options.split()) == wanted
    assert requested("-p", "42") == Request(pid=42)


def test_options_after_the_command_are_the_command_s(requested: Any) -> None:
    assert requested("ls", "-d", "--force").command == ("ls", "-d", "--force")
    assert requested("-q", "--", "-odd", "--", "x").command == ("-odd", "--", "x")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-p", "1", "--", "true"], "--pid and COMMAND exclude each other"),
        (["-u", "nobody"], "--user needs a COMMAND to run"),
        (["--no-such-option"], "no such option"),
        (["-d", "soon", "true"], "'soon' is no duration"),
        (["--buffer", "much", "true"], "'much' is no size"),
        (["-p", "0"], "0 is not in the range"),
        (["-p", "self"], "is not a valid integer"),
    ],
)
def test_a_mistake_in_the_options_is_one_line_and_125(
    linnix_rec: Any, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    refused = linnix_rec("record", "-o", tmp_path / "x.lrec", *arguments)
    assert refused.returncode == 125
    assert complaint in refused.stderr
    assert refused.stderr.startswith("linnix-rec: error: ")
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
