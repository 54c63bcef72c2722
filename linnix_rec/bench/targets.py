"""Measures the rows that have targets, one after the other. Judges none, and knows no table."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from linnix_rec.bench.captures import repetitions, write_repeated
from linnix_rec.bench.drain import EXECS, FORKS, drain_rate, full_ring
from linnix_rec.bench.dumps import dump_seconds, full_armed_ring
from linnix_rec.bench.figures import Result, result
from linnix_rec.bench.machine import one_core
from linnix_rec.bench.proving import measure_proving
from linnix_rec.bench.recordings import EVIDENCE, record_true_seconds, storm_round
from linnix_rec.capture.reader import open_capture

RUNS: Final = 7
RING_SLOTS: Final = 1 << 18
EXEC_RING_SLOTS: Final = 1 << 16
DUMP_SLOTS: Final = 1 << 20
EVENTS: Final = 5_000_000


def measure() -> Iterator[Result]:
    """Yield each row's result when it is there. Raises LinnixRecError."""
    with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as directory:
        yield from _recordings(Path(directory))
        for row, slots, load in (("drain fork", RING_SLOTS, FORKS), ("drain exec", EXEC_RING_SLOTS, EXECS)):
            with full_ring(slots, load) as ring, one_core():
                yield result(row, (drain_rate(ring) for _ in range(RUNS)))
        with one_core():
            yield from _captures(Path(directory))


def _recordings(directory: Path) -> Iterator[Result]:
    yield result("record true", (record_true_seconds(directory) for _ in range(RUNS)))
    rounds = [storm_round(directory) for _ in range(RUNS)]
    yield result("storm tree", (each.tree_s / each.alone_s for each in rounds))
    yield result("storm host", (each.host_s / each.alone_s for each in rounds))
    yield result("memory", (each.private_bytes / 1e6 for each in rounds))
    for name in EVIDENCE:
        yield result(name, (each.evidence_s[name] / each.tree_s for each in rounds))
    with full_armed_ring(DUMP_SLOTS, FORKS) as name:
        yield result("dump raw", (dump_seconds(name, directory, raw=True) for _ in range(RUNS)))
        yield result("dump capture", (dump_seconds(name, directory, raw=False) for _ in range(RUNS)))


def _captures(directory: Path) -> Iterator[Result]:
    storm = open_capture(directory / "tree.lrec")
    times = repetitions(storm, EVENTS)
    small, large = directory / "1M.lrec", directory / "5M.lrec"
    written = [write_repeated(storm, -(-times // 5), small), write_repeated(storm, times, large)]
    yield result("write rate", (each.events_per_second / 1e6 for each in written))
    yield result("write size", (each.bytes_per_event for each in written))
    pairs = [(measure_proving(small), measure_proving(large)) for _ in range(3)]
    yield result("verify rate", (large.events / large.cpu_seconds / 1e6 for _, large in pairs))
    yield result("verify memory", (large.peak_bytes / small.peak_bytes for small, large in pairs))
