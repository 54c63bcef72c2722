"""Claims about the notebook API."""

import subprocess
import sys
from pathlib import Path

import pytest

import linnix_rec
from linnix_rec.errors import IncompleteCaptureWarning, UnreadableCaptureError
from tests.story import Story, write_capture


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", ["true"])
    story.exit(child)
    return write_capture(tmp_path / "a.lrec", story, rows_per_segment=2)


def test_events_are_a_table(capture: Path) -> None:
    events = linnix_rec.open_capture(str(capture)).events(["seq", "kind"])
    assert events.to_pydict() == {"seq": [0, 1, 2, 3], "kind": ["task", "fork", "exec", "exit"]}


def test_events_are_chosen_by_kind_and_seq(capture: Path) -> None:
    opened = linnix_rec.open_capture(capture)
    assert opened.events(kinds=["exec"]).column("filename").to_pylist() == ["/bin/true"]
    assert opened.events(["seq"], first_seq=1, end_seq=3).column("seq").to_pylist() == [1, 2]
    assert opened.events(kinds=["gap"]).num_rows == 0


def test_processes_walk_the_tree(capture: Path) -> None:
    processes = linnix_rec.open_capture(capture).processes()
    shell, child = processes
    assert (shell.pid, shell.child_numbers) == (100, (child.number,))
    assert child.steps[0].argv == ("true",)


def test_verify_proves(capture: Path) -> None:
    assert linnix_rec.open_capture(capture).verify().proven


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCaptureError):
        linnix_rec.open_capture(tmp_path)


def test_import_is_light() -> None:
    code = "import sys, linnix_rec; assert not {'pyarrow', 'numpy', 'click'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = linnix_rec.nothing


def test_a_missing_segment_is_a_warning_where_it_is_opened(capture: Path) -> None:
    (capture / "segment-00000000000000000002.parquet").unlink()
    with pytest.warns(
        IncompleteCaptureWarning, match=r"segment-0{19}2\.parquet \(tickets 2 to 3\)"
    ) as warned:
        opened = linnix_rec.open_capture(capture)
    assert warned[0].filename == __file__
    assert opened.events(["seq"]).column("seq").to_pylist() == [0, 1]


def test_a_digest_can_be_noted_and_expected(capture: Path) -> None:
    opened = linnix_rec.open_capture(capture)
    assert opened.verify(expect=opened.digest()).proven
    assert opened.verify().digest is None
    forged = opened.verify(expect="00" * 32)
    assert [rule.name for rule in forged.rules if not rule.holds] == ["expect"]
