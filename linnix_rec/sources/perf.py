"""Perf buffers: one a CPU, read by turns, and merged by time if that is asked for.

Knows the kernel through `linnix_rec.bpf` and the layout through `linnix_rec.ring`; knows no file.
"""

import errno
import mmap
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.bpf.load import LoadedObject
from linnix_rec.bpf.perf_event import OutputBuffer
from linnix_rec.capture.document import Accounts, Channel
from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.ring.merge import Events, TimeMerge, events_of
from linnix_rec.ring.perf_buffer import PerfCursor, PerfMemory, Taken
from linnix_rec.sources.arrivals import ArrivalSource, check_size
from linnix_rec.sources.bpf_source import load_programs
from linnix_rec.sources.cpus import possible_cpus
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.wakeups import Wakeups, parse_wakeups

OBJECT_NAME: Final = "perfbuf"
MAXIMUM_BYTES: Final = 1 << 30
MERGES: Final = ("time", "none")

#: Read of one buffer at a time, at least, however many there are.
_LEAST_EVENTS: Final = 256


@dataclass(frozen=True)
class LoadedPerf:
    """Programs in the kernel, the CPUs' buffers, and when they wake their reader."""

    object: LoadedObject
    buffers: tuple[OutputBuffer, ...]
    size_bytes: int
    wakeups: Wakeups


def check_perf_size(size_bytes: int) -> None:
    """Raise UsageError unless each CPU's buffer can have that size."""
    check_size("a perf buffer", size_bytes, mmap.PAGESIZE, MAXIMUM_BYTES)


def load_perf(
    size_bytes: int, *, wakeup: str = "adaptive", tree_only: bool, with_argv: bool = True
) -> LoadedPerf:
    """Load the shipped object into this kernel, with its buffers; nothing is attached yet.

    size_bytes: of each CPU's buffer, a power of two of whole pages
    wakeup: adaptive (each half buffer), none, force (at each event), every:N (events of a CPU)
    tree_only, with_argv: as `load_programs` has them

    Raises LinnixRecError.
    """
    check_perf_size(size_bytes)
    wakeups = parse_wakeups(wakeup)
    cpus = possible_cpus()
    loaded = load_programs(
        OBJECT_NAME,
        tree_only=tree_only,
        with_argv=with_argv,
        max_entries={"events": cpus, "scratches": cpus},
        rodata={},
    )
    buffers: list[OutputBuffer] = []
    try:
        for cpu in range(cpus):
            _open_buffer(loaded, cpu, size_bytes, wakeups, buffers)
    except BaseException as error:
        for buffer in buffers:
            buffer.close()
        loaded.close()
        if isinstance(error, KernelRefusedError) and error.errno == errno.ENOMEM:
            raise RecordingError(f"{error} by --size") from error
        raise
    return LoadedPerf(loaded, tuple(buffers), size_bytes, wakeups)


def _open_buffer(
    loaded: LoadedObject, cpu: int, size_bytes: int, wakeups: Wakeups, buffers: list[OutputBuffer]
) -> None:
    """A CPU that is offline gets none; should it come, what happens there is refused and counted as dropped.

    So it is with one that goes and comes again: perf lets go of its events then, for good.
    """
    wakeup_samples = {"force": 1, "every": wakeups.every}.get(wakeups.policy, 0)
    wakeup_bytes = {"adaptive": size_bytes // 2, "none": size_bytes}.get(wakeups.policy, 0)
    try:
        buffer = OutputBuffer(cpu, size_bytes, wakeup_bytes=wakeup_bytes, wakeup_samples=wakeup_samples)
    except KernelRefusedError as error:
        if error.errno == errno.ENODEV:
            return
        raise
    buffers.append(buffer)
    loaded.maps["events"].update(cpu.to_bytes(4, "little"), buffer.descriptor.to_bytes(4, "little"))


class PerfSource(ArrivalSource):
    """All CPUs' perf buffers.

    merge "none": as read, buffer after buffer. That is no order at all: an exec on one CPU stands before its
    fork on another whenever that buffer's turn comes first.

    merge "time": by the time in each event. What is given is only what no buffer can still undercut: events
    no later than the beginning of the reading before this one (perf's own rounds are alike). Who took its
    time before then and has not been read by now was under way for a whole pass over the buffers. A buffer
    that was not read to its end bounds it, too. It costs latency: an event is held for one reading more, some
    milliseconds under load, until the reader next wakes when idle. It does not cover an event that is under
    way for longer (a hypervisor took its CPU away, a listing was preempted), which comes late, nor clocks
    that differ between CPUs: `verify` finds both where they break causality.

    Where losses stand. The kernel writes what was lost ahead of the next sample that finds room, on that CPU;
    what it never came to tell, and what a program could not even offer, is told at the end, of no CPU.
    """

    name = "perf"

    def __init__(self, loaded: LoadedPerf, decoder: Decoder, *, merge: str = "time") -> None:
        if merge not in MERGES:
            raise UsageError(f"no such way to merge: {merge}; take {' or '.join(MERGES)}")
        super().__init__(loaded.object, decoder)
        self._buffers = loaded.buffers
        self._dtype = struct_dtype(loaded.object.spec.btf, "slot")
        self._cursors = [_cursor(buffer, loaded.size_bytes, self._dtype) for buffer in self._buffers]
        self._cpus = np.array([buffer.cpu for buffer in self._buffers], np.uint16)
        self._merge = TimeMerge(self._dtype) if merge == "time" else None
        self._left: list[int] = []
        self._last_reading_ns = 0
        self._told_lost = 0
        self.channel = Channel(
            bytes=len(self._buffers) * loaded.size_bytes,
            buffers=len(self._buffers),
            wakeup=str(loaded.wakeups),
            merge=merge,
        )
        if loaded.wakeups.policy != "none":
            self.descriptors = tuple(buffer.descriptor for buffer in self._buffers)

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what can be read now, of some `limit` events in all.

        final: no program runs any more: nothing is held back, and what was lost and not told is told
        """
        if self._merge is None:
            yield from self._read_by_turns(limit)
        else:
            yield from self._read_merged(self._merge, limit, final=final)
        if final and not self._left:
            yield from self._rest()

    def _read_by_turns(self, limit: int) -> Iterator[pa.RecordBatch]:
        for number, taken in self._taken(limit):
            yield from self._written(events_of(taken.slots, taken.lost, number))

    def _read_merged(self, merge: TimeMerge, limit: int, *, final: bool) -> Iterator[pa.RecordBatch]:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        latest_ns: dict[int, int] = {}
        for number, taken in self._taken(limit):
            latest_ns[number] = merge.add(number, taken.slots, taken.lost)
        bounds_ns = [latest_ns[number] for number in self._left]
        if not final:
            bounds_ns.append(self._last_reading_ns)
        self._last_reading_ns = now_ns
        yield from self._written(merge.take(min(bounds_ns, default=None)))

    def _taken(self, limit: int) -> Iterator[tuple[int, Taken]]:
        """Go round the buffers until nothing is left in them, or enough is read; `_left` are the others."""
        self._left, read = list(range(len(self._cursors))), 0
        while self._left and read < limit:
            each = max(limit // len(self._left), _LEAST_EVENTS)
            for number in tuple(self._left):
                taken = self._cursors[number].read(each)
                if taken.whole:
                    self._left.remove(number)
                read += len(taken.lost)
                yield number, taken

    def _written(self, events: Events) -> Iterator[pa.RecordBatch]:
        self._told_lost += int(events.lost.sum())
        yield from self._told(events.slots, events.heads, events.lost, self._cpus[events.buffers])

    def accounts(self, *, runs: bool = False, running: bool = False) -> Accounts:
        """The kernel's own counts; final after `detach`. Perf's, too: before Linux 6.0, as far as it told."""
        counts = [buffer.lost() for buffer in self._buffers]
        known = [count for count in counts if count is not None]
        accounts = super().accounts(runs=runs, running=running)
        return replace(accounts, channel_lost=sum(known) if len(known) == len(counts) else self._told_lost)

    def close(self) -> None:
        """Let go of it: that detaches and unloads it."""
        super().close()
        for buffer in self._buffers:
            buffer.close()


def _cursor(buffer: OutputBuffer, size_bytes: int, dtype: np.dtype[Any]) -> PerfCursor:
    words = [
        np.frombuffer(buffer.memory, np.uint64, 1, at) for at in (OutputBuffer.HEAD_AT, OutputBuffer.TAIL_AT)
    ]
    octets = np.frombuffer(buffer.memory, np.uint8, size_bytes, mmap.PAGESIZE)
    return PerfCursor(PerfMemory(words[0], words[1], octets), dtype)
