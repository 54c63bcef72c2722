"""A disk that really fills up: what was recorded before can be read, and the message says until where."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from linnix_rec.capture.document import Stopped
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import RecordingError
from tests.story import Story, document

pytestmark = pytest.mark.kernel


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount_point], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", mount_point], check=True)


def noisy_events(count: int) -> pa.RecordBatch:
    """Exits with random CPU times, which no encoding makes small."""
    story = Story()
    story.exit(story.task(1))
    many = story.batch().take(pa.array(np.ones(count, np.int64)))
    random = np.random.default_rng(1).integers(0, 1 << 63, count, np.uint64)
    columns = {name: many.column(name) for name in EVENT_SCHEMA.names}
    columns["seq"] = pa.array(np.arange(count, dtype=np.uint64))
    columns["cpu_ns"] = pa.array(random)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=EVENT_SCHEMA)


def write_in_batches(writer: CaptureWriter, events: pa.RecordBatch) -> None:
    for begin in range(0, events.num_rows, 5000):
        writer.write(events.slice(begin, 5000))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_keeps_all_closed_segments(small_disk: Path) -> None:
    path = small_disk / "a.lrec"
    prepare_directory(path, force=False)
    writer = CaptureWriter(path, document(), segment_rows=20_000, segment_seconds=3600)
    events = noisy_events(400_000)
    with pytest.raises(RecordingError) as caught:
        write_in_batches(writer, events)
    told = re.fullmatch(
        rf"can't write to {path}: the disk is full; the recording stops before seq (\d+), "
        "what was recorded before can be read",
        str(caught.value),
    )
    assert told is not None
    stopped_at = int(told[1])
    # Nothing else may have grown into the space that the failed segment held: the last word needs its own.
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    writer.close(Stopped("disk full", str(caught.value), "2026-09-21T14:17:00Z", 5), None)
    capture = open_capture(path)
    assert capture.document.stopped is not None
    assert capture.document.stopped.reason == "disk full"
    seqs = np.concatenate([batch["seq"].to_numpy() for batch in capture.batches(["seq"])])
    assert seqs.tolist() == list(range(stopped_at))
    assert stopped_at % 20_000 == 0
    assert stopped_at >= 100_000
    assert capture.findings() == []
    assert [entry.name for entry in path.iterdir() if entry.suffix not in (".parquet", ".json")] == []
