"""What huge pages and prefaulting do to the ring's mapping, and whether draining it makes system calls.

Claimed by the white paper (4.2): MADV_HUGEPAGE takes a ring of 128 MiB from 32,768 pages to 64. Beside the
ring stands memory of the same size that can have huge pages: what they would be worth to its reader.
"""

import mmap
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from linnix_rec.bench.drain import (
    OWN_FORKS,
    Filled,
    drain,
    full_channels,
    new_decoder,
    read_all,
    rewound,
)
from linnix_rec.bench.machine import one_core
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.bpf.descriptor import Map
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.perf_event import TracepointCounter, tracepoint_id
from linnix_rec.errors import RecordingError
from linnix_rec.ring.cursor import Cursor, Run
from linnix_rec.session.recording import READ_TICKETS
from linnix_rec.sources.sequencer import load_sequencer

RING_SLOTS: Final = 1 << 20
DRAINED_SLOTS: Final = 1 << 16
_READINGS: Final = 5
_HUGE_KEYS: Final = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")


@dataclass(frozen=True)
class Variant:
    """A way to map the ring, or memory beside it; `advice` and `flags` as of madvise(2) and mmap(2)."""

    title: str
    advice: int | None = None
    flags: int = 0
    ring: bool = True


RING_VARIANTS: Final = (
    Variant("ring"),
    Variant("ring, MADV_HUGEPAGE", mmap.MADV_HUGEPAGE),
    Variant("ring, prefaulted", None, mmap.MAP_POPULATE),
    Variant("ring, MADV_HUGEPAGE, prefaulted", mmap.MADV_HUGEPAGE, mmap.MAP_POPULATE),
)
VARIANTS: Final = (
    *RING_VARIANTS,
    Variant("anonymous memory, MADV_NOHUGEPAGE", mmap.MADV_NOHUGEPAGE, ring=False),
    Variant("anonymous memory, MADV_HUGEPAGE", mmap.MADV_HUGEPAGE, ring=False),
)


@dataclass(frozen=True)
class Mapped:
    """What a mapping turned out to be; sizes in bytes, as the kernel's smaps has them.

    advised: what madvise(2) said, "" if it was not asked
    faults: page faults of reading each slot for the first time
    """

    advised: str
    map_ms: float
    faults: int
    eligible: bool
    huge_bytes: int
    resident_bytes: int
    slots_per_second: float


@dataclass(frozen=True)
class Drained:
    """What reading so many events cost its thread."""

    events: int
    system_calls: int
    faults: int


def measure(runs: int, tell: Tell) -> Iterator[Table]:
    """Yield what became of the mapping, and what draining asks of the kernel. Raises LinnixRecError."""
    with load_sequencer(RING_SLOTS, tree_only=False) as loaded, one_core():
        ring, slot = loaded.maps["ring"], struct_dtype(loaded.spec.btf, "slot")
        mapped: dict[Variant, list[Mapped]] = {variant: [] for variant in VARIANTS}
        for run in range(runs):
            tell(f"hugepages: mapping {ring.mapping_bytes >> 20} MiB, run {run + 1} of {runs}")
            for variant in VARIANTS:
                mapped[variant].append(look_at(variant, ring, slot))
    yield mappings(mapped)
    tell("hugepages: counting system calls")
    with full_channels(DRAINED_SLOTS, OWN_FORKS) as filled:
        yield system_calls(_drained(filled, runs))


def look_at(variant: Variant, ring: Map, slot: np.dtype[Any]) -> Mapped:
    """Map it, read it twice, and ask the kernel what it is."""
    size = ring.mapping_bytes
    began = time.perf_counter()
    if variant.ring:
        memory = mmap.mmap(ring.fd, size, mmap.MAP_SHARED | variant.flags, mmap.PROT_READ)
    else:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    map_ms = (time.perf_counter() - began) * 1e3
    advised = _advise(memory, variant.advice)
    octets = np.frombuffer(memory, np.uint8)
    if not variant.ring:
        octets[:: mmap.PAGESIZE] = 1  # the kernel's own has all its pages, too
    stamps = octets.view(slot)["stamp"]
    before = faults()
    stamps.max()
    first = faults() - before
    began = time.thread_time()
    for _ in range(_READINGS):
        stamps.max()
    seconds = (time.thread_time() - began) / _READINGS
    said = of_mapping(Path("/proc/self/smaps").read_text(), octets.ctypes.data)
    return Mapped(
        advised=advised,
        map_ms=map_ms,
        faults=first,
        eligible=bool(said.get("THPeligible")),
        huge_bytes=sum(said.get(key, 0) for key in _HUGE_KEYS) << 10,
        resident_bytes=said.get("Rss", 0) << 10,
        slots_per_second=len(stamps) / seconds,
    )


def _advise(memory: mmap.mmap, advice: int | None) -> str:
    if advice is None:
        return ""
    try:
        memory.madvise(advice)
    except OSError as error:
        return error.strerror or str(error)
    return "accepted"


def of_mapping(smaps: str, address: int) -> dict[str, int]:
    """Give the numbers that the kernel tells of the mapping at an address, in KiB; proc_pid_smaps(5)."""
    said: dict[str, int] = {}
    here = False
    for line in smaps.splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            begin, _, end = name.partition("-")
            here = int(begin, 16) <= address < int(end, 16)
        elif here and rest and rest[0].isdigit():
            said[name[:-1]] = int(rest[0])
    return said


def faults() -> int:
    """Page faults of this thread so far, none of which waited for a disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def mappings(mapped: dict[Variant, list[Mapped]]) -> Table:
    """Tell what became of each mapping, and whether the claim holds."""
    rows: list[tuple[Cell, ...]] = []
    for variant, seen in mapped.items():
        last = seen[-1]
        rows.append(
            (
                variant.title,
                last.advised,
                "yes" if last.eligible else "no",
                Figure(tuple(each.huge_bytes / (1 << 20) for each in seen), "MiB"),
                Figure(tuple(each.resident_bytes / (1 << 20) for each in seen), "MiB"),
                Figure(tuple(each.map_ms for each in seen), "ms"),
                Figure(tuple(each.faults for each in seen)),
                Figure(tuple(each.slots_per_second / 1e6 for each in seen), "M slots/s"),
            )
        )
    return Table(
        "hugepages",
        f"The ring's mapping, {RING_SLOTS:,} slots of 128 bytes",
        ("mapping", "madvise", "eligible", "in huge pages", "resident", "mmap", "faults", "stamps read"),
        tuple(rows),
        (
            verdict(mapped),
            "faults: of reading every slot's stamp once; stamps read: later, CPU time.",
        ),
    )


def verdict(mapped: dict[Variant, list[Mapped]]) -> str:
    """Say in a sentence whether advice gives the ring huge pages."""
    advised = [each for variant in RING_VARIANTS if variant.advice is not None for each in mapped[variant]]
    if any(each.huge_bytes for each in advised):
        return "White paper, 4.2, huge pages for the ring by MADV_HUGEPAGE: confirmed here."
    answer = "the kernel accepts it and does nothing"
    if any(each.advised != "accepted" for each in advised):
        answer = "the kernel refuses it"
    return f"White paper, 4.2, huge pages for the ring by MADV_HUGEPAGE: refuted here, {answer}."


def _drained(filled: Filled, runs: int) -> dict[str, list[Drained]] | str:
    """Give what each way to read asked of the kernel, but for its first time; or why that can't be told."""
    try:
        counter = SystemCalls()
    except RecordingError as error:
        return str(error)
    counted: dict[str, list[Drained]] = {}
    try:
        for _ in range(1 + runs):
            ways = {
                COPIED: partial(_copied, Cursor(filled.ring)),
                DECODED: partial(drain, Cursor(filled.ring), new_decoder()),
                RINGBUF: partial(read_all, rewound(filled.ringbuf)),
            }
            for name, work in ways.items():
                counted.setdefault(name, []).append(counter.of(work))
    finally:
        counter.close()
    return {name: seen[1:] for name, seen in counted.items()}


COPIED: Final = "sequencer, copied out of the ring"
DECODED: Final = "sequencer, copied and decoded"
RINGBUF: Final = "ring buffer, copied and decoded"


def _copied(cursor: Cursor) -> int:
    """Copy all slots out of the ring; gives how many there were."""
    slots = 0
    while cursor.lag:
        for piece in cursor.read(READ_TICKETS, final=True):
            if isinstance(piece, Run):
                slots += len(piece.slots)
    return slots


class SystemCalls:
    """Counts this thread's system calls, by their tracepoint."""

    def __init__(self) -> None:
        number = tracepoint_id("raw_syscalls", "sys_enter")
        self._counter = TracepointCounter(number, TracepointCounter.ANY_CPU, tid=0)

    def of(self, work: Callable[[], int]) -> Drained:
        """Do the work, which gives how many events it read."""
        before, calls = faults(), self._counter.read().count
        events = work()
        # Its own reading is a system call, too.
        calls = self._counter.read().count - calls - 1
        return Drained(events, calls, faults() - before)

    def close(self) -> None:
        self._counter.close()


def system_calls(drained: dict[str, list[Drained]] | str) -> Table:
    """Tell what reading asked of the kernel."""
    rows: list[tuple[Cell, ...]]
    if isinstance(drained, str):
        rows = [("can't be counted here", drained, "", "")]
    else:
        rows = [
            (
                name,
                Figure(tuple(each.events for each in seen)),
                Figure(tuple(each.system_calls for each in seen)),
                Figure(tuple(each.faults for each in seen)),
            )
            for name, seen in drained.items()
        ]
    return Table(
        "system-calls",
        "What reading what is there asks of the kernel",
        ("reading", "events", "system calls", "page faults"),
        tuple(rows),
        (
            f"{READ_TICKETS:,} at a time, by one thread. Those of decoding are futex calls inside of Arrow.",
            "A reader that has caught up waits, which is a system call.",
        ),
    )
