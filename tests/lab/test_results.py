"""Reports of guests on their own: what counts as run, what as missing, and how it is told."""

from __future__ import annotations

from xml.etree.ElementTree import ParseError

import pytest

from tests.lab.results import Results, Run, differences, module_of, node_ids, read_junit, table, told

REPORT = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
<testcase classname="tests.kernel.test_tree" name="test_a" time="1.0" />
<testcase classname="tests.kernel.test_tree" name="test_b[1-x]"><system-out>said</system-out></testcase>
<testcase classname="tests.kernel.test_loss" name="test_c">
  <failure message="assert 1 == 2&#10;more">trace</failure></testcase>
<testcase classname="tests.kernel.test_loss" name="test_d">
  <skipped type="pytest.skip" message="no disk">where</skipped></testcase>
<testcase classname="tests.kernel.test_loss" name="test_e">
  <error message="failed on setup">trace</error></testcase>
</testsuite></testsuites>
"""
RESULTS = Results(
    passed=("tests.kernel.test_tree::test_a", "tests.kernel.test_tree::test_b[1-x]"),
    failed=(
        ("tests.kernel.test_loss::test_c", "assert 1 == 2\nmore"),
        ("tests.kernel.test_loss::test_e", "failed on setup"),
    ),
    skipped=(("tests.kernel.test_loss::test_d", "no disk"),),
)
HOST = [
    "tests/kernel/test_loss.py::test_c",
    "tests/kernel/test_loss.py::test_d",
    "tests/kernel/test_loss.py::test_e",
    "tests/kernel/test_tree.py::test_a",
    "tests/kernel/test_tree.py::test_b[1-x]",
]


def test_errors_of_fixtures_are_failures() -> None:
    assert read_junit(REPORT) == RESULTS


def test_a_test_that_passed_and_whose_fixture_then_failed_is_a_failure_and_one_test() -> None:
    twice = REPORT.replace('name="test_e"', 'name="test_a"').replace("test_loss", "test_tree")
    read = read_junit(twice)
    assert [name for name in read.ran if name.endswith("test_a")] == ["tests.kernel.test_tree::test_a"]
    assert ("tests.kernel.test_tree::test_a", "failed on setup") in read.failed


def test_a_report_that_was_cut_short_is_no_report() -> None:
    with pytest.raises(ParseError):
        read_junit(REPORT[:-30])


def test_skipped_tests_did_not_run() -> None:
    assert len(RESULTS.ran) == 4
    assert differences(HOST, RESULTS.ran) == ["tests.kernel.test_loss: 2 of the host's 3 tests ran"]


def test_tests_that_only_the_guest_has_are_a_difference_too() -> None:
    assert differences([], ["tests.a::test_b"]) == ["tests.a: 1 of the host's 0 tests ran"]
    assert differences(["tests/a.py::test_b[x::y]"], ["tests.a::test_b[x::y]"]) == []


def test_a_node_id_and_a_report_s_name_have_one_module() -> None:
    assert module_of("tests/bpf/test_btf.py::TestThis::test_a[b/c.py]") == "tests.bpf.test_btf"
    assert module_of("tests.bpf.test_btf::test_a[b/c.py]") == "tests.bpf.test_btf"


def test_what_pytest_collects_is_its_node_ids() -> None:
    said = "tests/a.py::test_b[1 2]\ntests/c.py::test_d\n\n2/9 tests collected (7 deselected) in 4.65s\n"
    assert node_ids(said) == ["tests/a.py::test_b[1 2]", "tests/c.py::test_d"]


def test_the_table_has_a_row_a_kernel_and_what_it_can_t_say_follows() -> None:
    bad = Run("6.12", 8, 5, RESULTS, 3675.0, ("the guest died",))
    good = Run("6.1 (6.1.0-56-amd64)", 8, 2, Results(RESULTS.passed), 61.9)
    assert table([good, bad]) == (
        "kernel                CPUs  on the host  in the guest  passed  failed  skipped   took\n"
        "6.1 (6.1.0-56-amd64)     8            2             2       2       0        0   1:01\n"
        "6.12                     8            5             4       2       2        1  61:15"
    )
    assert told(bad) == [
        "6.12:",
        "  FAILED tests.kernel.test_loss::test_c: assert 1 == 2",
        "  FAILED tests.kernel.test_loss::test_e: failed on setup",
        "  skipped tests.kernel.test_loss::test_d: no disk",
        "  the guest died",
    ]
    assert told(good) == []


@pytest.mark.parametrize(
    ("results", "complaints", "holds"),
    [
        (Results(RESULTS.passed), (), True),
        (Results(RESULTS.passed), ("a test is missing",), False),
        (Results(RESULTS.passed, RESULTS.failed), (), False),
    ],
)
def test_a_run_holds_only_without_failures_and_complaints(
    results: Results, complaints: tuple[str, ...], holds: bool
) -> None:
    assert Run("6.1", 8, 2, results, 1.0, complaints).holds is holds
