"""What is measured on is as valid as the real capture that it is made of."""

from pathlib import Path

import pyarrow as pa
import pytest

from linnix_rec.bench.captures import IDS_A_REPETITION, Throughput, repeated, repetitions, write_repeated
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import UsageError
from linnix_rec.proof.verify import verify_capture
from tests.story import Story, write_capture


def build() -> Story:
    story = Story()
    shell = story.task(100)
    for tid in range(101, 111):
        child = story.fork(shell, tid)
        story.exec(child, "/bin/true", ["true"])
        story.exit(child)
    return story


def test_a_repeated_capture_is_proven_and_has_every_event_as_often(tmp_path: Path) -> None:
    once = open_capture(write_capture(tmp_path / "once.lrec", build()))
    assert verify_capture(once).proven
    written = write_repeated(once, 7, tmp_path / "seven.lrec")
    verdict = verify_capture(open_capture(tmp_path / "seven.lrec"))
    assert verdict.proven
    assert written.events == 7 * 31
    assert written.size_bytes == sum(path.stat().st_size for path in tmp_path.glob("seven.lrec/*.parquet"))
    assert verdict.events == {kind: 7 * count for kind, count in verify_capture(once).events.items()}


def test_repetitions_go_on_in_tickets_and_time_and_share_no_thread_id() -> None:
    first, second = (pa.Table.from_batches([batch]) for batch in repeated([build().batch()], 100, 0, 2))
    assert second["seq"][0].as_py() == first["seq"][0].as_py() + 100
    assert second["boot_ns"][0].as_py() > first["boot_ns"][-1].as_py()
    assert second["tid"].to_pylist() == [tid + IDS_A_REPETITION for tid in first["tid"].to_pylist()]
    assert second["child_tid"].null_count == first["child_tid"].null_count
    assert second["comm"].to_pylist() == first["comm"].to_pylist()


def test_a_capture_too_small_to_be_repeated_is_refused(tmp_path: Path) -> None:
    once = open_capture(write_capture(tmp_path / "once.lrec", build()))
    assert repetitions(once, 31 * 512) == 512
    with pytest.raises(UsageError, match="has 31 events, too few to make 1,000,000 of: take one of 1,954"):
        repetitions(once, 1_000_000)


def test_rates_are_of_one_core() -> None:
    throughput = Throughput(events=6_000_000, size_bytes=66_000_000, cpu_seconds=2.0)
    assert throughput.events_per_second == 3e6
    assert throughput.bytes_per_event == 11.0
