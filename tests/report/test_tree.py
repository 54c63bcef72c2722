"""Claims about the tree, the chains and a life as text: what a stranger reads."""

import re
from collections.abc import Iterable

import numpy as np
import pytest

from linnix_rec.replay.lineage import Lineage, lineage_of
from linnix_rec.report.chains import chain_lines, tally_line
from linnix_rec.report.graph import dot_lines, process_object
from linnix_rec.report.ink import Ink
from linnix_rec.report.layout import columns_of
from linnix_rec.report.life import life_lines
from linnix_rec.report.tree import ASCII_LINES, TreeStyle, tree_lines
from linnix_rec.report.views import View, view_lines
from tests.story import CLONE_PARENT, CLONE_THREAD, CLONE_VFORK, Story


@pytest.fixture
def story() -> Story:
    story = Story(step_ns=1_000_000)
    init = story.task(1, start=5)
    shell = story.task(100, parent=init)
    story.task(50, parent=init)  # idle: not shown
    failing = story.fork(shell, 101)
    story.exec(failing, "/bin/false", ["false"])
    story.exit(failing, code=1)
    python = story.fork(shell, 102, CLONE_VFORK)
    story.exec(python, "/usr/bin/python3", ["python3", "-c", "1"])
    before = story.fork(python, 103)
    story.fork(python, 104, CLONE_THREAD)
    story.exit(python, last=False)
    story.exec(python, "/bin/echo", ["echo", "hi"], old_tid=104)
    after = story.fork(python, 105)
    story.exit(before)
    story.exit(after, signal=11, core_dumped=True)
    story.exit(python)
    subshell = story.fork(shell, 106)
    story.exit(story.fork(subshell, 107))
    story.exec(subshell, "/bin/sleep", ["sleep", "9"])
    return story


def tree(story: Story, **style: object) -> list[str]:
    told = lineage_of([story.batch()])
    return list(tree_lines(told, shown(told), TreeStyle(story.attached_boot_ns, 3, **style)))  # type: ignore[arg-type]


def shown(told: Lineage) -> np.typing.NDArray[np.bool_]:
    return told.with_ancestors(told.active())


def commands(lines: Iterable[str]) -> list[str]:
    return [line[43:] for line in lines]


def test_tree_shows_who_started_whom_and_each_step(story: Story) -> None:
    assert tree(story) == [
        "    PID       START     TOOK  EXIT         COMMAND",
        "      1      before           running      [sh]",
        "    100      before           running      └─ [sh]",
        "    101      +0.004  2.50 ms  1               ├─ false",
        "    102      +0.007  9.50 ms  0               ├─ python3 -c 1  (2 threads)",
        "    103      +0.009  5.50 ms  0               │  ├─ python3 (no exec)",
        "             +0.012                           │  ├⇒ echo hi  (by thread 104, which took the process over)",  # noqa: E501
        "    105      +0.013  2.50 ms  SIGSEGV core    │  └─ echo (no exec)",
        "    106      +0.017           running         └─ sh (forked)",
        "    107      +0.018  1.50 ms  0                  ├─ sh (no exec)",
        "             +0.020                              └⇒ sleep 9",
    ]


def test_tree_without_line_drawing_is_ascii(story: Story) -> None:
    lines = tree(story, strokes=ASCII_LINES)
    assert commands(lines)[4:7] == [
        "   |- python3 -c 1  (2 threads)",
        "   |  |- python3 (no exec)",
        "   |  |> echo hi  (by thread 104, which took the process over)",
    ]


@pytest.mark.parametrize("width", [20, 50, 60, 80])
def test_no_line_is_wider_than_the_terminal(story: Story, width: int) -> None:
    story.exec(story.fork(story.task(7), 8), "/bin/x", ["日本語" * 30])
    assert max(map(columns_of, tree(story, width=width)[1:])) <= width


def test_colour_changes_no_text(story: Story) -> None:
    coloured = tree(story, ink=Ink(True), width=70)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in coloured] == tree(story, width=70)


def test_failures_alone_are_red(story: Story) -> None:
    red = [line[:7].strip() for line in tree(story, ink=Ink(True)) if "\x1b[1;31m" in line]
    assert red == ["101", "105"]


def test_command_of_the_recorder_is_timed_from_its_exec() -> None:
    story = Story(step_ns=1_000_000)
    root = story.task(100)
    story.exec(root, "/bin/true", ["true"])
    story.exit(root)
    assert tree(story)[1:] == ["    100      +0.002  1.00 ms  0            true"]


def test_chains_tell_a_life_in_a_line(story: Story) -> None:
    told = lineage_of([story.batch()])
    lines = list(chain_lines(told.processes(np.flatnonzero(told.active()))))
    steps = "exec 7 /usr/bin/python3 [python3 -c 1] -> exec 11 /bin/echo [echo hi] by thread 104"
    assert lines == [
        "pid 100  existed before as sh -> still running",
        "pid 101  fork 3 by 100 sh -> exec 4 /bin/false [false] -> exit 5 code 1  2.50 ms",
        f"pid 102  fork 6 by 100 sh -> {steps} -> exit 15 code 0  9.50 ms",
        "pid 103  fork 8 by 102 python3 -> exit 13 code 0  5.50 ms",
        "pid 105  fork 12 by 102 echo -> exit 14 killed by SIGSEGV, core dumped  2.50 ms",
        "pid 106  fork 16 by 100 sh -> exec 19 /bin/sleep [sleep 9] -> still running",
        "pid 107  fork 17 by 106 sh -> exit 18 code 0  1.50 ms",
    ]


def test_tally_says_how_many_lives_are_whole_and_why_not_all() -> None:
    story = Story()
    shell = story.task(100)
    story.exit(story.fork(shell, 101))
    story.fork(shell, 102)
    story.gap(3)
    tally = lineage_of([story.batch()]).tally(story.attached_boot_ns)
    assert tally_line(tally) == (
        "3 processes: 1 whole (fork to exit); 1 existed before and 1 still ran at the end; "
        "3 tickets lost, which may hide forks and exits"
    )


def test_life_tells_each_holder_of_a_pid_in_full(story: Story) -> None:
    shell = story.task(100)
    story.exit(story.fork(shell, 102, CLONE_PARENT), code=3)
    lines = list(life_lines(lineage_of([story.batch()]), 102, story.attached_boot_ns))
    assert lines[:10] == [
        "pid 102, first of 2 with this pid: echo hi",
        "  ancestors   1 (not in this capture) -> 1 sh -> 100 sh",
        "  born        +0.007000 s  fork 6 by 100 sh (vfork)",
        "  exec 7      +0.008000 s  python3 -c 1",
        "  exec 11     +0.012000 s  echo hi  by thread 104, which took the process over",
        "  threads     2 in all",
        "  children    103 python3 (no exec)",
        "              105 echo (no exec), killed by SIGSEGV, core dumped",
        "  ended       +0.016000 s  exit 15, code 0, after 9.50 ms, CPU 500 µs, peak memory 1.00 MiB",
        "  user        uid 1000",
    ]
    assert lines[11].startswith("pid 102, second of 2 with this pid: ")


def test_objects_tell_only_what_is_known(story: Story) -> None:
    objects = {told["pid"]: told for told in map(process_object, lineage_of([story.batch()]))}
    (step,) = objects[101]["execs"]
    assert step == {
        "seq": 4,
        "boot_ns": 1_000_005_000_000,
        "filename": "/bin/false",
        "argv": ["false"],
        "argv_truncated": False,
        "comm": "false",
    }
    assert objects[101]["exit"]["code"] == 1
    assert "exit" not in objects[106]
    assert (objects[106]["state"], objects[106]["whole"]) == ("running", False)


def test_dot_escapes_what_a_process_chose() -> None:
    story = Story()
    child = story.fork(story.task(100), 101)
    story.exec(child, "/bin/x", ['a"]; evil [label="', "\x1b\n", "back\\slash"])
    lines = list(dot_lines(lineage_of([story.batch()])))
    assert lines[3] == (
        r"""  p1 [label="'a\"]; evil [label=\"' $'\\x1b\\n' 'back\\slash'\npid 101, running"];"""
    )
    assert "  p0 -> p1;" in lines


def test_pid_as_a_graph_has_ancestors_and_children_but_no_siblings(story: Story) -> None:
    told = lineage_of([story.batch()])
    lines = view_lines(told, View(form="dot", pid=102), TreeStyle(story.attached_boot_ns))
    assert sum("[label=" in line for line in lines) == 5  # 1, 100, 102, 103, 105


def test_many_alike_in_a_row_fold_into_a_line_if_asked() -> None:
    story = Story(step_ns=1_000_000)
    shell = story.task(100)
    for place in range(9):
        child = story.fork(shell, 101 + place)
        story.exec(child, "/bin/true", ["true"])
        story.exit(child, code=int(place == 6))
    assert commands(tree(story)[2:]) == ["├─ true"] * 8 + ["└─ true"]
    assert [[*line[:42].split(), line[42:].strip()] for line in tree(story, folds=True)[2:]] == [
        ["101", "+0.002", "2.50", "ms", "0", "├─ 6 times: true  (to pid 106, 2.50 ms to 2.50 ms each)"],
        ["107", "+0.020", "2.50", "ms", "1", "├─ true"],
        ["108", "+0.023", "2.50", "ms", "0", "├─ true"],
        ["109", "+0.026", "2.50", "ms", "0", "└─ true"],
    ]


def test_folding_stops_at_a_step_and_at_a_level() -> None:
    story = Story()
    shell = story.fork(story.task(100), 101)
    for tid in range(200, 205):
        story.exit(story.fork(shell, tid))
    story.exec(shell, "/bin/dash", ["dash"], comm="sh")
    shell.comm = "sh"
    for tid in range(300, 305):
        story.exit(story.fork(shell, tid))
    story.exit(story.fork(shell.parent or shell, 400))
    texts = [line[43:] for line in tree(story, folds=True)]
    assert [re.sub(", .*", "", text) for text in texts[2:]] == [
        "├─ sh (forked)",
        "│  ├─ 5 times: sh (no exec)  (to pid 204",
        "│  ├⇒ dash",
        "│  └─ 5 times: sh (no exec)  (to pid 304",
        "└─ sh (no exec)",
    ]


def test_deep_trees_leave_room_for_the_command() -> None:
    story = Story()
    task = story.task(100)
    for tid in range(101, 400):
        task = story.fork(task, tid)
    lines = tree(story, width=80)
    assert all("sh (no exec)" in line for line in lines[2:])
    assert max(map(len, tree(story))) < 700


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (None, ["PID", "START", "TOOK", "EXIT", "COMMAND"]),
        (70, ["PID", "START", "TOOK", "EXIT", "COMMAND"]),
        (60, ["PID", "TOOK", "EXIT", "COMMAND"]),
        (40, ["PID", "EXIT", "COMMAND"]),
    ],
)
def test_a_narrow_terminal_has_room_for_the_command(
    story: Story, width: int | None, headings: list[str]
) -> None:
    lines = tree(story, width=width)
    assert lines[0].split() == headings
    assert [line for line in lines if line.startswith("    101") and "false" in line]
    assert all(columns_of(line) <= (width or 1000) for line in lines)
