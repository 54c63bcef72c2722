"""Claims about readers of a capture from which retention removed the oldest segments: it is whole."""

from __future__ import annotations

import json
from itertools import chain, repeat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from linnix_rec.capture.document import CaptureDocument, Stopped
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.cli import main
from tests.story import Story, consistent_accounts, document

STOPPED = Stopped("signal", "SIGTERM", "2026-09-21T14:17:00Z", 0)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A server whose birth was pruned starts a worker whose birth was not; both end."""
    story = Story()
    init = story.task(1)
    server = story.fork(init, 100)
    story.exec(server, "/usr/bin/server")
    story.exit(story.fork(server, 101))
    cut = len(story.rows)
    worker = story.fork(server, 102)
    story.exec(worker, "/usr/bin/worker")
    story.exit(worker)
    story.exit(server)
    path = tmp_path / "a.lrec"
    prepare_directory(path, force=False)
    batch, now_ns = story.batch(), story._now_ns
    closed_ns = chain([batch["boot_ns"][cut - 1].as_py()] * 2, repeat(now_ns))
    writer = CaptureWriter(path, document(), segment_rows=1000, keep_bytes=1, clock=lambda: next(closed_ns))
    writer.write(batch.slice(0, cut))
    writer.turn_over()
    writer.write(batch.slice(cut))
    written = writer.close(STOPPED, consistent_accounts(story.rows))
    assert written.pruned is not None
    assert written.pruned.end_seq == written.segments[0].first_seq
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize("arguments", [["show"], ["show", "--summary"], ["show", "--format", "arrow"]])
def test_show_shows_what_is_kept_and_calls_it_whole(capture: Path, arguments: list[str]) -> None:
    result = run(*arguments, capture)
    assert (result.exit_code, result.stderr) == (0, "")


def test_show_begins_at_the_first_ticket_kept(capture: Path) -> None:
    kept_from = CaptureDocument.load(capture / "capture.json").kept_from_seq
    rows = [json.loads(line) for line in run("show", "--format", "jsonl", capture).stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["fork", "exec", "exit", "exit"]
    assert rows[0]["seq"] == kept_from > 0


def test_replay_takes_who_was_born_before_the_cut_for_one_that_existed_before(capture: Path) -> None:
    result = run("replay", capture)
    assert result.exit_code == 0, result.stderr
    assert "server" in result.stdout
    assert "worker" in result.stdout
    assert "the birth of" not in result.stderr
    lines = [json.loads(line) for line in run("replay", "--format", "jsonl", capture).stdout.splitlines()]
    assert {line["pid"]: line["parent_pid"] for line in lines}[102] == 100


def test_verify_proves_what_is_kept(capture: Path) -> None:
    result = run("verify", capture)
    assert result.exit_code == 0, result.stdout + result.stderr
