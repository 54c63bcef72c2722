"""How fast, and in how much memory, a large capture is verified. Knows no kernel."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from linnix_rec.bench.captures import repetitions, write_repeated
from linnix_rec.bench.proving import measure_proving
from linnix_rec.bench.recordings import record_storm
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.capture.reader import open_capture

EVENTS: Final = (1_000_000, 5_000_000)


def measure(runs: int, tell: Tell, *, capture: Path | None = None) -> Iterator[Table]:
    """Yield the table of verifying `capture`, or a storm recorded now, repeated. Raises LinnixRecError."""
    with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as room:
        directory = Path(room)
        if capture is None:
            tell("verify: recording a fork storm")
            record_storm(directory / "storm.lrec")
        source = open_capture(capture or directory / "storm.lrec")
        rows = sum(segment.rows for segment in source.document.segments)
        told: list[tuple[Cell, ...]] = []
        for events in EVENTS:
            times = repetitions(source, events)
            tell(f"verify: writing {rows * times:,} events")
            large = directory / f"{events}.lrec"
            write_repeated(source, times, large)
            tell(f"verify: {rows * times:,} events, {runs} runs")
            proven = [measure_proving(large) for _ in range(runs)]
            rates = tuple(each.events / each.cpu_seconds / 1e6 for each in proven)
            peaks = tuple(each.peak_bytes / 1e6 for each in proven)
            told.append((f"{rows * times:,}", Figure(rates, "M events/s"), Figure(peaks, "MB")))
    yield Table(
        "verify",
        "Verify, CPU seconds of one core and peak memory of the process",
        ("events", "rate", "peak memory"),
        tuple(told),
        (f"A capture of {rows:,} events, repeated so that it stays valid.",),
    )
