"""The kernel's BPF ring buffer: one buffer of all CPUs, read in the order in which they reserved room.

Knows the kernel through `linnix_rec.bpf` and the layout through `linnix_rec.ring`; knows no file.
"""

import errno
import mmap
from collections import deque
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
from linnix_rec.ring.ringbuf import RingbufCursor, RingbufMemory
from linnix_rec.sources.arrivals import ArrivalSource, check_size
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


@dataclass(frozen=True)
class _Drop:
    """So many events were dropped, at the latest when the buffer was reserved up to `position`."""

    position: int
    lost: int


class RingbufSource(ArrivalSource):
    """One ring buffer in the kernel.

    Where drops stand. The programs count what finds no room; the buffer itself does not say where that was.
    It was full then: all that lay in it came before, and what is reserved later comes after. So a drop
    that is found counted stands behind all that was reserved when it was found. What can be on the wrong
    side is an event that was reserved in what little room was left (an exec of 2 KiB finds none where a fork
    does), or between the drop and its being found.
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
        self._drops: deque[_Drop] = deque()
        self._dropped_known = 0
        self.channel = Channel(bytes=memory.size, buffers=1, wakeup=str(loaded.wakeups))
        self.descriptors = () if loaded.wakeups.policy == "none" else (events.fd,)

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Yield what is committed, of at most some `limit` events, in the order of their reservation.

        final: no program runs any more, so all that is reserved is committed
        """
        self._look_for_drops()
        read = 0
        while read < limit:
            if self._drops and self._drops[0].position == self._cursor.position:
                yield self._lost(self._drops.popleft().lost)
                continue
            slots = self._cursor.read(limit - read, self._drops[0].position if self._drops else None)
            if not len(slots):
                break
            batch = self._arrived(slots)
            read += batch.num_rows
            yield batch

    def _look_for_drops(self) -> None:
        """What was dropped is read before what is reserved: what was there then stands before it."""
        dropped = self._dropped()
        if dropped > self._dropped_known:
            position = self._cursor.memory.produced()
            self._drops.append(_Drop(position, dropped - self._dropped_known))
            self._dropped_known = dropped
