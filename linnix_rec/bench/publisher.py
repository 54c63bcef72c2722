"""Runs the programs of bpf_obj/publish.bpf.c on several CPUs at once, and empties what they filled.

Knows how one turn is done, not which channels there are, nor what is told of them.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.descriptor import Map, run_on_cpu
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import ProgramRefusedError
from linnix_rec.bpf.load import LoadedObject, load
from linnix_rec.bpf.object import read_object
from linnix_rec.bpf.perf_event import OutputBuffer
from linnix_rec.bpf.ringbuf import map_ringbuf
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.sources.cpus import possible_cpus

OBJECT_NAME: Final = "publish"
SLOT_BYTES: Final = 128
EVENTS_MAX: Final = 20_000  # of a CPU in one turn: a quarter of a ms at 12 ns, so that its ends do not count

_FILLED: Final = 0.6  # of a channel, by what a turn measures; the rest is for who waits for the last
_ATTEMPTS: Final = 50  # at a turn that all CPUs do together, and that finds room for all
_BPF_LOOP: Final = 181  # include/uapi/linux/bpf.h: BPF_FUNC_bpf_loop


@dataclass(frozen=True)
class Turn:
    """What the CPUs of one turn took, each, for so many events; ns between two readings of the clock."""

    events: int
    taken_ns: tuple[int, ...]

    @property
    def ns_an_event(self) -> float:
        return sum(self.taken_ns) / len(self.taken_ns) / self.events


def events_a_cpu(channel_bytes: int, slots: int, cpus: int) -> int:
    """Give how many events of so many slots each CPU hands over in a turn, so that the channel has room."""
    return min(EVENTS_MAX, max(1, int(channel_bytes * _FILLED) // (SLOT_BYTES * slots * cpus)))


class Publisher:
    """The programs, loaded with channels of so many bytes each (over all CPUs); a context manager.

    Raises RecordingError if this kernel can't.
    """

    def __init__(self, channel_bytes: int, cpus: Sequence[int]) -> None:
        self.channel_bytes = channel_bytes
        self._cpus = len(cpus)
        self._buffers: list[OutputBuffer] = []
        self._object = _load(channel_bytes)
        try:
            spec = self._object.spec
            self._turns: npt.NDArray[Any] = np.frombuffer(
                self._object.maps["turns"].map_memory(),
                struct_dtype(spec.btf, "turn"),
                self._object.maps["turns"].spec.max_entries,
            )
            self._variables = _Variables(self._object)
            self._channels = [_ringbuf_positions(self._object.maps["ringbuf"])]
            for cpu in cpus:
                self._open_buffer(cpu, _power_of_two(channel_bytes // len(cpus)))
        except BaseException:
            self.close()
            raise

    def _open_buffer(self, cpu: int, size_bytes: int) -> None:
        buffer = OutputBuffer(cpu, size_bytes, wakeup_bytes=size_bytes)
        self._buffers.append(buffer)
        self._channels.append(_perf_positions(buffer))
        key, value = (number.to_bytes(4, "little") for number in (cpu, buffer.descriptor))
        self._object.maps["perfbuf"].update(key, value)

    def turn(self, channel: str, slots: int, cpus: Sequence[int]) -> Turn:
        """Let those CPUs hand over events of so many slots at once. Raises LinnixRecError if they can't."""
        events = events_a_cpu(self.channel_bytes, slots, self._cpus)
        program = self._object.programs[f"publish_{channel}"]
        for _ in range(_ATTEMPTS):
            for positions in self._channels:
                positions.catch_up()
            self._variables.set(cpus=len(cpus), events=events, arrived=0, done=0)
            _on_each(cpus, lambda cpu: run_on_cpu(program, cpu))
            said = self._turns[list(cpus)]
            if not said["alone"].any() and not said["refused"].any():
                taken_ns = said["end_ns"].astype(np.int64) - said["begin_ns"].astype(np.int64)
                return Turn(events, tuple(taken_ns.tolist()))
        refused = int(said["refused"].sum())
        why = f"{refused} events found no room" if refused else f"{len(cpus)} CPUs were never free at once"
        raise LinnixRecError(f"can't measure {channel} in {_ATTEMPTS} turns: {why}; let nothing else run")

    def close(self) -> None:
        for buffer in self._buffers:
            buffer.close()
        self._object.close()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _power_of_two(least: int) -> int:
    return 1 << (max(least, mmap.PAGESIZE) - 1).bit_length()


def _load(channel_bytes: int) -> LoadedObject:
    cpus, slots = possible_cpus(), channel_bytes // SLOT_BYTES
    a_cpu = dict.fromkeys(("turns", "accounts", "scratches", "perfbuf"), cpus)
    try:
        return load(
            read_object_spec(read_object(OBJECT_NAME), OBJECT_NAME),
            max_entries={**a_cpu, "ring": slots, "ringbuf": channel_bytes},
            rodata={"ring_mask": slots - 1},
        )
    except ProgramRefusedError as error:
        if f"#{_BPF_LOOP}" in error.log:
            raise RecordingError(
                "this kernel lacks bpf_loop, which drives the events: it came with Linux 5.17"
            ) from None
        raise


def _on_each(cpus: Sequence[int], run: Callable[[int], object]) -> None:
    """Call `run` with each CPU's number, at once, from a thread there. Raises what the first one raised."""
    failed: list[Exception] = []

    ready = threading.Barrier(len(cpus))

    def there(cpu: int) -> None:
        try:
            try:
                os.sched_setaffinity(0, {cpu})  # of this thread, as the next
                with contextlib.suppress(PermissionError):  # else it may wait for others who want that CPU
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            finally:
                ready.wait()
            run(cpu)
        except (LinnixRecError, OSError) as error:
            failed.append(error)

    threads = [threading.Thread(target=there, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


class _Variables:
    """The programs' own counters, 64 bits each."""

    def __init__(self, loaded: LoadedObject) -> None:
        memory = loaded.maps[".bss"].map_memory(writable=True)
        self._words = {
            name: np.frombuffer(memory, np.uint64, 1, variable.offset)
            for name, variable in loaded.spec.data[".bss"].variables.items()
            if variable.size == 8
        }

    def set(self, **values: int) -> None:
        for name, value in values.items():
            self._words[name][0] = value


class _Positions:
    """How far a channel was written and read; ours to move is the second."""

    def __init__(self, written: npt.NDArray[np.uint64], read: npt.NDArray[np.uint64]) -> None:
        self._written = written
        self._read = read

    def catch_up(self) -> None:
        """Say that all was read."""
        self._read[0] = self._written[0]


def _ringbuf_positions(ringbuf: Map) -> _Positions:
    consumer, rest = map_ringbuf(ringbuf)
    return _Positions(np.frombuffer(rest, np.uint64, 1), np.frombuffer(consumer, np.uint64, 1))


def _perf_positions(buffer: OutputBuffer) -> _Positions:
    head, tail = (
        np.frombuffer(buffer.memory, np.uint64, 1, at) for at in (OutputBuffer.HEAD_AT, OutputBuffer.TAIL_AT)
    )
    return _Positions(head, tail)
