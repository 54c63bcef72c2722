"""Recorders beside each other, of all kinds: each is complete, and they agree event by event."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Read, Recorder, Row, has_begun, wait_until

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]


def identity_of(row: Row) -> tuple[Any, ...]:
    """What an event is, whoever recorded it: all but the ticket and the times of recording."""
    names = ("kind", "tid", "start_ns", "child_tid", "child_start_ns", "filename", "exit_code", "exit_signal")
    argv = row["argv"]
    return (*(row[name] for name in names), None if argv is None else tuple(argv))


def own_events(read: Read, storm: int) -> list[tuple[Any, ...]]:
    """The events of one process, in order."""
    return [identity_of(row) for row in read.rows if row["tgid"] == storm and row["kind"] != "task"]


def run_storm(programs: Path, rounds: int) -> int:
    """Twenty threads a round; gives the process id, for others may run such a program, too."""
    with subprocess.Popen([programs / "thread_storm", str(rounds), "20"]) as storm:
        assert storm.wait() == 0
        return storm.pid


def end(recorder: Recorder) -> None:
    recorder.process.send_signal(signal.SIGINT)
    status, complaint = recorder.end()
    assert status == 0, complaint


def test_two_recorders_see_the_same_events_in_the_same_order(
    start_recorder: Callable[..., Recorder], proven: Proven, programs: Path
) -> None:
    """Causes and effects, that is: two events that have nothing to do with each other may change places."""
    first, second = start_recorder("-a", "--ring-slots", "65536"), start_recorder("-a")
    first.wait_for_recording()
    second.wait_for_recording()
    storm = run_storm(programs, 50)
    end(first)
    end(second)
    ours, theirs = (own_events(proven(each.capture), storm) for each in (first, second))
    assert len(ours) == 2002  # 1,000 threads are born and end; one exec, and one exit
    assert sorted(ours, key=repr) == sorted(theirs, key=repr)
    for thread in {event[1] for event in ours}:
        mine, its = ([event for event in events if event[1] == thread] for events in (ours, theirs))
        assert mine == its


def test_a_recorder_that_ends_leaves_the_other_alone(
    start_recorder: Callable[..., Recorder], proven: Proven, programs: Path
) -> None:
    first, second = (
        start_recorder("-a", "--ring-slots", "65536"),
        start_recorder("-a", "--ring-slots", "65536"),
    )
    first.wait_for_recording()
    second.wait_for_recording()
    end(first)
    storm = run_storm(programs, 5)
    end(second)
    assert own_events(proven(first.capture), storm) == []
    assert len(own_events(proven(second.capture), storm)) == 202


def test_recorded_pinned_armed_and_dumped_at_once_each_is_complete(
    start_recorder: Callable[..., Recorder],
    pin_name: Callable[[], str],
    linnix_rec: Any,
    proven: Proven,
    read_back: Proven,
    programs: Path,
    tmp_path: Path,
) -> None:
    armed, pinned, dumped = pin_name(), pin_name(), tmp_path / "dumped.lrec"
    plain = start_recorder("-a", "--ring-slots", "65536")
    with_pin = start_recorder("-a", "--ring-slots", "65536", "--pin", pinned)
    assert linnix_rec("arm", armed, "--ring-slots", "65536").returncode == 0
    wait_until(lambda: has_begun(plain.capture) and has_begun(with_pin.capture), "for all to begin")
    storm = run_storm(programs, 50)
    assert linnix_rec("dump", armed, "-o", dumped).returncode == 0
    of_the_recorded = tmp_path / "of-the-recorded.lrec"
    assert linnix_rec("dump", pinned, "-o", of_the_recorded).returncode == 0
    end(plain)
    end(with_pin)
    assert linnix_rec("disarm", armed).returncode == 0
    captures = [
        proven(plain.capture),
        proven(with_pin.capture),
        read_back(dumped),
        read_back(of_the_recorded),
    ]
    first, *others = (sorted(own_events(read, storm), key=repr) for read in captures)
    assert len(first) == 2002
    assert others == [first] * 3
