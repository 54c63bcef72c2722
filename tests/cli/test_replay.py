"""Claims about `linnix-rec replay`: the views, the verdict on stderr, and the exit status."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from linnix_rec.cli import main
from tests.story import Story, write_capture


@pytest.fixture
def story() -> Story:
    story = Story(step_ns=1_000_000)
    init = story.task(1, start=5)
    shell = story.task(100, parent=init)
    story.task(50, parent=init)
    for tid in (101, 102):
        child = story.fork(shell, tid)
        story.exec(child, "/bin/true", ["/bin/true"])
        story.exit(child, code=tid - 101)
    return story


@pytest.fixture
def capture(story: Story, tmp_path: Path) -> Path:
    return write_capture(tmp_path / "a.lrec", story)


def replay(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


TREE = [
    "    PID       START     TOOK  EXIT         COMMAND",
    "      1      before           running      [sh]",
    "    100      before           running      └─ [sh]",
    "    101   +0.005000  2.50 ms  0               ├─ /bin/true",
    "    102   +0.008000  2.50 ms  1               └─ /bin/true",
]


def test_tree_is_what_it_shows_without_options(capture: Path) -> None:
    for options in ([], ["--tree"]):
        result = replay(*options, capture)
        assert result.exit_code == 0
        assert result.stdout.splitlines() == TREE


def test_verdict_and_tally_are_on_stderr(capture: Path) -> None:
    assert replay(capture).stderr.splitlines() == [
        "linnix-rec: 5 processes: 2 whole (fork to exit); 3 existed before",
        "linnix-rec: causal: 9 events, 0 lost, birth, death, parent and once hold",
    ]


def test_broken_order_is_shown_all_the_same_and_ends_with_1(story: Story, tmp_path: Path) -> None:
    story.rows.append({**story.rows[-1], "seq": 9})
    result = replay(write_capture(tmp_path / "a.lrec", story))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == TREE[0]
    assert "linnix-rec: not causal: " in result.stderr
    assert "seq 9" in result.stderr


def test_chains_are_a_line_a_process(capture: Path) -> None:
    assert replay("--chains", capture).stdout.splitlines() == [
        "pid 100  existed before as sh -> still running",
        "pid 101  fork 3 by 100 sh -> exec 4 /bin/true [/bin/true] -> exit 5 code 0  2.50 ms",
        "pid 102  fork 6 by 100 sh -> exec 7 /bin/true [/bin/true] -> exit 8 code 1  2.50 ms",
    ]


def test_two_views_at_once_are_wrong_usage(capture: Path) -> None:
    result = replay("--tree", "--chains", capture)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "choose one" in result.stderr


def test_all_shows_the_idle_too(capture: Path) -> None:
    assert "pid 50  existed before as sh -> still running" in replay("--chains", "--all", capture).stdout
    assert "     50      before" in replay("--all", capture).stdout


def test_pid_shows_its_life(capture: Path) -> None:
    assert replay("--pid", "102", capture).stdout.splitlines()[0] == "pid 102: /bin/true"


def test_pid_in_a_tree_has_its_ancestors_and_no_siblings(capture: Path) -> None:
    assert replay("--tree", "--pid", "102", capture).stdout.splitlines() == [*TREE[:3], TREE[4]]


def test_pid_that_is_not_there_is_one_line(capture: Path) -> None:
    result = replay("--pid", "4242", capture)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no process has pid 4242 in {capture}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_jsonl_ties_parents_to_children(capture: Path) -> None:
    objects = [json.loads(line) for line in replay("--format", "jsonl", "--all", capture).stdout.splitlines()]
    pids = {told["number"]: told["pid"] for told in objects}
    assert {told["pid"]: pids.get(told.get("parent_number")) for told in objects} == {
        1: None,
        50: 1,
        100: 1,
        101: 100,
        102: 100,
    }


def test_output_goes_to_a_file(capture: Path, tmp_path: Path) -> None:
    result = replay("--format", "dot", "-o", str(tmp_path / "tree.dot"), capture)
    assert result.stdout == ""
    text = (tmp_path / "tree.dot").read_text(encoding="utf-8")
    assert text.startswith("digraph lineage {\n")
    assert text.endswith("}\n")


def test_output_that_cant_be_written_is_one_line(capture: Path, tmp_path: Path) -> None:
    result = replay("-o", str(tmp_path / "none" / "a"), capture)
    assert result.exit_code == 1
    assert "can't write" in result.stderr
    assert result.stderr.count("\n") == 1


def test_empty_capture_has_an_empty_tree(tmp_path: Path) -> None:
    result = replay(write_capture(tmp_path / "a.lrec", Story()))
    assert (result.exit_code, result.stdout.splitlines()) == (0, TREE[:1])
    assert "0 processes" in result.stderr


def test_no_capture_is_status_3(tmp_path: Path) -> None:
    result = replay(tmp_path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.count("\n") == 1
