"""Claims about readers of a capture whose segment is gone: they show the rest, say so, and end with 3."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from linnix_rec.capture.reader import open_capture
from linnix_rec.cli import main
from tests.story import Story, write_capture


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    story = Story()
    shell = story.task(100)
    for tid in (101, 102, 103):
        story.exit(story.fork(shell, tid))
    return write_capture(tmp_path / "a.lrec", story, rows_per_segment=2)


def without(capture: Path, *first_seqs: int) -> Path:
    for first_seq in first_seqs:
        (capture / f"segment-{first_seq:020}.parquet").unlink()
    return capture


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


COMMANDS = (
    ["show"],
    ["show", "--summary"],
    ["show", "--format", "arrow"],
    ["show", "--follow"],
    ["replay"],
    ["replay", "--format", "jsonl"],
)


@pytest.mark.parametrize("command", COMMANDS)
def test_readers_name_it_and_its_tickets_show_the_rest_and_end_with_3(
    capture: Path, command: list[str]
) -> None:
    result = run(*command, without(capture, 2))
    assert result.exit_code == 3
    assert result.stdout_bytes
    assert result.stderr.splitlines()[0] == (
        f"linnix-rec: error: {capture} is incomplete: segment-00000000000000000002.parquet (tickets 2 to 3) "
        "is missing; 'linnix-rec verify' checks the rest"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_readers_of_a_whole_capture_end_with_0(capture: Path, command: list[str]) -> None:
    assert run(*command, capture).exit_code == 0


def test_replay_counts_its_tickets_and_does_not_claim_that_none_is_lost(capture: Path) -> None:
    said = run("replay", without(capture, 6)).stderr
    assert "0 lost" not in said
    assert "causal as far as it is there: 6 events, 1 ticket missing with its segment, birth" in said


def test_summary_does_not_claim_that_nothing_is_lost(capture: Path) -> None:
    lines = run("show", "--summary", without(capture, 2)).stdout.splitlines()
    assert "missing     2 tickets, with the segments that held them" in lines
    assert not [line for line in lines if line.startswith("lost")]


def test_many_are_one_line(capture: Path) -> None:
    opened = open_capture(without(capture, 0, 2, 4, 6))
    assert opened.missing_tickets == 7
    assert opened.lack().count(".parquet") == 3
    assert opened.lack().endswith("(tickets 4 to 5) and 1 more are missing")


def test_verify_calls_it_readable_and_wrong(capture: Path) -> None:
    result = run("verify", without(capture, 2))
    assert result.exit_code == 1
    assert "digest is violated" in result.stdout
