"""Whatever a process, or who made the capture, chose as text: no output lets a terminal obey any of it."""

import csv
import io
import json
import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, Stopped
from linnix_rec.capture.text import decode_bytes
from tests.story import Story, document, write_capture

#: Bytes that a process can choose; each of these does something somewhere.
NASTY = {
    "colour": b"\x1b[31mred\x1b[0m",
    "title": b"\x1b]0;owned\x07",
    "screen": b"\x9b2J\xc2\x9b2J",
    "line": b"one\nforged: proven\r\x0b\x0c\x85",
    "erased": b"hidden\x08\x08\x08\x08\x7f\x7f",
    "separator": "\u2028\u2029".encode(),
    "bidi": "\u202egpj.exe\u2066\u200f\u2069".encode(),
    "invisible": "\u200b\ufeff\u00ad\U000e0041".encode(),
    "broken": b"\xff\xfe\xc3\xed\xa0\x80",
    "escape": b"\xee\xbf\xbf\\x41\\u0041",
    "markup": b"</testcase><script>alert(1)</script>&amp;]]>\"'",
    "formula": b"=cmd|' /C calc'!A0",
    "plus": b"+1+1",
    "minus": b"-1+1",
    "at": b"@SUM(1)",
    "tab": b"\t=1",
    "label": b'"]; evil [label="\\N\\',
    "record": b'a,"b";c\r\nd',
}
TEXTS = {name: decode_bytes(raw) for name, raw in NASTY.items()}
ALL = " ".join(TEXTS.values())

#: What a terminal may obey: controls, formats, surrogates, private use, line and paragraph separators.
OBEYED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

SHOW = [["show"], ["show", "--format", "jsonl"], ["show", "--format", "csv"], ["show", "--summary"]]
REPLAY = [["replay"], ["replay", "--chains"], ["replay", "--format", "jsonl"], ["replay", "--format", "dot"]]
VERIFY = [["verify"], ["verify", "--format", "json"], ["verify", "--format", "junit"]]


def nasty_story() -> Story:
    story = Story()
    shell = story.task(100, comm=TEXTS["colour"])
    for number, text in enumerate(TEXTS.values()):
        child = story.fork(shell, 1000 + number)
        story.exec(child, text, [text, ALL], comm=text)
        story.exit(child, code=1, comm=text)
    story.rows[-1]["kind"] = TEXTS["line"]
    story.gap(3, TEXTS["colour"])
    return story


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished capture in which every text is nasty."""
    path = write_capture(tmp_path_factory.mktemp("nasty") / "a.lrec", nasty_story(), **nasty_document())
    stopped = Stopped(ALL, ALL, ALL, 1 << 50)
    rewrite(path, stopped=stopped)
    return path


def nasty_document() -> dict[str, object]:
    plain = document()
    return {
        "tool_version": ALL,
        "capture_id": ALL,
        "host": replace(plain.host, hostname=ALL, kernel_release=ALL, machine=ALL, boot_id=ALL),
        "object": replace(plain.object, name=ALL),
        "filter": replace(plain.filter, mode="command", command=(ALL, *TEXTS.values())),
        "cgroups": {"42": ALL, ALL: ALL},
        "pin": ALL,
    }


def rewrite(path: Path, **changes: object) -> None:
    told = replace(CaptureDocument.load(path / DOCUMENT_NAME), **changes)  # type: ignore[arg-type]
    (path / DOCUMENT_NAME).write_bytes(told.dump())


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    ended = subprocess.run(
        [sys.executable, "-m", "linnix_rec", *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONUTF8": "1", "PATH": "/usr/bin:/bin"},
    )
    assert b"internal error" not in ended.stderr
    assert b"Traceback" not in ended.stderr
    return ended


def obeyed_in(output: bytes, line_end: str = "\n") -> set[str]:
    """Characters that a terminal may obey; line ends aside."""
    text = output.decode().replace(line_end, "")
    return {character for character in text if unicodedata.category(character) in OBEYED}


@pytest.mark.parametrize("command", [*SHOW, *REPLAY, *VERIFY], ids=" ".join)
def test_no_output_holds_what_a_terminal_obeys(capture: Path, command: list[str]) -> None:
    ended = run(*command, capture)
    assert ended.stdout
    assert obeyed_in(ended.stdout, "\r\n" if "csv" in command else "\n") == set()
    assert obeyed_in(ended.stderr) == set()


@pytest.mark.parametrize("command", [["show"], ["replay"], *VERIFY], ids=" ".join)
@pytest.mark.parametrize("failure", ["failure", "unreadable", "missing"])
def test_no_complaint_holds_what_a_terminal_obeys(tmp_path: Path, command: list[str], failure: str) -> None:
    path = write_capture(tmp_path / TEXTS["colour"], nasty_story(), **nasty_document())
    (segment,) = path.glob("*.parquet")
    if failure == "failure":
        rewrite(path, stopped=Stopped("failure", ALL, ALL, 5))
    elif failure == "unreadable":
        told = json.loads((path / DOCUMENT_NAME).read_bytes())
        told["segments"][0]["name"] = ALL
        told["cgroups"] = {ALL: 5}
        (path / DOCUMENT_NAME).write_text(json.dumps(told))
    else:
        segment.unlink()
    ended = run(*command, path)
    assert obeyed_in(ended.stdout) == set()
    assert obeyed_in(ended.stderr) == set()
    assert (failure == "unreadable") == (b"is damaged" in ended.stderr + ended.stdout)


def test_table_and_json_have_a_line_an_event(capture: Path) -> None:
    events = len(nasty_story().rows)
    assert len(run("show", capture).stdout.splitlines()) == events + 1
    assert len(run("show", "--format", "jsonl", capture).stdout.splitlines()) == events


def test_json_gives_every_text_as_it_was(capture: Path) -> None:
    lines = run("show", "--format", "jsonl", "--kind", "exec", capture).stdout.splitlines()
    told = list(map(json.loads, lines))
    assert [event["comm"] for event in told] == list(TEXTS.values())
    assert [event["argv"] for event in told] == [[text, ALL] for text in TEXTS.values()]
    processes = map(json.loads, run("replay", "--format", "jsonl", capture).stdout.splitlines())
    assert [step["argv"][0] for process in processes for step in process["execs"]] == list(TEXTS.values())


def test_arrow_gives_every_text_as_it_was(capture: Path) -> None:
    stream = pa.ipc.open_stream(run("show", "--format", "arrow", "--kind", "exec", capture).stdout)
    assert stream.read_all()["comm"].to_pylist() == list(TEXTS.values())


def test_csv_has_no_cell_that_a_spreadsheet_would_run(capture: Path) -> None:
    (header, *rows) = csv.reader(
        io.StringIO(run("show", "--format", "csv", capture).stdout.decode(), newline="")
    )
    assert len(rows) == len(nasty_story().rows)
    assert {len(row) for row in rows} == {len(header)}
    cells = {cell for row in rows for cell in row if not re.fullmatch(r"-?\d+", cell)}
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert {"'=cmd|' /C calc'!A0", "'+1+1", "'-1+1", "'@SUM(1)"} <= cells


def test_junit_is_xml_whose_structure_no_text_changes(capture: Path) -> None:
    suites = ET.fromstring(run("verify", "--format", "junit", capture).stdout)  # noqa: S314
    assert {element.tag for element in suites.iter()} <= {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped"),
        *("system-out", "system-err"),
    }


def test_dot_has_only_nodes_and_edges(capture: Path) -> None:
    label = r'"(?:[^"\\]|\\.)*"'
    line = re.compile(rf"  p\d+ \[label={label}(?:, color=red)?\];|  p\d+ -> p\d+;")
    (begin, style, *lines, end) = run("replay", "--format", "dot", capture).stdout.decode().splitlines()
    assert (begin, end) == ("digraph lineage {", "}")
    assert style.startswith("  rankdir=LR;")
    assert [text for text in lines if not line.fullmatch(text)] == []


def test_processes_are_found_by_their_nasty_names(capture: Path) -> None:
    """A glob matches the text as it is kept, and what is printed of it is escaped all the same."""
    ended = run("show", "--comm", "*cmd*calc*", "--kind", "exec", capture)
    assert len(ended.stdout.splitlines()) == 2
    assert obeyed_in(ended.stdout) == set()
