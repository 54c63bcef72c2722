"""Measurements count what they did; how long it took is not tested."""

from pathlib import Path

from linnix_rec.capture.speed import Throughput, measure_reading, measure_writing
from tests.story import Story, document


def test_writing_and_reading_are_measured_on_the_same_events(tmp_path: Path) -> None:
    story = Story()
    task = story.task(1)
    for _ in range(99):
        story.exit(task)
    written = measure_writing([story.batch()], tmp_path, document(), repeat=7)
    read = measure_reading(tmp_path, ["seq", "kind"])
    assert (written.events, read.events) == (700, 700)
    assert written.size_bytes == read.size_bytes
    assert written.size_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))


def test_rates_are_of_one_core() -> None:
    throughput = Throughput(events=6_000_000, size_bytes=66_000_000, cpu_seconds=2.0)
    assert throughput.events_per_second == 3e6
    assert throughput.bytes_per_event == 11.0
