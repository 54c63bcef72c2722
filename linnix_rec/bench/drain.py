"""How fast a ring full of real slots is drained and decoded. Knows no file.

CPU seconds of one thread, here and in the other rates: what one core needs, whatever else runs.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from linnix_rec.bench.machine import one_core
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.errors import LinnixRecError
from linnix_rec.ring.cursor import Cursor, Ring, Run
from linnix_rec.session.recording import READ_TICKETS
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.sequencer import SequencerSource, load_sequencer

FORKS: Final = ("stress-ng", "--quiet", "--fork", "2")
EXECS: Final = ("sh", "-c", "while :; do /bin/true; done")

RINGS: Final = (
    ("full of forks and exits", 1 << 18, FORKS),
    ("full of execs", 1 << 16, EXECS),
)
_PATIENCE_SECONDS: Final = 180.0


def measure(runs: int, tell: Tell) -> Iterator[Table]:
    """Yield the table of draining and decoding on one core. Raises LinnixRecError."""
    rows: list[tuple[Cell, ...]] = []
    for what, slots, load in RINGS:
        tell(f"drain: a ring of {slots:,} slots {what}")
        with full_ring(slots, load) as ring, one_core():
            rates = tuple(drain_rate(ring) for _ in range(runs))
        rows.append((what, Figure(rates, "M events/s")))
    yield Table("drain", "Drain and decode, one core", ("ring", "rate"), tuple(rows))


@contextmanager
def full_ring(slots: int, load: Sequence[str]) -> Iterator[Ring]:
    """A ring that this kernel filled with events of the whole host while `load` ran, detached."""
    if shutil.which(load[0]) is None:
        raise LinnixRecError(f"{load[0]} is not there to make events: install it")
    with SequencerSource(load_sequencer(slots, tree_only=False), _decoder()) as source:
        source.attach()
        started = subprocess.Popen(load, start_new_session=True)
        try:
            give_up = time.monotonic() + _PATIENCE_SECONDS
            while source.issued < slots:
                if started.poll() is not None or time.monotonic() > give_up:
                    raise LinnixRecError(f"{source.issued} events of {slots}: the load ended or is too slow")
                time.sleep(0.05)
        finally:
            os.killpg(started.pid, signal.SIGTERM)
            started.wait()
        source.detach()
        yield source.ring


def drain_rate(ring: Ring) -> float:
    """Read and decode all that the ring holds, as a recording does; give M events/s."""
    cursor, decoder, events = Cursor(ring), _decoder(), 0
    started = time.thread_time()
    while cursor.lag:
        for piece in cursor.read(READ_TICKETS, final=True):
            if isinstance(piece, Run):
                events += decoder.batch(piece).num_rows
    return events / (time.thread_time() - started) / 1e6


def _decoder() -> Decoder:
    return Decoder(os.sysconf("SC_PAGE_SIZE"), realtime_offset_ns=time.time_ns())
