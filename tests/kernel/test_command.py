"""The recorded command's life is its own: status, signals, descriptors, environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Read, Recorder, born, identity, wait_until

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
StartRecorder = Callable[..., Recorder]

WAIT_FOR_GO = "touch ready; while [ ! -e go ]; do sleep 0.05; done"


def test_the_command_s_status_is_the_recorder_s(record: Any, proven: Proven) -> None:
    recording = record("sh", "-c", "exit 7")
    assert recording.status == 7
    capture = proven(recording.capture)
    assert [row["kind"] for row in capture.rows] == ["task", "exec", "exit"]
    assert capture.rows[-1]["exit_code"] == 7
    assert capture.document.filter.mode == "command"
    assert capture.document.filter.command == ("sh", "-c", "exit 7")
    assert capture.document.stopped is not None
    assert capture.document.stopped.reason == "command"


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        ("/no/such/program", 127, "No such file or directory"),
        ("no-such-program-anywhere", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/etc", 126, "Permission denied"),
    ],
)
def test_a_command_that_can_t_start_is_said_so_and_leaves_no_capture(
    record: Any, command: str, status: int, reason: str
) -> None:
    recording = record(command)
    assert recording.status == status
    assert recording.stderr == f"linnix-rec: error: can't run '{command}': {reason}\n"
    assert not recording.capture.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_recorder_dies_of_the_signal_that_the_command_died_of(
    record: Any, proven: Proven, number: signal.Signals
) -> None:
    recording = record("sh", "-c", f"kill -{int(number)} $$")
    assert recording.status == -number
    (end,) = proven(recording.capture).of("exit")
    assert (end["exit_signal"], end["exit_code"], end["last_thread"]) == (number, 0, True)


def test_a_script_without_a_first_line_is_run_by_the_shell(
    record: Any, proven: Proven, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("exit 5\n")
    script.chmod(0o755)
    recording = record(script)
    assert recording.status == 5
    (execution,) = proven(recording.capture).of("exec")
    assert (execution["filename"], execution["argv"]) == ("/bin/sh", ["/bin/sh", str(script)])


def test_scripts_that_exec_each_other_are_one_process(record: Any, proven: Proven, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"#!/bin/sh\nexec {second} with 'two arguments'\n")
    second.write_text("#!/bin/sh\nexec /bin/true\n")
    first.chmod(0o755)
    second.chmod(0o755)
    recording = record(first)
    execs = proven(recording.capture).of("exec")
    assert [row["filename"] for row in execs] == [str(first), str(second), "/bin/true"]
    assert execs[1]["argv"] == ["/bin/sh", str(second), "with", "two arguments"]
    assert len({identity(row) for row in execs}) == 1


def test_the_command_sees_what_it_would_see_without_a_recorder(tmp_path: Path) -> None:
    # What ls and grep see of themselves: a shell blocks all signals for a moment whenever it forks.
    status = "grep -E 'Sig(Blk|Ign|Cgt)|Cap|Groups' /proc/self/status"
    command = ["/bin/sh", "-c", f"env; ls /proc/self/fd; {status}; umask; cat; ulimit -a"]
    run = partial(subprocess.run, input=b"from stdin\n", capture_output=True, check=True, cwd=tmp_path)
    alone = run(command)
    recorder = [sys.executable, "-m", "linnix_rec", "record", "-q", "-o", "x.lrec", "--"]
    recorded = run([*recorder, *command])
    assert recorded.stdout == alone.stdout
    assert recorded.stderr == b""


def test_another_user_s_command_has_their_ids_groups_and_home(record: Any, proven: Proven) -> None:
    who = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME"
    recording = record("sh", "-c", who, options=["-u", "nobody"])
    assert recording.status == 0
    assert recording.stdout.splitlines() == ["65534", "65534", "65534", "/nonexistent nobody nobody"]
    assert {(row["uid"], row["gid"]) for row in proven(recording.capture).of("exec")} == {(65534, 65534)}
    assert (recording.capture.stat().st_uid, os.geteuid()) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_is_passed_on_to_the_command(
    start_recorder: StartRecorder, proven: Proven, tmp_path: Path, number: signal.Signals
) -> None:
    trap = f"trap 'exit 9' {number.name[3:]}; {WAIT_FOR_GO}"
    recorder = start_recorder("--", "sh", "-c", trap, cwd=tmp_path)
    wait_until((tmp_path / "ready").exists, "for the command")
    recorder.process.send_signal(number)
    assert recorder.end()[0] == 9
    assert proven(recorder.capture).rows[-1]["exit_code"] == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_an_interrupt_is_left_to_the_command(
    start_recorder: StartRecorder, proven: Proven, tmp_path: Path, number: signal.Signals
) -> None:
    recorder = start_recorder("--", "sh", "-c", f"{WAIT_FOR_GO}; exit 3", cwd=tmp_path)
    wait_until((tmp_path / "ready").exists, "for the command")
    recorder.process.send_signal(number)  # to the recorder alone, which has no use for it
    (tmp_path / "go").touch()
    assert recorder.end()[0] == 3
    proven(recorder.capture)


def test_ctrl_c_ends_the_command_and_the_recorder_after_it(
    start_recorder: StartRecorder, proven: Proven, tmp_path: Path
) -> None:
    recorder = start_recorder("--", "sh", "-c", WAIT_FOR_GO, cwd=tmp_path)
    wait_until((tmp_path / "ready").exists, "for the command")
    os.killpg(recorder.process.pid, signal.SIGINT)  # as a terminal does
    assert recorder.end()[0] == -signal.SIGINT
    assert proven(recorder.capture).rows[-1]["exit_signal"] == signal.SIGINT


def test_a_duration_stops_the_recording_and_not_the_command(
    start_recorder: StartRecorder, proven: Proven, tmp_path: Path
) -> None:
    recorder = start_recorder("-d", "200ms", "--", "sh", "-c", f"{WAIT_FOR_GO}; exit 4", cwd=tmp_path)
    document = recorder.capture / "capture.json"
    wait_until(lambda: document.exists() and '"duration"' in document.read_text(), "for the end")
    assert recorder.process.poll() is None
    (tmp_path / "go").touch()
    status, said = recorder.end()
    assert status == 4
    assert "1 task of the tree still live" in said or "2 tasks of the tree still live" in said
    assert all(
        row["tid"] != row["tgid"] or row["exit_code"] != 4 for row in proven(recorder.capture).of("exit")
    )


def test_a_killed_recorder_leaves_the_command_alone_and_a_capture_that_reads(
    start_recorder: StartRecorder, read_back: Proven, tmp_path: Path
) -> None:
    recorder = start_recorder("--", "sh", "-c", f"{WAIT_FOR_GO}; touch done", cwd=tmp_path)
    wait_until((tmp_path / "ready").exists, "for the command")
    recorder.process.kill()
    recorder.process.wait()
    (tmp_path / "go").touch()
    wait_until((tmp_path / "done").exists, "for the command that lost its recorder")
    capture = read_back(recorder.capture)
    assert capture.document.stopped is None
    assert not capture.verdict.finished
    assert not capture.verdict.proven


def test_who_outlives_the_command_is_counted_or_waited_for(
    record: Any, proven: Proven, programs: Path
) -> None:
    left = record(programs / "orphan", "1000")
    assert "1 task of the tree still live, unrecorded from here on (--wait records" in left.stderr
    proven(left.capture)
    waited = record(programs / "orphan", "100", options=["--wait"])
    assert "still live" not in waited.stderr
    capture = proven(waited.capture)
    assert capture.document.stopped is not None
    assert capture.document.stopped.reason == "tree"
    assert {born(fork) for fork in capture.of("fork")} < {identity(end) for end in capture.of("exit")}
