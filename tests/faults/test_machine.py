"""The machine changes under a recording: its clock is stepped, a CPU goes and comes back.

Both concern everybody on it, so they run in `make faults` only, for two seconds, and are put right again.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import Read, Recorder, Row

pytestmark = [pytest.mark.kernel, pytest.mark.disrupts]

CPU = Path("/sys/devices/system/cpu/cpu1/online")
STEP_S = 20
NS = 1_000_000_000


def offset_ns() -> int:
    """What the wall clock is ahead of the time since boot."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def set_offset_ns(offset: int) -> None:
    time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset)


@pytest.fixture
def step_clock() -> Iterator[Callable[[int], None]]:
    """Set the clock ahead of where it was by so many seconds; it is put right in the end."""
    begun = offset_ns()
    try:
        yield lambda seconds: set_offset_ns(begun + seconds * NS)
    finally:
        set_offset_ns(begun)


def test_a_clock_that_is_stepped_changes_the_time_column_and_nothing_else(
    start_recorder: Callable[..., Recorder],
    start_process: Callable[..., subprocess.Popen[bytes]],
    proven: Callable[[Path], Read],
    step_clock: Callable[[int], None],
) -> None:
    shell = start_process("/bin/sh", "-c", "while read go; do /bin/true; echo; done")
    assert shell.stdin is not None
    assert shell.stdout is not None
    # Were the clock asked for the age of segments, the step would remove them.
    options = ("--segment", "0.2s", "--keep", f"{STEP_S - 5}s")
    recorder = start_recorder("-p", str(shell.pid), "--ring-slots", "4096", *options)
    recorder.wait_for_recording()
    begun = offset_ns()
    for ahead in (0, STEP_S, 0):
        step_clock(ahead)
        time.sleep(2)  # it is looked at once a second
        shell.stdin.write(b"go\n")
        shell.stdout.readline()
    recorder.process.send_signal(signal.SIGINT)
    assert recorder.end()[0] == 0
    read = proven(recorder.capture)
    assert read.document.pruned is None
    forks = read.of("fork")
    ahead_s = [round((ahead_ns(row) - begun) / NS) for row in forks]
    assert ahead_s == [0, STEP_S, 0]
    boot = [row["boot_ns"] for row in forks]
    assert boot == sorted(boot)
    assert boot[-1] - boot[0] < 15 * NS
    offsets = [(sample.realtime_ns - sample.boot_ns - begun) / NS for sample in read.document.clock]
    assert [round(offset) for offset in offsets] == [0, STEP_S, 0, 0]


def ahead_ns(row: Row) -> int:
    return int(row["time"].timestamp() * NS) - int(row["boot_ns"])


@pytest.fixture
def second_cpu() -> Iterator[Path]:
    if not CPU.exists():
        pytest.skip(f"{CPU} is missing: no CPU that can be taken away")
    try:
        yield CPU
    finally:
        CPU.write_text("1")


def test_a_cpu_that_goes_and_comes_back_is_recorded_throughout(
    start_recorder: Callable[..., Recorder],
    proven: Callable[[Path], Read],
    second_cpu: Path,
    programs: Path,
) -> None:
    recorder = start_recorder("-a", "--prove", "--ring-slots", "65536")
    recorder.wait_for_recording()
    storm = subprocess.Popen([programs / "thread_storm", "1500", "20"])
    try:
        for online in ("0", "1", "0", "1"):
            second_cpu.write_text(online)
            time.sleep(0.3)
    finally:
        storm.wait(60)
    recorder.process.send_signal(signal.SIGINT)
    assert recorder.end()[0] == 0
    read = proven(recorder.capture)
    threads = [row for row in read.of("fork") if row["tgid"] == storm.pid]
    assert len(threads) == 1500 * 20
    account = read.document.accounts
    assert account is not None
    forks = account.events["fork"]
    assert forks.seen == forks.filtered + forks.claimed == account.run_counts["on_newtask"]
    assert forks.claimed == len(read.of("fork"))
