"""Counters of tracepoints: what they count, and what is said where there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.bpf.perf_event import TRACEFS_PATHS, TracepointCounter, tracepoint_id
from linnix_rec.errors import RecordingError


def tracefs(folder: Path, content: str = "313\n") -> Path:
    place = folder / "events" / "sched" / "sched_process_exec"
    place.mkdir(parents=True)
    (place / "id").write_text(content)
    return folder


def test_the_number_stands_in_tracefs(tmp_path: Path) -> None:
    mounted = tracefs(tmp_path / "b")
    assert tracepoint_id("sched", "sched_process_exec", (tmp_path / "a", mounted)) == 313


def test_without_tracefs_it_is_said_how_to_mount_it(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=rf"mount -t tracefs tracefs {tmp_path}/a"):
        tracepoint_id("sched", "sched_process_exec", (tmp_path / "a", tmp_path / "b"))


def test_a_tracepoint_that_is_not_there_is_told_from_no_tracefs(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="this kernel has no tracepoint sched:other"):
        tracepoint_id("sched", "other", (tracefs(tmp_path / "a"),))


def test_a_number_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="can't read the number of the tracepoint"):
        tracepoint_id("sched", "sched_process_exec", (tracefs(tmp_path / "a", "many\nlines"),))


@pytest.mark.kernel
def test_a_stranger_may_not_count_and_is_told_what_it_takes() -> None:
    script = (
        "from linnix_rec.bpf.perf_event import TracepointCounter\n"
        "try: TracepointCounter(1, 0)\n"
        "except Exception as error: print(error)"
    )
    ended = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    if "refused" in ended.stdout:  # kernel.perf_event_paranoid may let everybody
        assert "CAP_PERFMON" in ended.stdout
    else:
        assert Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip() == "-1"


@pytest.mark.kernel
def test_a_cpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(KernelRefusedError, match="refused a perf counter on CPU 100000"):
        TracepointCounter(tracepoint_id("sched", "sched_process_exec"), 100_000)


@pytest.mark.kernel
def test_what_a_cpu_does_is_counted_there() -> None:
    number = tracepoint_id("sched", "sched_process_exec", TRACEFS_PATHS)
    cpu = min(os.sched_getaffinity(0))
    counter = TracepointCounter(number, cpu)
    try:
        before = counter.read()
        for _ in range(5):
            subprocess.run(["taskset", "--cpu-list", str(cpu), "/bin/true"], check=True)
        after = counter.read()
    finally:
        counter.close()
    assert after.count - before.count >= 5
    assert after.running_ns == after.enabled_ns > before.enabled_ns
