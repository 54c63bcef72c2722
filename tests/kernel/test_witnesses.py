"""`record --witness`: the process connector and perf saw what the capture says, event by event."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from linnix_rec.capture.reader import open_capture
from linnix_rec.proof.connector import check_connector
from tests.conftest import Record
from tests.kernel.conftest import Recorder

pytestmark = pytest.mark.kernel

BOTH = ("--witness", "perf", "--witness", "connector")
WHOLE_HOST = ("--all",)
TREE = ()

PROGRAMS = (
    "takeover", "takeover_fails", "clone_parent", "vforker", "leader_first", "orphan", "odd_names",
    "posix_spawner", "thread_storm",
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_tree_s_events_are_all_witnessed(record: Record, programs: Path, program: str) -> None:
    recording = record(programs / program, options=BOTH)
    capture = open_capture(recording.capture)
    result = check_connector(capture)
    events = sum(
        segment.metadata.rows[kind] for segment in capture.segments for kind in ("fork", "exec", "exit")
    )
    assert (result.violated, result.unknown) == (0, 0), result
    assert result.checked == events > 0
    assert result.note == f"{events:,} events in both, 0 only here, 0 only there, it lost 0"


@pytest.mark.parametrize("options", [WHOLE_HOST, TREE], ids=["whole host", "tree"])
def test_a_storm_is_witnessed_whole(record: Record, programs: Path, options: tuple[str, ...]) -> None:
    recording = record(programs / "vfork_storm", "10000", options=[*options, *BOTH])
    assert recording.status == 0, recording.stderr
    capture = open_capture(recording.capture)
    result = check_connector(capture)
    assert result.violated == 0, result
    assert result.checked >= 20_000
    perf, accounts = capture.document.perf, capture.document.accounts
    assert perf is not None
    assert perf.complete
    assert accounts is not None
    for kind, counted in accounts.events.items():
        if kind != "task":
            assert perf.inner[kind] <= counted.seen <= perf.outer[kind]
    assert capture.document.connector is not None
    assert capture.document.connector.lost == {}


def test_takeovers_by_the_hundred_are_witnessed(record: Record, programs: Path) -> None:
    script = 'for i in $(seq 100); do "$0" >/dev/null & "$0" >/dev/null; wait; done'
    recording = record("/bin/sh", "-c", script, programs / "takeover", options=BOTH)
    result = check_connector(open_capture(recording.capture))
    assert (result.violated, result.unknown) == (0, 0), result
    assert result.checked > 100 * 2 * 4


def test_what_the_ring_lost_is_told_as_ours(
    start_recorder: Callable[..., Recorder], programs: Path, tmp_path: Path
) -> None:
    recorder = start_recorder("-a", "--ring-slots", "1024", *BOTH)
    recorder.wait_for_recording()
    os.kill(recorder.process.pid, signal.SIGSTOP)
    try:
        subprocess.run([programs / "vfork_storm", "3000"], check=True)
    finally:
        os.kill(recorder.process.pid, signal.SIGCONT)
    recorder.process.send_signal(signal.SIGINT)
    status, complaint = recorder.end()
    assert status == 0, complaint
    capture = open_capture(recorder.capture)
    lost = sum(
        sum(batch.column("lost").drop_null().to_pylist())
        for batch in capture.batches(["lost"], kinds=["gap"])
    )
    assert lost >= 6000 - 2 * 1024
    result = check_connector(capture)
    assert result.violated == 0, result
    assert 0 < result.unknown <= lost
    assert "in our gaps" in result.note
    assert capture.document.connector is not None
    assert capture.document.connector.overruns == 0
