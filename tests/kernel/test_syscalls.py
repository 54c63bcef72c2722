"""Syscalls and failed execs: each is recorded, counted as shed, or left out by name; never silently."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.capture.document import EventAccount
from linnix_rec.capture.schema import EVENT_SCHEMA, WIDE_SCHEMA
from tests.kernel.conftest import Read, Recorder, born, has_begun, identity, wait_until
from tests.kernel.test_overload import stopped_state

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
StartProcess = Callable[..., "subprocess.Popen[bytes]"]
CALLS, FORKS = 10_000, 200


def counted(read: Read, kind: str = "syscall") -> EventAccount:
    assert read.document.accounts is not None
    return read.document.accounts.events[kind]


def test_each_of_many_calls_is_there_with_what_it_returned(
    record: Any, proven: Proven, programs: Path
) -> None:
    recording = record(
        programs / "syscall_storm",
        str(CALLS),
        "3",
        options=["--events", "process,syscall:getppid", "--prove"],
    )
    assert recording.status == 0, recording.stderr
    read = proven(recording.capture)
    calls = read.of("syscall")
    (storm,) = (row for row in read.of("exec") if row["filename"].endswith("/syscall_storm"))
    assert len(calls) == CALLS
    assert {(row["syscall"], row["ret"], row["parent_tgid"]) for row in calls} == {
        ("getppid", storm["tgid"], storm["tgid"])
    }
    assert {row["slots"] for row in calls} == {1}
    assert read.document.format_version == 2
    assert read.document.filter.events == ("process", "syscall:getppid")
    account = counted(read)
    assert (account.claimed, account.shed, account.abandoned) == (CALLS, 0, 0)
    assert len(read.of("fork")) == 4
    (birth,) = (row["seq"] for row in read.of("fork") if born(row) == identity(calls[0]))
    (death,) = (row["seq"] for row in read.of("exit") if identity(row) == identity(calls[0]))
    assert birth < calls[0]["seq"] < calls[-1]["seq"] < death


def test_what_was_captured_and_shed_is_what_perf_counts(
    record: Any, read_back: Proven, tmp_path: Path
) -> None:
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("perf is not installed")
    count = tmp_path / "count"
    copy = ("dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=5000", "status=none")
    recording = record(
        perf, "stat", "-x,", "-o", count, "-e", "raw_syscalls:sys_exit", "--", *copy,
        options=["--events", "process,syscall"],
    )  # fmt: skip
    assert recording.status == 0, recording.stderr
    read = read_back(recording.capture)
    told = next(line for line in count.read_text().splitlines() if "sys_exit" in line).split(",")[0]
    (dd,) = {row["tgid"] for row in read.of("exec") if row["filename"].endswith("/dd")}
    calls = [row for row in read.of("syscall") if row["tgid"] == dd and row["comm"] == "dd"]
    assert read.verdict.lost_tickets == 0
    assert len(calls) + counted(read).shed == int(told) > 10_000
    names = Counter(row["syscall"] for row in calls if row["ret"] == 1)
    if not counted(read).shed:
        assert (names["read"], names["write"]) == (5_000, 5_000)


def test_in_a_storm_that_nobody_reads_syscalls_give_way_and_forks_do_not(
    start_recorder: Callable[..., Recorder],
    start_process: StartProcess,
    read_back: Proven,
    linnix_rec: Any,
    programs: Path,
) -> None:
    storm = f"{programs / 'syscall_storm'} {CALLS} {FORKS}"
    shell = start_process("/bin/sh", "-c", f"read go; {storm}; echo $?; read go; exit 0")
    assert shell.stdin is not None
    assert shell.stdout is not None
    recorder = start_recorder(
        "-p", str(shell.pid), "--ring-slots", "4096", "--events", "syscall:getppid", "--prove"
    )
    recorder.wait_for_recording()
    recorder.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: stopped_state(recorder.process.pid) == "T", "for the recorder to stop")
    shell.stdin.write(b"go\n")
    assert shell.stdout.readline() == b"0\n"
    recorder.process.send_signal(signal.SIGCONT)
    shell.stdin.write(b"go\n")
    status, complaint = recorder.end()
    assert status == 0, complaint
    read = read_back(recorder.capture)
    account = counted(read)
    assert account.claimed + account.shed == CALLS
    assert 4096 / 2 - 2 * FORKS - 64 < account.claimed < CALLS
    assert len(read.of("syscall")) == account.claimed
    (first,) = (row for row in read.of("exec") if row["filename"].endswith("/syscall_storm"))
    children = [born(fork) for fork in read.of("fork") if identity(fork) == identity(first)]
    ended = {identity(row): row["exit_code"] for row in read.of("exit")}
    assert [ended[child] for child in children] == [0] + [7] * FORKS
    assert (read.verdict.lost_tickets, read.verdict.shed) == (0, account.shed)
    assert f"{account.shed:,} syscalls shed" in complaint
    verdict = linnix_rec("verify", recorder.capture)
    assert verdict.returncode == 1
    assert f"{account.shed:,} syscalls shed" in verdict.stdout
    assert "forks, execs and exits are proven" in verdict.stdout
    assert linnix_rec("verify", "--allow-loss", recorder.capture).returncode == 0


def test_an_exec_that_fails_has_its_path_and_why(record: Any, proven: Proven, tmp_path: Path) -> None:
    unfit = tmp_path / "unfit"
    unfit.write_text("#!/nonexistent\n")
    long = f"/{'d' * 200}/{'f' * 150}"
    execs = [
        (str(unfit), errno.EACCES),
        ("/nonexistent", errno.ENOENT),
        ("", errno.ENOENT),
        (long, errno.ENOENT),
    ]
    too_long = "/" + "x" * 3000
    script = f"""
import os
for path in {[path for path, _ in execs]!r} + [{too_long!r}]:
    try:
        os.execv(path, ["x"])
    except OSError:
        pass
"""
    recording = record(sys.executable, "-c", script, options=["--events", "process,failed-exec"])
    assert recording.status == 0, recording.stderr
    read = proven(recording.capture)
    (python,) = {identity(row) for row in read.of("exec") if row["argv"][1:2] == ["-c"]}
    failed = [row for row in read.of("failed-exec") if identity(row) == python]
    assert [(row["filename"], row["errno"]) for row in failed[:-1]] == execs
    assert [row["slots"] for row in failed[:-1]] == [
        1 + -(-max(0, len(path) - 32) // 112) for path, _ in execs
    ]
    assert not any(row["argv_truncated"] for row in failed[:-1])
    assert failed[-1]["argv_truncated"]
    assert len(failed[-1]["filename"]) > 900
    assert too_long.startswith(failed[-1]["filename"])
    assert counted(read, "failed-exec").claimed == len(read.of("failed-exec"))


def test_a_syscall_lasts_from_its_beginning_to_its_return(record: Any, proven: Proven) -> None:
    script = "import os, select; select.select([], [], [], 0.05); os.close(os.open('/dev/null', os.O_RDONLY))"
    events = "syscall:select,pselect6,openat,close"
    recording = record(sys.executable, "-c", script, options=["--events", events])
    assert recording.status == 0, recording.stderr
    calls = proven(recording.capture).of("syscall")
    waits = [row for row in calls if row["syscall"] in ("select", "pselect6")]
    assert max(row["duration_ns"] for row in waits) >= 50_000_000
    opened = {row["ret"] for row in calls if row["syscall"] == "openat" and row["ret"] >= 0}
    assert {row["syscall"] for row in calls} <= {"select", "pselect6", "openat", "close"}
    assert {row["arg0"] for row in calls if row["syscall"] == "close" and row["ret"] == 0} & opened


def test_the_recorder_does_not_record_its_own(
    start_recorder: Callable[..., Recorder], read_back: Proven, programs: Path
) -> None:
    recorder = start_recorder("-a", "--events", "syscall:getppid,write,fsync,futex", "--ring-slots", "65536")
    recorder.wait_for_recording()
    subprocess.run([programs / "syscall_storm", "1000", "1"], check=True)
    recorder.process.send_signal(signal.SIGUSR1)  # writes a segment
    wait_until(lambda: any(recorder.capture.glob("*.parquet")), "for a segment")
    recorder.process.send_signal(signal.SIGINT)
    status, complaint = recorder.end()
    assert status == 0, complaint
    calls = read_back(recorder.capture).of("syscall")
    assert sum(row["comm"] == "syscall_storm" and row["syscall"] == "getppid" for row in calls) == 1000
    assert recorder.process.pid not in {row["tgid"] for row in calls}


def test_a_call_by_another_table_is_marked_as_such(record: Any, proven: Proven, programs: Path) -> None:
    recording = record(programs / "compat_call", options=["--events", "syscall"])
    read = proven(recording.capture)
    named = {row["syscall"]: row for row in read.of("syscall")}
    if recording.stdout != "1\n":
        pytest.skip("this kernel, or machine, has no 32-bit table")
    process = next(row["tgid"] for row in read.of("exec") if row["filename"].endswith("/compat_call"))
    assert (named["compat_20"]["nr"], named["compat_20"]["ret"]) == (20, process)
    assert named["getpid"]["ret"] == process
    by_name = proven(record(programs / "compat_call", options=["--events", "syscall:getpid"]).capture)
    assert {row["syscall"] for row in by_name.of("syscall")} == {"getpid"}


def test_a_recording_of_processes_loads_nothing_for_syscalls(record: Any, proven: Proven) -> None:
    read = proven(record("/bin/true", options=["--prove"]).capture)
    assert read.document.accounts is not None
    assert not {"on_sys_enter", "on_sys_exit"} & set(read.document.accounts.run_counts)
    assert not {"syscall", "failed-exec"} & set(read.document.accounts.events)
    assert read.document.format_version == 1
    assert read.capture.schema.equals(EVENT_SCHEMA)


def test_a_killed_recorder_s_syscalls_are_gone_on_with(
    start_linnix_rec: Callable[..., subprocess.Popen[str]],
    start_process: StartProcess,
    pin_name: Callable[[], str],
    proven: Proven,
    linnix_rec: Any,
    programs: Path,
    tmp_path: Path,
) -> None:
    storm = f"{programs / 'syscall_storm'} 500 2"
    shell = start_process("/bin/sh", "-c", f"read go; {storm}; echo; read go; {storm}; exit 0")
    assert shell.stdin is not None
    assert shell.stdout is not None
    capture = tmp_path / "a.lrec"
    options = ("--pin", pin_name(), "-p", str(shell.pid), "--events", "syscall:getppid", "-o", capture)
    recorder = start_linnix_rec("record", *options)
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    shell.stdin.write(b"go\n")
    assert shell.stdout.readline() == b"\n"
    os.kill(recorder.pid, signal.SIGKILL)
    recorder.wait()
    shell.stdin.write(b"go\n")
    resumed = linnix_rec("record", "--resume", capture)
    assert resumed.returncode == 0, resumed.stderr
    read = proven(capture)
    assert sum(row["syscall"] == "getppid" for row in read.of("syscall")) == 1000
    assert read.capture.schema.equals(WIDE_SCHEMA)
