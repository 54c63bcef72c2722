"""The whole host: the counts are the kernel's own, and a recording may begin and end in any storm."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Read, Recorder

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
StartRecorder = Callable[..., Recorder]
StartProcess = Callable[..., "subprocess.Popen[bytes]"]

TRACEFS = Path("/sys/kernel/tracing")
TRACEPOINTS = {
    "fork": "task:task_newtask",
    "exec": "sched:sched_process_exec",
    "exit": "sched:sched_process_exit",
}
FORK_STORM = "while :; do (: & /bin/true) & (exit 1); wait; done"


@pytest.fixture
def tracefs() -> Iterator[None]:
    """perf finds the tracepoints' numbers there."""
    if (TRACEFS / "events").is_dir():
        yield
        return
    subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACEFS], check=True)
    yield
    subprocess.run(["umount", TRACEFS], check=True)


def counting(report: Path) -> list[str | Path]:
    events = ",".join(TRACEPOINTS.values())
    return ["perf", "stat", "-a", "-x", ";", "-e", events, "-o", report, "--"]


def counted(report: Path) -> dict[str, int]:
    """Counts by kind; perf's fields are count, unit, event, and more."""
    lines = [line.split(";") for line in report.read_text().splitlines() if ";" in line]
    counts = {fields[2]: int(fields[0]) for fields in lines}
    return {kind: counts[event] for kind, event in TRACEPOINTS.items()}


@pytest.mark.usefixtures("tracefs")
def test_the_counts_are_between_those_of_a_witness_inside_and_one_outside(
    proven: Proven, tmp_path: Path, programs: Path
) -> None:
    assert shutil.which("perf"), "perf is the witness: on Debian, apt-get install linux-perf"
    inner, outer, capture = tmp_path / "inner", tmp_path / "outer", tmp_path / "x.lrec"
    storm = f"for i in $(seq 300); do /bin/true; done; {programs / 'thread_storm'} 50 20"
    recorder = [sys.executable, "-m", "linnix_rec", "record", "-q", "--all", "-o", capture, "--"]
    command = [*counting(outer), *recorder, *counting(inner), "sh", "-c", storm]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    captured = proven(capture).verdict.events
    least, most = counted(inner), counted(outer)
    for kind in TRACEPOINTS:
        assert least[kind] <= captured[kind] <= most[kind], kind
    assert least["fork"] >= 1300
    assert least["exec"] >= 300


def test_a_host_is_recorded_until_an_interrupt(
    start_recorder: StartRecorder, start_process: StartProcess, proven: Proven
) -> None:
    recorder = start_recorder("--all")
    recorder.wait_for_recording()
    assert start_process("sh", "-c", "/bin/true; exit 3").wait() == 3
    recorder.process.send_signal(signal.SIGINT)
    status, said = recorder.end()
    assert status == 0
    assert re.search(r"linnix-rec: [\d,]+ events in [\d.]+ s, nothing lost; [\d.]+ kB in ", said)
    capture = proven(recorder.capture)
    assert capture.document.stopped is not None
    assert (capture.document.stopped.reason, capture.document.stopped.detail) == ("signal", "SIGINT")
    assert "/bin/true" in [row["filename"] for row in capture.of("exec")]


def test_a_host_is_recorded_until_it_is_told_to_terminate(
    start_recorder: StartRecorder, proven: Proven
) -> None:
    recorder = start_recorder()
    recorder.wait_for_recording()
    recorder.process.terminate()
    assert recorder.end()[0] == 0
    assert proven(recorder.capture).document.filter.mode == "all"


def test_a_host_is_recorded_for_a_while(record: Any, proven: Proven) -> None:
    recording = record(options=["-d", "300ms"])
    assert recording.status == 0
    capture = proven(recording.capture)
    assert capture.document.stopped is not None
    assert (capture.document.stopped.reason, capture.document.stopped.detail) == ("duration", "0.3 s")
    span_ns = capture.document.stopped.boot_ns - capture.document.started.attached_boot_ns
    assert span_ns >= 300_000_000


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [(["--all", "-d", "0.7s"], True), (["-q", "-d", "0.7s"], False), (["--", "sleep", "0.7"], False)],
)
def test_a_status_line_is_drawn_on_a_terminal_that_no_command_owns(
    tmp_path: Path, arguments: list[str], drawn: bool
) -> None:
    master, slave = os.openpty()
    recorder = [sys.executable, "-m", "linnix_rec", "record", "-o", tmp_path / "x.lrec", *arguments]
    ended = subprocess.run(recorder, stderr=slave, stdin=subprocess.DEVNULL, check=True)
    os.close(slave)
    said = os.read(master, 1 << 16).decode() if "-q" not in arguments else ""
    os.close(master)
    assert ended.returncode == 0
    assert ("· Ctrl-C ends" in said) is drawn


@pytest.mark.parametrize("turn", range(4))
def test_no_rule_cries_wolf_when_a_recording_begins_and_ends_in_a_storm(
    record: Any, proven: Proven, start_process: StartProcess, programs: Path, turn: int
) -> None:
    for _ in range(2):
        start_process("sh", "-c", FORK_STORM)
    start_process("sh", "-c", f"while :; do {programs / 'thread_storm'} 20 20; {programs / 'takeover'}; done")
    recording = record(options=["--all", "-d", f"{300 + 50 * turn}ms"])
    assert recording.status == 0
    capture = proven(recording.capture)
    assert capture.verdict.events["fork"] > 100
