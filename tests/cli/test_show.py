"""Claims about `linnix-rec show`: what is asked for comes out, in every format, and errors are one line."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.cli import main
from tests.story import Story, write_capture


@pytest.fixture
def story() -> Story:
    story = Story(step_ns=1_000_000)
    shell = story.task(100)
    for tid in (101, 102):
        child = story.fork(shell, tid)
        story.exec(child, "/bin/true", ["true", "a b"])
        story.exit(child)
    story.gap(10)
    story.exit(shell)
    return story


@pytest.fixture
def capture(story: Story, tmp_path: Path) -> Path:
    return write_capture(tmp_path / "a.lrec", story, rows_per_segment=3)


def show(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["show", *map(str, arguments)])


def seqs(result: Result) -> list[int]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line)["seq"] for line in result.stdout.splitlines()]


def test_table_has_a_line_an_event(capture: Path) -> None:
    result = show(capture)
    assert result.stdout.splitlines()[2] == "  1  +0.003000    0  fork  100      sh    -> 101"
    assert len(result.stdout.splitlines()) == 10
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6, 7, 17]),
        (["--kind", "exec,exit"], [2, 3, 5, 6, 17]),
        (["--pid", "101"], [1, 2, 3, 7]),
        (["--tid", "102", "--kind", "fork,exec,exit"], [4, 5, 6]),
        (["--comm", "tr*", "--kind", "exec"], [2, 5]),
        (["--seq", "2:5"], [2, 3, 4]),
        (["--seq", "7"], [7]),
        (["--seq", "6:"], [6, 7, 17]),
        (["--limit", "2"], [0, 1]),
        (["--since", "3", "--until", "5"], [3, 4]),
        (["--since", "+5ms"], [3, 4, 5, 6, 7, 17]),
        (["--since", "-2ms"], [6, 7, 17]),
        (["--since", "2026-09-21T14:30:00.007Z", "--until", "14:30:00.008"], [6, 7]),
    ],
)
def test_options_choose_events(capture: Path, options: list[str], wanted: list[int]) -> None:
    assert seqs(show("--format", "jsonl", *options, capture)) == wanted


def test_csv_ends_its_lines_with_cr_lf(capture: Path) -> None:
    result = show("--format", "csv", "--kind", "exec", capture)
    assert result.stdout_bytes.count(b"\r\n") == result.stdout_bytes.count(b"\n") == 3
    rows = list(csv.DictReader(io.StringIO(result.stdout_bytes.decode(), newline="")))
    assert [row["argv"] for row in rows] == ['["true","a b"]'] * 2


def test_arrow_stream_is_the_capture(capture: Path, story: Story) -> None:
    result = show("--format", "arrow", capture)
    with pa.ipc.open_stream(result.stdout_bytes) as stream:
        table = stream.read_all()
    assert table.schema.equals(EVENT_SCHEMA)
    assert table.to_pylist() == story.batch().to_pylist()


def test_summary_counts_on_one_screen(capture: Path) -> None:
    lines = show("--summary", capture).stdout.splitlines()
    assert len(lines) < 24
    assert lines[2].startswith("time        9.00 ms from ")
    assert "events      8, 889/s" in lines
    assert "lost        10 tickets in 1 gap: 10 lapped" in lines
    assert "commands              2  /bin/true" in lines


def test_summary_of_a_selection_counts_that_alone(capture: Path) -> None:
    lines = show("--summary", "--pid", "101", capture).stdout.splitlines()
    assert "born        1 process and 0 threads" in lines
    (events,) = (line for line in lines if line.startswith("events"))
    assert events.endswith("ms from the first to the last")


def test_nothing_found_is_said_and_no_error(capture: Path) -> None:
    result = show("--kind", "fork", "--pid", "4242", capture)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "linnix-rec: no event matches\n")


def test_newest_capture_here_is_read_and_named(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, when in (("old.lrec", 1000), ("new.lrec", 2000), ("older.lrec", 500)):
        write_capture(tmp_path / name, story)
        os.utime(tmp_path / name / "capture.json", (when, when))
    monkeypatch.chdir(tmp_path)
    result = show("--limit", "1")
    assert result.exit_code == 0
    assert result.stderr == "linnix-rec: reading new.lrec, the newest capture here\n"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            ["--kind", "fork,thing"],
            2,
            "'thing' is not one of fork, exec, exit, task, syscall, failed-exec, gap",
        ),
        (["--since", "noon"], 2, "can't read the time 'noon'"),
        (["--seq", "x"], 2, "can't read the range 'x'"),
        (["--summary", "--format", "csv"], 2, "--summary is for people"),
        (["--summary", "--follow"], 2, "choose one"),
        (["--seq", ":99999999999999999999999999"], 2, "too large"),
        (["--pid", "x"], 2, "'x' is not a valid integer"),
    ],
)
def test_wrong_usage_is_one_line(capture: Path, options: list[str], status: int, message: str) -> None:
    result = show(*options, capture)
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("pin", "rest"),
    [(None, "what came after is missing"), ("p", "may still be in the ring: linnix-rec record --resume ")],
)
@pytest.mark.parametrize("form", ["table", "jsonl", "csv", "arrow"])
def test_following_ends_where_the_recorder_died(
    tmp_path: Path, story: Story, form: str, pin: str | None, rest: str
) -> None:
    path = write_capture(tmp_path / "a.lrec", story, finished=False, pin=pin)
    still, followed = show("--format", form, path), show("--format", form, "--follow", path)
    assert still.exit_code == 0
    assert (followed.exit_code, followed.stdout_bytes) == (1, still.stdout_bytes)
    assert followed.stderr.startswith(f"linnix-rec: error: nobody records to {path} any more: ")
    assert rest in followed.stderr
    assert followed.stderr.count("\n") == 1


def test_what_is_no_capture_is_one_line_and_status_3(tmp_path: Path) -> None:
    (tmp_path / "empty.lrec").mkdir()
    (tmp_path / "file.lrec").write_text("hello")
    for path in ("empty.lrec", "file.lrec", "missing.lrec"):
        result = show(tmp_path / path)
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith("linnix-rec: error: ")
        assert path in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_capture_json_that_is_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.lrec" / "capture.json").mkdir(parents=True)
    (tmp_path / "b.lrec").mkdir()
    os.mkfifo(tmp_path / "b.lrec" / "capture.json")
    for name in ("a.lrec", "b.lrec"):
        result = show(tmp_path / name)
        assert result.exit_code == 3
        assert f"{name}/capture.json is no file: " in result.stderr


@pytest.mark.parametrize("command", ["show", "verify", "replay"])
def test_an_empty_path_is_wrong_usage(command: str, capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(capture)
    result = CliRunner().invoke(main, [command, ""])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the path is empty" in result.stderr


def test_without_any_capture_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = show()
    assert result.exit_code == 2
    assert "no CAPTURE given, and no *.lrec in this directory" in result.stderr


def test_truncated_segment_is_named(capture: Path) -> None:
    segment = next(capture.glob("*.parquet"))
    segment.write_bytes(segment.read_bytes()[:-100])
    result = show(capture)
    assert result.exit_code == 3
    assert segment.name in result.stderr


def piped(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "linnix_rec", "show", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    story = Story()
    shell = story.task(100)
    for tid in range(1000, 13_000):
        story.exit(story.fork(shell, tid))
    capture = write_capture(tmp_path / "long.lrec", story)
    with piped("--format", "jsonl", str(capture)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in {0, 141}
    assert [json.loads(line)["seq"] for line in lines] == [0, 1, 2]


def test_output_in_an_ascii_locale_is_escaped(tmp_path: Path) -> None:
    story = Story()
    story.exec(story.task(100), "/bin/echo", ["echo", "é"])
    capture = write_capture(tmp_path / "a.lrec", story)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for command in ("show", "replay"):
        ended = subprocess.run(
            [sys.executable, "-m", "linnix_rec", command, capture],
            capture_output=True, env=environment, check=False,
        )  # fmt: skip
        assert ended.returncode == 0
        assert b"echo '\\xe9'" in ended.stdout
