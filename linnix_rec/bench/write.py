"""How fast a real capture, repeated, is written to Parquet, and how large it gets. Knows no kernel."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from linnix_rec.bench.captures import repetitions, write_repeated
from linnix_rec.bench.machine import one_core
from linnix_rec.bench.recordings import record_storm
from linnix_rec.bench.tables import Figure, Table, Tell
from linnix_rec.capture.reader import open_capture

EVENTS: Final = 1_000_000


def measure(runs: int, tell: Tell, *, capture: Path | None = None) -> Iterator[Table]:
    """Yield the table of writing `capture`, or a fork storm recorded now. Raises LinnixRecError."""
    with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as room:
        directory = Path(room)
        if capture is None:
            tell("write: recording a fork storm")
            record_storm(directory / "storm.lrec")
        source = open_capture(capture or directory / "storm.lrec")
        times = repetitions(source, EVENTS)
        rows = sum(segment.rows for segment in source.document.segments)
        written = []
        with one_core():
            for run in range(runs):
                tell(f"write: {rows * times:,} events, run {run + 1} of {runs}")
                written.append(write_repeated(source, times, directory / f"{run}.lrec"))
    yield Table(
        "write",
        "Write to Parquet, one core",
        ("events", "rate", "size"),
        (
            (
                f"{rows * times:,}",
                Figure(tuple(each.events_per_second / 1e6 for each in written), "M events/s"),
                Figure(tuple(each.bytes_per_event for each in written), "bytes an event"),
            ),
        ),
        (f"A capture of {rows:,} events written {times} times; hashing and syncing are part of it.",),
    )
