"""Claims about `linnix-rec reconcile`: its exit status, its refusals, and that no text gets out of hand."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from linnix_rec.capture.text import decode_bytes
from linnix_rec.cli import main
from tests.story import Row, Story, document, write_capture

MS = 1_000_000


def story(comm: str = "true") -> Story:
    """An event a ms, for a second."""
    told = Story(step_ns=MS)
    shell = told.task(100)
    for tid in range(200, 533):
        child = told.fork(shell, tid)
        told.exec(child, "/bin/true", comm=comm)
        told.exit(child, comm=comm)
    return told


def dropped(rows: list[Row], *places: int) -> list[Row]:
    """The rows with a gap in the place of each of these."""
    gap = {"slots": 0, "kind": "gap", "lost": 1, "reason": "dropped"}
    return [{**gap, "seq": row["seq"]} if place in places else row for place, row in enumerate(rows)]


Written = Callable[..., tuple[str, str]]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(*places: int, comm: str = "true") -> tuple[str, str]:
        rows = story(comm).rows
        a = write_capture(tmp_path / "a.lrec", rows)
        b = write_capture(tmp_path / "b.lrec", dropped(rows, *places), source="perf", ordered=False)
        return str(a), str(b)

    return write


def reconcile(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reconcile", *arguments])


def complaint_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Give the exit status and what stands on stderr, as at a prompt."""
    with pytest.raises(SystemExit) as ending:
        main(["reconcile", *arguments])
    return ending.value.code, capsys.readouterr().err


def test_equal_recordings_agree(written: Written) -> None:
    result = reconcile(*written())
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "agree: 999 events in both, none in one only"


def test_what_is_missing_beyond_the_tolerance_ends_1(written: Written) -> None:
    a, b = written(302, 306)
    result = reconcile(a, b)
    assert result.exit_code == 1
    printed = result.stdout.splitlines()
    assert "  seq 302  +0.304000  exec of 300  true" in printed
    assert printed[-1].startswith("disagree: 997 events in both, 2 in one only; 1 of 1 window beyond 0.1 %")
    assert reconcile("--tolerance", "0.3%", a, b).exit_code == 0
    assert reconcile("--tolerance", "0.003", a, b).exit_code == 0
    assert reconcile("--tolerance", "0.002", a, b).exit_code == 1


def test_fail_after_wants_so_many_bad_windows_in_a_row(written: Written) -> None:
    a, b = written(302, 402, 702)
    short = ("--window", "100ms", a, b)
    assert [reconcile("--fail-after", wanted, *short).exit_code for wanted in ("1", "2", "3")] == [1, 1, 0]
    assert "agree so far" in reconcile("--fail-after", "3", *short).stdout


def test_json_is_one_document(written: Written) -> None:
    a, b = written(302)
    result = reconcile("--format", "json", "--tolerance", "0", a, b)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["verdict"]) == (1, "disagree")
    assert [each["capture"] for each in told["captures"]] == [a, b]
    assert told["captures"][0]["first_only_here"][0]["seq"] == 302
    assert json.loads(reconcile("--format", "json", a, a).stdout)["verdict"] == "agree"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_name_of_a_process_is_obeyed_by_a_terminal(written: Written, form: str) -> None:
    nasty = decode_bytes(b"\x1b[2J\xe2\x80\xae\xff")
    result = reconcile("--format", form, *written(302, 303, comm=nasty))
    assert result.exit_code == 1
    obeyed = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    text = result.stdout.replace("\n", "")
    assert [character for character in text if unicodedata.category(character) in obeyed] == []
    if form == "text":
        assert r"\x1b[2J\u202e\xff" in text
    else:
        assert json.loads(result.stdout)["captures"][0]["first_only_here"][0]["comm"] == nasty


def test_captures_that_have_nothing_to_do_with_each_other_are_wrong_usage(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _ = written()
    host = replace(document().host, hostname="elsewhere", boot_id="other")
    other = write_capture(tmp_path / "other.lrec", story(), host=host)
    status, complaint = complaint_of(a, str(other), capsys=capsys)
    assert status == 2
    assert complaint.startswith(f"linnix-rec: error: {a} and {other} are of different hosts")
    assert complaint.count("\n") == 1


def test_a_capture_that_can_t_be_read_ends_3(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = written()
    status, complaint = complaint_of(a, str(tmp_path / "none.lrec"), capsys=capsys)
    assert (status, complaint.count("\n")) == (3, 1)
    next(Path(b).glob("*.parquet")).unlink()
    status, complaint = complaint_of(a, b, capsys=capsys)
    assert status == 3
    assert "is incomplete" in complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--window", "0s"), "a window has a length"),
        (("--window", "soon"), "'soon' is no duration"),
        (("--tolerance", "200%"), "'200%' is no share"),
        (("--tolerance", "much"), "'much' is no share"),
        (("--fail-after", "0"), "0 is not in the range"),
    ],
)
def test_numbers_that_mean_nothing_are_wrong_usage(
    written: Written, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    status, said = complaint_of(*arguments, *written(), capsys=capsys)
    assert status == 2
    assert complaint in said


def test_two_captures_are_asked_for(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    a, _ = written()
    assert complaint_of(a, capsys=capsys)[0] == 2
