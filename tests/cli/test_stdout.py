"""Claims about a stdout that can't be written: one line says so, in every reader and every format."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.story import Story, write_capture

READERS = (
    ["show"],
    ["show", "--summary"],
    ["show", "--format", "csv"],
    ["show", "--format", "arrow"],
    ["replay"],
    ["verify"],
    ["verify", "--format", "json"],
)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    story = Story()
    story.exit(story.task(100))
    return write_capture(tmp_path / "a.lrec", story)


def redirected(redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "linnix_rec", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_a_closed_stdout_is_one_line_and_status_1(capture: Path, reader: list[str]) -> None:
    ended = redirected(">&-", *reader, capture)
    assert (ended.returncode, ended.stderr) == (1, "linnix-rec: error: stdout is closed\n")


def test_who_writes_nothing_to_it_does_not_mind(capture: Path, tmp_path: Path) -> None:
    assert redirected(">&-", "verify", "-q", capture).returncode == 0
    assert redirected(">&-", "replay", "-o", tmp_path / "tree", capture).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("reader", READERS)
def test_a_full_disk_is_said_of_stdout(capture: Path, reader: list[str]) -> None:
    ended = redirected(">/dev/full", *reader, capture)
    assert ended.returncode == 1
    assert ended.stderr == "linnix-rec: error: can't write to stdout: No space left on device\n"
