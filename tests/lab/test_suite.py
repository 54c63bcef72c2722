"""What a guest is told to run, and what its report is worth beside its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.guest import Ending
from tests.lab.suite import NothingToRunError, collect, guest_command, judge

REPORT = """\
<testsuites><testsuite name="pytest">
<testcase classname="tests.a" name="test_b" /><testcase classname="tests.a" name="test_c" />
</testsuite></testsuites>
"""
HOST = ["tests/a.py::test_b", "tests/a.py::test_c"]


def test_a_guest_hears_what_the_host_was_told_about_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNIX_REC_FAULTS", "1")
    monkeypatch.delenv("LINNIX_REC_KILLS", raising=False)
    command = guest_command(["-k", "a or b"], Path("/some where"))
    exported = command.splitlines()[1]
    assert exported == (
        "export LINNIX_REC_FAULTS=1 LINNIX_REC_REQUIRE_KERNEL=1 LINNIX_REC_PATIENCE=20"
        " 'LINNIX_REC_PROGRAMS=/some where'"
    )
    assert command.splitlines()[-1].endswith("-k 'a or b' >/run/lab/tests 2>&1")
    assert f"exec {sys.executable} -m pytest" in command
    subprocess.run(["sh", "-n"], input=command, text=True, check=True)


def test_arguments_that_choose_nothing_are_refused() -> None:
    with pytest.raises(NothingToRunError, match="of tests/lab -k nonesuch: no tests collected"):
        collect(["tests/lab", "-k", "nonesuch"])


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "junit.xml").write_text(REPORT)
    (tmp_path / "tests").write_text("collected 2 items\n\nINTERNALERROR> no space\n")
    return tmp_path


def test_a_guest_that_ran_all_has_nothing_to_complain_about(room: Path) -> None:
    results, complaints = judge(Ending(0, 5.0), room, HOST)
    assert (results.ran, complaints) == (("tests.a::test_b", "tests.a::test_c"), ())


def test_a_pytest_that_broke_is_told_with_its_last_lines(room: Path) -> None:
    _, complaints = judge(Ending(3, 5.0), room, HOST)
    assert len(complaints) == 1
    assert complaints[0].endswith("    INTERNALERROR> no space")


def test_a_guest_that_died_is_told_with_both_last_lines_and_what_did_not_run(room: Path) -> None:
    (room / "junit.xml").unlink()
    _, complaints = judge(Ending(None, 5.0, "died", "Kernel panic"), room, HOST)
    assert [text.splitlines()[0] for text in complaints] == [
        "the guest died; its console's last lines:",
        "pytest's last lines:",
        "tests.a: 0 of the host's 2 tests ran",
    ]


def test_a_report_that_is_cut_short_counts_no_test(room: Path) -> None:
    (room / "junit.xml").write_text(REPORT[:60])
    results, complaints = judge(Ending(0, 5.0), room, HOST)
    assert results.ran == ()
    assert "its report is cut short" in complaints[0]
