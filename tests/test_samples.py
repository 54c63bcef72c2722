"""The captures in samples/ are what their names say."""

from pathlib import Path

import pytest

from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import verify_capture

SAMPLES = Path(__file__).parent.parent / "samples"
BROKEN = sorted(SAMPLES.glob("broken-*.lrec"))


@pytest.mark.parametrize("name", ["pipeline", "make", "evidence", "syscalls"])
def test_a_real_sample_is_proven(name: str) -> None:
    assert verify_capture(open_capture(SAMPLES / f"{name}.lrec")).proven


def test_the_sample_of_syscalls_has_all_kinds() -> None:
    capture = open_capture(SAMPLES / "syscalls.lrec")
    assert capture.document.format_version == 2
    (failed,) = (row for batch in capture.batches(kinds=["failed-exec"]) for row in batch.to_pylist())
    assert (failed["filename"], failed["errno"], failed["argv"]) == ("./missing", 2, None)
    calls = [row for batch in capture.batches(kinds=["syscall"]) for row in batch.to_pylist()]
    assert [row["ret"] for row in calls if row["syscall"] == "execve"] == [0, 0, 0, -2]
    assert {row["filename"] for row in calls} == {None}


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_sample_breaks_the_one_rule_of_its_name(path: Path) -> None:
    verdict = verify_capture(open_capture(path))
    assert [rule.name for rule in verdict.rules if rule.violated] == [path.stem.removeprefix("broken-")]
    assert not verdict.proven


def test_each_rule_has_a_broken_sample() -> None:
    rules = {rule.name for rule in verify_capture(open_capture(SAMPLES / "evidence.lrec")).rules}
    assert {path.stem.removeprefix("broken-") for path in BROKEN} == rules
