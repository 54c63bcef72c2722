"""Claims about events as tables, JSON and CSV."""

import csv
import io
import json
import re

import pytest

from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.capture.text import decode_bytes
from linnix_rec.report.events import csv_event_lines, json_event_lines
from linnix_rec.report.ink import Ink
from linnix_rec.report.layout import columns_of
from linnix_rec.report.table import TableStyle, table_lines
from tests.story import CLONE_PARENT, CLONE_THREAD, CLONE_VFORK, Story, rows_to_batch


@pytest.fixture
def story() -> Story:
    story = Story(step_ns=1_000_000)
    shell = story.task(100)
    child = story.fork(shell, 101, CLONE_VFORK)
    story.exec(child, "/usr/bin/env", ["env", "a b"], slots=2)
    story.fork(child, 102, CLONE_THREAD)
    story.gap(17)
    story.exit(child, last=False)
    story.exec(child, "/bin/cat", ["/bin/cat"], old_tid=102)
    story.exit(story.fork(child, 103, CLONE_PARENT), signal=6, core_dumped=True)
    story.exit(child, code=2)
    return story


def table(story: Story, **style: object) -> list[str]:
    return list(table_lines([story.batch()], TableStyle(story.attached_boot_ns, **style)))  # type: ignore[arg-type]


def test_table_is_read_by_a_stranger(story: Story) -> None:
    assert table(story) == [
        "SEQ       TIME  CPU  KIND  PID/TID  COMM  WHAT",
        "  0  +0.001000    0  task  100      sh    listed, child of 1",
        "  1  +0.002000    0  fork  100      sh    -> 101 (vfork)",
        "  2  +0.003000    0  exec  101      env   env 'a b' (/usr/bin/env)",
        "  4  +0.004000    0  fork  101      env   -> thread 102",
        "  5                  gap                  17 tickets lost (lapped: overwritten before they were read)",  # noqa: E501
        " 22  +0.005000    0  exit  101      env   code 0 of this thread only  cpu 250 µs",
        " 23  +0.006000    0  exec  101      cat   /bin/cat (by thread 102, which took the process over)",
        " 24  +0.007000    0  fork  101      cat   -> 103 (CLONE_PARENT)",
        " 25  +0.008000    0  exit  103      cat   SIGABRT, core dumped  cpu 250 µs  peak 1.00 MiB",
        " 26  +0.009000    0  exit  101      cat   code 2  cpu 250 µs  peak 1.00 MiB",
    ]


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_table_fits_the_terminal(story: Story, width: int) -> None:
    story.exec(story.task(7), "/bin/x", ["日本語" * 50])
    assert max(map(columns_of, table(story, width=width))) <= width


def test_narrow_table_has_no_cpu(story: Story) -> None:
    assert "CPU" not in table(story, width=80)[0]


def test_colour_marks_losses_and_failures(story: Story) -> None:
    red = [line for line in table(story, ink=Ink(True)) if line.startswith("\x1b[1;31m")]
    seqs = [re.sub(r"\x1b\[[\d;]*m", "", line).split()[0] for line in red]
    assert seqs == ["5", "25", "26"]


def test_kind_of_a_newer_recorder_is_shown_as_such(story: Story) -> None:
    story.rows[1]["kind"] = "teleport"
    assert table(story)[2].endswith("of a newer recorder: this version does not know the kind")


def test_json_has_only_what_is_known_and_numbers_are_numbers(story: Story) -> None:
    objects = list(map(json.loads, json_event_lines([story.batch()])))
    assert objects[2] == {
        "seq": 2,
        "slots": 2,
        "kind": "exec",
        "boot_ns": 1_000_003_000_000,
        "time": "2026-09-21T14:30:00.003000Z",
        "cpu": 0,
        "tid": 101,
        "tgid": 101,
        "start_ns": 1_000_001_500_000,
        "parent_tid": 100,
        "parent_tgid": 100,
        "parent_start_ns": 999_000_000_000,
        "uid": 1000,
        "gid": 1000,
        "cgroup_id": 42,
        "comm": "env",
        "filename": "/usr/bin/env",
        "argv": ["env", "a b"],
        "argv_truncated": False,
        "old_tid": 101,
    }
    assert objects[4] == {"seq": 5, "slots": 0, "kind": "gap", "lost": 17, "reason": "lapped"}


def test_json_keeps_64_bits() -> None:
    story = Story(first_seq=(1 << 64) - 2)
    story.task(100, start=(1 << 64) - 1)
    (event,) = map(json.loads, json_event_lines([story.batch()]))
    assert (event["seq"], event["start_ns"]) == ((1 << 64) - 2, (1 << 64) - 1)


def test_json_is_printable_ascii_and_keeps_every_byte() -> None:
    argument = decode_bytes(b"\x1b\x7f\xff\n") + "é\u202e"
    story = Story()
    story.exec(story.task(100), "/bin/x", ["x", argument])
    line = list(json_event_lines([story.batch()]))[1]
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["argv"] == ["x", argument]


def records(story: Story) -> list[dict[str, str]]:
    text = "".join(f"{line}\r\n" for line in csv_event_lines([story.batch()]))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_header_and_every_column(story: Story) -> None:
    rows = records(story)
    assert list(rows[0]) == EVENT_SCHEMA.names
    assert rows[2]["argv"] == '["env","a b"]'
    assert rows[2]["argv_truncated"] == "false"
    assert rows[4]["lost"] == "17"
    assert rows[4]["tid"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_csv_neutralises_formulas_in_text(start: str) -> None:
    story = Story()
    task = story.task(100)
    story.exec(task, f"{start}cmd|'/c calc'!A0", [f"{start}1"], comm=f"{start}x")
    row = records(story)[1]
    assert row["filename"] == f"'{start}cmd|'/c calc'!A0"
    assert row["comm"] == f"'{start}x"
    assert row["argv"] == f'["{start}1"]'


def test_csv_leaves_numbers_alone() -> None:
    story = Story()
    story.exit(story.task(100), code=-5)
    assert records(story)[1]["exit_code"] == "-5"


def test_csv_escapes_controls_and_survives_quotes_and_commas() -> None:
    story = Story()
    story.exec(story.task(100), '/bin/"a",\x1b\r\n', ["x"])
    assert records(story)[1]["filename"] == r'/bin/"a",\x1b\x0d\x0a'


def test_table_continues_over_batches(story: Story) -> None:
    batches = [rows_to_batch([row]) for row in story.rows]
    lines = list(table_lines(batches, TableStyle(story.attached_boot_ns)))
    assert len(lines) == 1 + len(story.rows)
    assert lines[-1].endswith("code 2  cpu 250 µs  peak 1.00 MiB")


@pytest.fixture
def calls() -> Story:
    story = Story(step_ns=1_000_000)
    shell = story.task(100)
    story.syscall(shell, "openat", 257, ret=-2, arg0=0xFFFFFF9C, arg1=0x7F0012340000, arg2=4095)
    story.syscall(shell, "mmap", 9, ret=0x7F0012340000, duration_ns=4_340)
    story.syscall(shell, None, -1, ret=-38)  # type: ignore[arg-type]
    story.failed_exec(shell, "/bin/no\x1bsuch thing", 13)
    story.failed_exec(shell, "/" + "x" * 20, 36, argv_truncated=True)
    return story


def test_a_syscall_reads_as_a_call_with_its_result(calls: Story) -> None:
    assert [line.split("sh    ")[1] for line in table(calls)[2:]] == [
        "openat(0xffffff9c, 0x7f0012340000, 4095) = -ENOENT  500 ns",
        "mmap(0, 0, 0) = 0x7f0012340000  4.34 µs",
        "syscall -1(0, 0, 0) = -ENOSYS  500 ns",
        r"$'/bin/no\x1bsuch thing' not executed: EACCES",
        "/xxxxxxxxxxxxxxxxxxxx… not executed: ENAMETOOLONG",
    ]


def test_json_and_csv_have_a_syscall_s_columns_if_the_capture_has(calls: Story, story: Story) -> None:
    told = json.loads(next(iter(json_event_lines([calls.batch().slice(1)]))))
    assert {name: told[name] for name in ("syscall", "nr", "arg1", "ret", "duration_ns")} == {
        "syscall": "openat", "nr": 257, "arg1": 0x7F0012340000, "ret": -2, "duration_ns": 500,
    }  # fmt: skip
    assert "errno" not in told
    header, _, call, *_ = csv.reader(csv_event_lines([calls.batch()]))
    assert dict(zip(header, call, strict=True))["syscall"] == "openat"
    assert next(csv.reader(csv_event_lines([story.batch()]))) == EVENT_SCHEMA.names
    assert next(csv.reader(csv_event_lines([]))) == EVENT_SCHEMA.names
