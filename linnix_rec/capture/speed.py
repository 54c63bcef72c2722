"""How fast captures are written and read on one core; for `linnix-rec bench`, knows no table it prints.

CPU seconds, not wall time: they are what one core needs, and other work on the machine moves them least.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from linnix_rec.capture.document import CaptureDocument, Stopped
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.writer import CaptureWriter


@dataclass(frozen=True)
class Throughput:
    """What one run took; `size_bytes` is that of the Parquet files."""

    events: int
    size_bytes: int
    cpu_seconds: float

    @property
    def events_per_second(self) -> float:
        """Events a second of one core."""
        return self.events / self.cpu_seconds

    @property
    def bytes_per_event(self) -> float:
        """Parquet bytes an event."""
        return self.size_bytes / self.events


def measure_writing(
    batches: Sequence[pa.RecordBatch], directory: Path, document: CaptureDocument, repeat: int = 1
) -> Throughput:
    """Write the batches `repeat` times as one capture into an empty directory: hashing and syncing included.

    Rows keep their seq when repeated, so the capture is for timing and not for `verify`.
    """
    writer = CaptureWriter(directory, document)
    started = time.process_time()
    for _ in range(repeat):
        for batch in batches:
            writer.write(batch)
    writer.turn_over()
    taken = time.process_time() - started
    writer.close(Stopped("command", "measured", document.started.time, document.started.boot_ns), None)
    return Throughput(writer.rows_written, writer.bytes_written, taken)


def measure_reading(path: Path, columns: Sequence[str] | None = None) -> Throughput:
    """Open the capture at `path` and read these columns of all its events."""
    started = time.process_time()
    capture = open_capture(path)
    events = sum(batch.num_rows for batch in capture.batches(columns))
    taken = time.process_time() - started
    return Throughput(events, sum(segment.path.stat().st_size for segment in capture.segments), taken)
