"""Who belongs to the recorded tree: all that its root starts, however briefly it lives, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Read, Recorder, born, identity

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
StartRecorder = Callable[..., Recorder]
StartProcess = Callable[..., "subprocess.Popen[bytes]"]

LEADER_WITH_THREADS_AND_CHILD = """
import subprocess, sys, threading
over = threading.Event()
threads = [threading.Thread(target=over.wait) for _ in range(3)]
for thread in threads:
    thread.start()
child = subprocess.Popen(["/bin/sh", "-c", "read go; /bin/true; exit 5"], stdin=subprocess.PIPE)
print(child.pid, *(thread.native_id for thread in threads), flush=True)
sys.stdin.readline()
subprocess.run(["/bin/true"])
child.communicate(b"\\n")
over.set()
"""


def test_two_hundred_chains_of_fork_exec_and_exit(record: Any, proven: Proven) -> None:
    recording = record("sh", "-c", "for i in $(seq 200); do /bin/true; done")
    assert recording.status == 0
    capture = proven(recording.capture)
    shell = identity(capture.rows[0])
    children = [born(fork) for fork in capture.of("fork")]
    assert len(children) == 201
    assert {identity(fork) for fork in capture.of("fork")} == {shell}
    lives: dict[tuple[int, int], list[Any]] = {child: [] for child in children}
    for row in capture.rows:
        if identity(row) in lives:
            assert (row["parent_tid"], row["parent_start_ns"]) == shell
            lives[identity(row)].append(row["filename"] if row["kind"] == "exec" else row["exit_code"])
    seq, *others = lives.values()
    assert (len(seq), seq[0].rsplit("/")[-1], seq[1]) == (2, "seq", 0)
    assert others == [["/bin/true", 0]] * 200


def test_no_short_lived_grandchild_escapes(record: Any, proven: Proven) -> None:
    storm = "i=0; while [ $i -lt 400 ]; do (: &); i=$((i+1)); done"
    recording = record("sh", "-c", storm, options=["--wait"])
    assert recording.status == 0
    capture = proven(recording.capture)
    assert len(capture.of("fork")) == 800
    assert len(capture.of("exit")) == 801
    births = {born(fork) for fork in capture.of("fork")} | {identity(capture.rows[0])}
    assert {identity(end) for end in capture.of("exit")} == births
    account = capture.document.accounts
    assert account is not None
    assert account.storage_refused == 0
    assert set(account.recursion_misses.values()) == {0}


def test_a_tree_holds_nobody_else(record: Any, proven: Proven, start_process: StartProcess) -> None:
    start_process("sh", "-c", "while :; do /bin/true; done")
    recording = record("sh", "-c", "sleep 0.3; exit 0")
    capture = proven(recording.capture)
    root = capture.rows[0]["tgid"]
    assert {row["parent_tgid"] for row in capture.of("exit") if row["tgid"] != root} == {root}
    assert len(capture.of("fork")) == 1
    account = capture.document.accounts
    assert account is not None
    assert account.events["fork"].filtered > 0


def test_a_tree_that_runs_already_is_followed_with_its_children_and_threads(
    start_recorder: StartRecorder, start_process: StartProcess, proven: Proven
) -> None:
    root = start_process(sys.executable, "-c", LEADER_WITH_THREADS_AND_CHILD)
    assert root.stdin is not None
    assert root.stdout is not None
    child, *threads = (int(word) for word in root.stdout.readline().split())
    recorder = start_recorder("-p", str(root.pid))
    recorder.wait_for_recording()
    root.stdin.write(b"\n")
    assert root.wait() == 0
    assert recorder.end()[0] == 0
    capture = proven(recorder.capture)
    assert capture.document.filter.pid == root.pid
    assert capture.document.stopped is not None
    assert capture.document.stopped.reason == "pid"
    assert {row["tid"] for row in capture.of("task")} == {root.pid, child, *threads}
    assert {fork["tgid"] for fork in capture.of("fork")} == {root.pid, child}
    ends = {row["tid"]: row for row in capture.of("exit")}
    assert ends.keys() >= {root.pid, child, *threads}
    assert (ends[child]["exit_code"], ends[child]["last_thread"]) == (5, True)
    assert [row["filename"] for row in capture.of("exec")].count("/bin/true") == 2


def test_waiting_for_a_tree_that_runs_already_ends_with_its_last_descendant(
    start_recorder: StartRecorder, start_process: StartProcess, proven: Proven, tmp_path: Path
) -> None:
    # The root has a child that has ended and that it never reaps, and leaves another behind.
    script = f"""
import os, subprocess, sys
dead = subprocess.Popen(["/bin/true"])
os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
subprocess.Popen(["/bin/sh", "-c", "while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"])
print("ready", flush=True)
sys.stdin.readline()
os._exit(0)
"""
    root = start_process(sys.executable, "-c", script)
    assert root.stdin is not None
    assert root.stdout is not None
    root.stdout.readline()
    recorder = start_recorder("--wait", "-p", str(root.pid))
    recorder.wait_for_recording()
    root.stdin.write(b"\n")
    root.wait()
    (tmp_path / "go").touch()
    assert recorder.end()[0] == 0
    capture = proven(recorder.capture)
    assert capture.document.stopped is not None
    assert capture.document.stopped.reason == "tree"


def test_the_whole_host_around_a_command_is_recorded_if_asked(record: Any, proven: Proven) -> None:
    capture = proven(record("/bin/true", options=["--all"]).capture)
    assert capture.document.filter.mode == "all"
    listed = {row["tid"]: row for row in capture.of("task")}
    assert {os.getpid(), os.getppid()} <= listed.keys()
    assert listed[os.getpid()]["start_ns"] > 0
    assert "/bin/true" in [row["filename"] for row in capture.of("exec")]
