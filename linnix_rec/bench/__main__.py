"""`python -m linnix_rec.bench`: measures every row, prints the table, writes benchmarks/results.json."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from linnix_rec.bench.captures import write_repeated
from linnix_rec.bench.drain import EXECS, FORKS, drain_rate, full_ring
from linnix_rec.bench.dumps import dump_seconds, full_armed_ring
from linnix_rec.bench.figures import Figure, document, table
from linnix_rec.bench.proving import measure_proving
from linnix_rec.bench.recordings import EVIDENCE, record_true_seconds, storm_round
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import LinnixRecError

RESULTS: Final = Path("benchmarks/results.json")
RUNS: Final = 7
RING_SLOTS: Final = 1 << 18
EXEC_RING_SLOTS: Final = 1 << 16
DUMP_SLOTS: Final = 1 << 20
EVENTS: Final = 5_000_000


def main() -> int:
    """Measure; gives the exit status. A missed target is no failure: the table says so."""
    figures: list[Figure] = []
    try:
        with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as directory:
            for figure in _figures(Path(directory)):
                figures.append(figure)
                sys.stdout.writelines(f"{line}\n" for line in table([figure]))
                sys.stdout.flush()
    except LinnixRecError as error:
        sys.stderr.write(f"bench: error: {error}\n")
        return error.exit_status
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document(figures, _machine()), indent=2) + "\n")
    return 0


def _figures(directory: Path) -> Iterator[Figure]:
    # First what runs freely, then what is for one core: children of a pinned process are pinned too.
    yield Figure("record true", tuple(record_true_seconds(directory) for _ in range(RUNS)))
    rounds = [storm_round(directory) for _ in range(RUNS)]
    yield Figure("storm tree", tuple(each.tree_s / each.alone_s for each in rounds))
    yield Figure("storm host", tuple(each.host_s / each.alone_s for each in rounds))
    yield Figure("memory", tuple(each.private_bytes / 1e6 for each in rounds))
    for name in EVIDENCE:
        yield Figure(name, tuple(each.evidence_s[name] / each.tree_s for each in rounds))
    with full_armed_ring(DUMP_SLOTS, FORKS) as name:
        yield Figure("dump raw", tuple(dump_seconds(name, directory, raw=True) for _ in range(RUNS)))
        yield Figure("dump capture", tuple(dump_seconds(name, directory, raw=False) for _ in range(RUNS)))
    for row, slots, load in (("drain fork", RING_SLOTS, FORKS), ("drain exec", EXEC_RING_SLOTS, EXECS)):
        with full_ring(slots, load) as ring:
            everywhere = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {max(everywhere)})
            yield Figure(row, tuple(drain_rate(ring) for _ in range(RUNS)))
            os.sched_setaffinity(0, everywhere)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    yield from _captures(directory)


def _captures(directory: Path) -> Iterator[Figure]:
    storm = open_capture(directory / "tree.lrec")
    times = -(-EVENTS // sum(segment.rows for segment in storm.document.segments))
    small, large = directory / "1M.lrec", directory / "5M.lrec"
    written = [write_repeated(storm, -(-times // 5), small), write_repeated(storm, times, large)]
    yield Figure("write rate", tuple(each.events_per_second / 1e6 for each in written))
    yield Figure("write size", tuple(each.bytes_per_event for each in written))
    pairs = [(measure_proving(small), measure_proving(large)) for _ in range(3)]
    yield Figure("verify rate", tuple(large.events / large.cpu_seconds / 1e6 for _, large in pairs))
    yield Figure("verify memory", tuple(large.peak_bytes / small.peak_bytes for small, large in pairs))


def _machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
    }


if __name__ == "__main__":
    sys.exit(main())
