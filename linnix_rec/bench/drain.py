"""How fast what a channel holds is drained and decoded: our readers, and one in C beside them. Knows no file.

CPU seconds of one thread, here and in the other rates: what one core needs, whatever else runs.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from linnix_rec.bench.c_consumer import build, consume
from linnix_rec.bench.machine import one_core
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.bpf.ringbuf import map_ringbuf
from linnix_rec.errors import LinnixRecError
from linnix_rec.ring.cursor import Cursor, Ring, Run
from linnix_rec.session.recording import READ_TICKETS
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.ringbuf import LoadedRingbuf, RingbufSource, load_ringbuf
from linnix_rec.sources.sequencer import SequencerSource, load_sequencer

FORKS: Final = ("stress-ng", "--quiet", "--fork", "2")
OWN_FORKS: Final = (sys.executable, "-m", "linnix_rec.bench.storm", "--workers", "2", "--forks", "100000000")
EXECS: Final = ("sh", "-c", "while :; do /bin/true; done")

CHANNELS: Final = (
    ("full of forks and exits", 1 << 18, OWN_FORKS),
    ("full of execs", 1 << 16, EXECS),
)
_PATIENCE_SECONDS: Final = 180.0
#: A ring buffer of twice the ring's bytes holds the same events, each with a header of 8 bytes.
_RINGBUF_BYTES_A_SLOT: Final = 256

_NOTES: Final = (
    "The same events in both. In C: ring_buffer__consume(), and a function that copies the same columns.",
    "Ours make Arrow batches, names and paths in dictionaries; the one in C leaves bytes as they are.",
)


@dataclass(frozen=True)
class Filled:
    """The same events in both channels; nothing is attached any more."""

    ring: Ring
    ringbuf: LoadedRingbuf


def measure(runs: int, tell: Tell) -> Iterator[Table]:
    """Yield the table of draining and decoding on one core. Raises LinnixRecError."""
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory(prefix="linnix-rec-bench-") as room:
        program, lacking = built(Path(room))
        for what, slots, load in CHANNELS:
            tell(f"drain: {slots:,} slots {what}")
            with full_channels(slots, load) as filled, one_core():
                sequencer, ringbuf, in_c = [], [], []
                for _ in range(runs):
                    sequencer.append(drain_rate(filled.ring))
                    ringbuf.append(ringbuf_rate(filled.ringbuf))
                    if program is not None:
                        in_c.append(c_rate(filled.ringbuf, program))
            rates = (_rate(sequencer), _rate(ringbuf), _rate(in_c) if in_c else lacking)
            rows.append((what, *rates))
    yield Table(
        "drain",
        "Drain and decode, one core",
        ("channel", "sequencer", "ring buffer", "ring buffer, libbpf in C"),
        tuple(rows),
        _NOTES,
    )


def built(directory: Path) -> tuple[Path | None, str]:
    """Give the C consumer, or what it lacks."""
    try:
        return build(directory), ""
    except LinnixRecError as error:
        return None, str(error)


@contextmanager
def full_channels(slots: int, load: Sequence[str]) -> Iterator[Filled]:
    """Both channels, filled by this kernel with events of the whole host while `load` ran, detached."""
    ringbuf_bytes = slots * _RINGBUF_BYTES_A_SLOT
    with ExitStack() as stack:
        loaded = load_ringbuf(ringbuf_bytes, wakeup="none", tree_only=False)
        ringbuf = stack.enter_context(RingbufSource(loaded, new_decoder()))
        sequencer = stack.enter_context(
            SequencerSource(load_sequencer(slots, tree_only=False), new_decoder())
        )
        ringbuf.attach()
        sequencer.attach()
        _fill(load, lambda: sequencer.issued, slots)
        sequencer.detach()
        ringbuf.detach()
        yield Filled(sequencer.ring, loaded)


@contextmanager
def full_ring(slots: int, load: Sequence[str]) -> Iterator[Ring]:
    """A ring that this kernel filled with events of the whole host while `load` ran, detached."""
    with SequencerSource(load_sequencer(slots, tree_only=False), new_decoder()) as source:
        source.attach()
        _fill(load, lambda: source.issued, slots)
        source.detach()
        yield source.ring


def _fill(load: Sequence[str], issued: Callable[[], int], slots: int) -> None:
    """Let the load run until so many tickets are issued."""
    if shutil.which(load[0]) is None:
        raise LinnixRecError(f"{load[0]} is not there to make events: install it")
    started = subprocess.Popen(load, start_new_session=True)
    try:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while issued() < slots:
            if started.poll() is not None or time.monotonic() > give_up:
                raise LinnixRecError(f"{issued()} events of {slots}: the load ended or is too slow")
            time.sleep(0.05)
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait()


def drain_rate(ring: Ring) -> float:
    """Read and decode all that the ring holds, as a recording does; give M events/s."""
    cursor, decoder = Cursor(ring), new_decoder()
    started = time.thread_time()
    events = drain(cursor, decoder)
    return events / (time.thread_time() - started) / 1e6


def drain(cursor: Cursor, decoder: Decoder) -> int:
    """Read and decode all that the ring holds; give how many events."""
    events = 0
    while cursor.lag:
        for piece in cursor.read(READ_TICKETS, final=True):
            if isinstance(piece, Run):
                events += decoder.batch(piece).num_rows
    return events


def ringbuf_rate(loaded: LoadedRingbuf) -> float:
    """Read and decode all that the ring buffer holds, as a recording does; give M events/s."""
    source = rewound(loaded)
    started = time.thread_time()
    events = read_all(source)
    return events / (time.thread_time() - started) / 1e6


def rewound(loaded: LoadedRingbuf) -> RingbufSource:
    """A source that has read nothing of it yet."""
    rewind(loaded)
    return RingbufSource(loaded, new_decoder())


def read_all(source: RingbufSource) -> int:
    """Read and decode all that is there; give how many events."""
    before = -1
    while source.events > before:
        before = source.events
        for _ in source.read(READ_TICKETS, final=True):
            pass
    return source.events


def c_rate(loaded: LoadedRingbuf, program: Path) -> float:
    """Let the C consumer read all that the ring buffer holds; give M events/s."""
    rewind(loaded)
    consumed = consume(program, loaded.object.maps["events"].fd)
    return consumed.events / consumed.cpu_ns * 1e3


def rewind(loaded: LoadedRingbuf) -> None:
    """Say that nothing was read yet. Only right while the buffer has not wrapped, and nothing is attached."""
    consumer, _ = map_ringbuf(loaded.object.maps["events"])
    np.frombuffer(consumer, np.uint64, 1)[0] = 0


def _rate(values: Sequence[float]) -> Figure:
    return Figure(tuple(values), "M events/s")


def new_decoder() -> Decoder:
    """What a recording decodes with."""
    return Decoder(os.sysconf("SC_PAGE_SIZE"), realtime_offset_ns=time.time_ns())
