"""What the paper's experiment tells of an attempt is what the kernel and the capture say."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from linnix_rec.bench import capture as experiment
from linnix_rec.bench.capture import (
    CHANNELS,
    COLUMNS,
    Attempt,
    Load,
    channel_options,
    counted,
    memory_bytes,
    missing_share,
    paper_bytes,
    row,
    told_problems,
    turns,
)
from linnix_rec.bench.storm import Storm
from linnix_rec.bench.tables import Figure, told
from linnix_rec.capture.document import Channel
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import LinnixRecError
from tests.story import Story, write_capture

LOAD = Load("2 workers", ("true",))
STORM = Storm({"fork": 500, "exec": 0, "exit": 500}, True, 0, 2_000_000_000)


def attempts(*captured: int, inversions: int = 0) -> list[Attempt]:
    return [Attempt(STORM, each, 1000 - each, inversions, 1 << 20) for each in captured]


def test_a_row_holds_what_was_made_captured_and_missing() -> None:
    alone = [Attempt(replace(STORM, end_boot_ns=1_000_000_000))] * 2
    cells = dict(zip(COLUMNS, row(LOAD, "perf", attempts(900, 250, inversions=7), alone), strict=True))
    assert (cells["load"], cells["channel"], told(cells["memory"])) == ("2 workers", "perf", "1 MiB")
    assert cells["made"] == Figure((1000, 1000))
    assert cells["captured"] == Figure((90.0, 25.0), "%")
    assert cells["missing"] == cells["said lost"] == Figure((100, 750))
    assert cells["inversions"] == Figure((7, 7))
    assert cells["slowdown"] == Figure((2.0, 2.0))


def test_a_channel_that_this_kernel_lacks_says_so_in_its_row() -> None:
    failed = [*attempts(1000), Attempt(problem="no process connector here")]
    cells = row(LOAD, "connector", failed, [Attempt(STORM)] * 2)
    assert cells[:3] == ("2 workers", "connector", "failed")
    assert set(cells[3:]) == {""}
    assert missing_share(failed) == "failed"
    assert list(told_problems({"perf": attempts(1), "connector": failed})) == [
        "connector failed: no process connector here"
    ]


def test_the_share_that_is_missing_is_of_what_was_made() -> None:
    assert missing_share(attempts(1000, 750)) == Figure((0.0, 25.0), "%")


@pytest.mark.parametrize(
    ("channel", "total_bytes", "cpus", "options"),
    [
        ("sequencer", 1 << 20, 2, ("--source", "sequencer", "--ring-slots", "8192")),
        ("sequencer", 64 << 10, 2, ("--source", "sequencer", "--ring-slots", "1024")),
        ("ringbuf", 1 << 20, 2, ("--source", "ringbuf", "--size", "1048576")),
        ("perf", 1 << 20, 2, ("--source", "perf", "--size", "524288")),
        ("perf", 1 << 20, 6, ("--source", "perf", "--size", "131072")),
        ("perf, as read", 1 << 20, 1, ("--source", "perf", "--merge", "none", "--size", "1048576")),
        ("connector", 212_992, 2, ("--source", "connector", "--size", "106496")),
    ],
)
def test_all_channels_get_the_same_memory(
    channel: str, total_bytes: int, cpus: int, options: tuple[str, ...]
) -> None:
    assert channel_options(channel, total_bytes, cpus) == options


def test_each_run_begins_with_another_channel() -> None:
    channels = list(CHANNELS)
    assert [turns(channels, run)[0] for run in range(6)] == [*channels, channels[0]]
    assert sorted(turns(channels, 2)) == sorted(channels)
    assert set(paper_bytes(2)) == set(channels)


def test_only_what_happened_during_the_storm_is_captured_of_it(tmp_path: Path) -> None:
    story = Story()
    shell = story.task(100)
    for tid in (101, 102, 103):
        story.exit(story.fork(shell, tid))
    capture = open_capture(write_capture(tmp_path / "a.lrec", story))
    times = [ns for batch in capture.batches(["boot_ns"]) for ns in batch["boot_ns"].to_pylist()]
    storm = Storm({"fork": 2, "exec": 0, "exit": 2}, True, times[1], times[4])
    found = counted(capture, storm)
    assert (found.captured, found.inversions, found.said_lost) == (4, 0, 0)
    assert found.memory_bytes == capture.document.ring_slots * 128


def test_memory_is_what_the_channel_says_of_itself(tmp_path: Path) -> None:
    document = open_capture(write_capture(tmp_path / "a.lrec", Story())).document
    assert memory_bytes(replace(document, channel=Channel(bytes=1 << 17, buffers=2))) == 1 << 17


def test_a_directory_with_something_in_it_is_not_kept_in(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(LinnixRecError, match="is not empty: name a new directory"):
        next(experiment.measure(1, lambda _line: None, keep=tmp_path))


@pytest.mark.kernel
def test_a_storm_that_is_recorded_is_captured_with_what_the_kernel_counts(tmp_path: Path) -> None:
    storm = (sys.executable, "-m", "linnix_rec.bench.storm", "--workers", "2", "--forks", "300")
    path = tmp_path / "a.lrec"
    record = (
        sys.executable,
        "-m",
        "linnix_rec",
        "record",
        "-q",
        "-a",
        "--ring-slots",
        "65536",
        "-o",
        str(path),
        "--",
    )
    found = experiment.attempt(record, storm, path)
    assert (found.problem, found.said_lost, found.inversions, found.memory_bytes) == ("", 0, 0, 8 << 20)
    assert found.storm is not None
    # Each fork and exit of the workers' children is there; of others' one may stand at the edge.
    assert 2 * 300 <= found.captured <= found.storm.events


def test_a_recorder_that_refuses_is_the_attempt_s_problem() -> None:
    refusing = ("sh", "-c", "echo 'linnix-rec: error: no such source' >&2; exit 125")
    assert experiment.attempt(refusing, (), None) == Attempt(problem="no such source")
