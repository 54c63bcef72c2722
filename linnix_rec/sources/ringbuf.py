"""The kernel's BPF ring buffer: one buffer of all CPUs, read in the order in which they reserved room.

Knows the kernel through `linnix_rec.bpf` and the layout through `linnix_rec.ring`; knows no file.
"""

import errno
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.bpf.load import LoadedObject
from linnix_rec.bpf.ringbuf import map_ringbuf
from linnix_rec.capture.document import Channel
from linnix_rec.errors import RecordingError
from linnix_rec.ring.cursor import Slots, Words
from linnix_rec.ring.records import Integers
from linnix_rec.ring.ringbuf import RingbufCursor, RingbufMemory, losses
from linnix_rec.sources.arrivals import ArrivalSource, Cpus, check_size
from linnix_rec.sources.bpf_source import load_programs
from linnix_rec.sources.cpus import possible_cpus
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.wakeups import Wakeups, parse_wakeups

OBJECT_NAME: Final = "ringbuf"
MAXIMUM_BYTES: Final = 1 << 31  # a BPF map's size is a number of 32 bits

#: include/uapi/linux/bpf.h; without a flag the kernel wakes a reader that has read up to the very event.
_FLAGS: Final = {"adaptive": 0, "none": 1, "force": 2}


@dataclass(frozen=True)
class LoadedRingbuf:
    """Programs and buffer in the kernel, and when they wake their reader."""

    object: LoadedObject
    wakeups: Wakeups


def check_ringbuf_size(size_bytes: int) -> None:
    """Raise UsageError unless a ring buffer can have that size."""
    check_size("a ring buffer", size_bytes, mmap.PAGESIZE, MAXIMUM_BYTES)


def load_ringbuf(
    size_bytes: int, *, wakeup: str = "adaptive", tree_only: bool, with_argv: bool = True
) -> LoadedRingbuf:
    """Load the shipped object into this kernel; nothing is attached yet. Raises LinnixRecError.

    size_bytes: of the buffer, a power of two of whole pages
    wakeup: adaptive (the reader has caught up), none, force (at each event), every:N (events of a CPU)
    tree_only, with_argv: as `load_programs` has them
    """
    check_ringbuf_size(size_bytes)
    wakeups = parse_wakeups(wakeup)
    try:
        loaded = load_programs(
            OBJECT_NAME,
            tree_only=tree_only,
            with_argv=with_argv,
            max_entries={"events": size_bytes, "scratches": possible_cpus()},
            rodata={"wakeup_flags": _FLAGS.get(wakeups.policy, 0), "wakeup_every": wakeups.every},
        )
    except KernelRefusedError as error:
        if error.errno in (errno.ENOMEM, errno.E2BIG):
            raise RecordingError(f"{error} by --size") from error
        raise
    return LoadedRingbuf(loaded, wakeups)


class RingbufSource(ArrivalSource):
    """One ring buffer in the kernel.

    Where losses stand. The buffer does not say that it refused something; each event does, in its stamp, of
    its own CPU. So a gap stands just before the next event of that CPU that found room, as with perf buffers.
    What no later event came to tell is told at the end, of no CPU.
    """

    name = OBJECT_NAME

    def __init__(self, loaded: LoadedRingbuf, decoder: Decoder) -> None:
        super().__init__(loaded.object, decoder)
        events = loaded.object.maps["events"]
        consumer, rest = map_ringbuf(events)
        octets = np.frombuffer(rest, np.uint8, 2 * events.spec.max_entries, mmap.PAGESIZE)
        memory = RingbufMemory(
            np.frombuffer(consumer, np.uint64, 1), np.frombuffer(rest, np.uint64, 1), octets
        )
        self._cursor = RingbufCursor(memory, struct_dtype(loaded.object.spec.btf, "slot"))
        self._known: dict[int, int] = {}
        self.channel = Channel(bytes=memory.size, buffers=1, wakeup=str(loaded.wakeups))
        self.descriptors = () if loaded.wakeups.policy == "none" else (events.fd,)

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what is committed, of at most some `limit` events, in the order of their reservation.

        final: no program runs any more, so all that is reserved is committed
        """
        read = 0
        while read < limit:
            slots = self._cursor.read(limit - read)
            if not len(slots):
                break
            heads = np.flatnonzero(slots["index"] == 0)
            read += len(heads)
            yield from self._told(slots, heads, *self._losses(slots, heads))
        if final and read < limit:
            yield from self._rest()

    def _losses(self, slots: Slots, heads: Integers) -> tuple[Words, Cpus]:
        """What is missing before each of these events, and the CPU of each.

        A CPU counts what it loses before it writes the event that says so: what is written here is counted.
        """
        cpus = slots["cpu"][heads]
        if self._dropped() == self.lost:
            return np.zeros(len(heads), np.uint64), cpus
        return losses(cpus, slots["stamp"][heads], self._known), cpus
