"""Reads events out of the memory of a BPF ring buffer. Knows no kernel: any memory in its layout will do.

Producers reserve in order: they write a header whose length is marked busy, then release `producer_pos`.
They commit in any order, by exchanging the length for one without the mark. The consumer takes records up to
the first that is busy, and gives room back by `consumer_pos` (kernel/bpf/ringbuf.c).

    record   u32 length (bit 31 busy, bit 30 discarded), u32 page, the bytes; up to a multiple of 8
    event    1 to 16 slots of 128 bytes; the first says how many, and how many events its CPU has lost before
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linnix_rec.ring.cursor import SPAN_MAX, Slots, Words
from linnix_rec.ring.fence import load_fence
from linnix_rec.ring.records import (
    SLOT_BYTES,
    WORD_BYTES,
    Octets,
    Records,
    are_slots,
    copied_slots,
    follow,
)

BUSY: Final = 1 << 31
DISCARDED: Final = 1 << 30
HEADER_BYTES: Final = 8
#: The least that is looked at in one go; the longest record has to fit.
_LEAST_BYTES: Final = 2 * (HEADER_BYTES + SPAN_MAX * SLOT_BYTES)


@dataclass(frozen=True)
class RingbufMemory:
    """What producers and the consumer share; positions count bytes from the beginning, and never wrap.

    consumer_pos: (1,) uint64, ours to write; producer_pos: (1,) uint64
    octets: (2 * size,) uint8, the buffer twice in a row, so that no record is in pieces; size a power of two
    """

    consumer_pos: Words
    producer_pos: Words
    octets: Octets
    headers: npt.NDArray[np.uint32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.size < WORD_BYTES or self.size & (self.size - 1) or len(self.octets) != 2 * self.size:
            raise ValueError(f"{len(self.octets)} bytes are not twice a power of two")
        object.__setattr__(self, "headers", self.octets.view(np.uint32))

    @property
    def size(self) -> int:
        return len(self.octets) // 2

    def produced(self) -> int:
        """Up to here records are reserved."""
        return int(self.producer_pos[0])


class RingbufCursor:
    """Takes events out, in the order in which room was reserved for them. For one consumer only.

    The order of its loads and stores, on any processor:
    - `producer_pos` before headers: what it was released behind, a header that says at least busy, is there.
    - a length that is not busy before the bytes behind it: the exchange that cleared the mark released them.
    - the copied bytes before `consumer_pos`: a producer that sees it may write there.
    Between each pair stands `load_fence`. Where it does anything, it releases a lock and takes it again:
    no load before it sinks below the release, no load or store behind it rises above the acquisition. And
    a store that numpy makes of an aligned word is one store.

    What is not ordered is `consumer_pos` before the next load of `producer_pos`. A producer that commits
    between the two may see the old one, and, if it wakes only who has caught up, not wake: epoll_wait(2) is
    then to be given a time. (poll(2) looks at both each time.)
    """

    def __init__(self, memory: RingbufMemory, dtype: np.dtype[Any]) -> None:
        self.memory = memory
        self.position = int(memory.consumer_pos[0])
        self._dtype = dtype
        self._span_at, self._index_at = (int(dtype.fields[name][1]) for name in ("span", "index"))  # type: ignore[index]

    def read(self, limit: int) -> Slots:
        """Take some `limit` events, if so many are committed; (n,) slots, 0 if none is."""
        while True:
            before = self.position
            slots = self._read(limit)
            if len(slots) or self.position == before:  # else all of it was discarded
                return slots

    def _read(self, limit: int) -> Slots:
        produced = self.memory.produced()
        load_fence()
        wanted_bytes = max(limit * (HEADER_BYTES + SLOT_BYTES), _LEAST_BYTES)
        begin = (self.position & (self.memory.size - 1)) // WORD_BYTES
        end = begin + min(produced - self.position, wanted_bytes) // WORD_BYTES
        records = follow(begin, end, self._guesses(begin, end), self._look)
        if not len(records):
            return np.zeros(0, self._dtype)
        load_fence()
        slots = self._copied(records)
        load_fence()
        self.position += (int(records.ends[-1]) - begin) * WORD_BYTES
        self.memory.consumer_pos[0] = self.position
        return slots

    def _guesses(self, begin: int, end: int) -> Records:
        """Words that could be the header of a committed event: behind it, that says its length again."""
        words = self.memory.headers[2 * begin : 2 * end : 2]
        places = np.flatnonzero(words - 1 < SPAN_MAX * SLOT_BYTES)  # unsigned: 0 less 1 is large
        places = places[: int(places.searchsorted(end - begin - SLOT_BYTES // WORD_BYTES))]
        # Read again, into our own memory: what is proven is what was read.
        lengths = words[places]
        firsts = (places + begin + 1) * WORD_BYTES
        spans, indices = (self.memory.octets[firsts + at] for at in (self._span_at, self._index_at))
        ours = (lengths == spans.astype(np.uint32) * SLOT_BYTES) & (indices == 0)
        begins = places[ours] + begin
        return Records(begins, begins + 1 + lengths[ours].astype(np.int64) // WORD_BYTES)

    def _look(self, at: int) -> int:
        length = int(self.memory.headers[2 * at])
        if length & BUSY:
            return at
        return at + 1 + -(-(length & ~DISCARDED) // WORD_BYTES)

    def _copied(self, records: Records) -> Slots:
        """Their events. What was discarded, or is no event of ours, is passed over."""
        lengths = self.memory.headers[2 * records.begins]
        events = records.only(are_slots(lengths))
        spans = (events.ends - events.begins - 1) * WORD_BYTES // SLOT_BYTES
        begins_bytes = events.begins * WORD_BYTES + HEADER_BYTES
        return copied_slots(self.memory.octets, begins_bytes, spans, self._dtype)


def losses(cpus: npt.NDArray[np.uint16], lost_before: Words, known: dict[int, int]) -> Words:
    """How many events are missing just before each, of those of its own CPU; (n,) uint64.

    lost_before: (n,) how many that CPU had lost by then; it may have fallen behind where a program was
        interrupted by another between reading it and its reservation
    known: how many are known to be missing, by CPU; brought up to date
    """
    missing = np.zeros(len(cpus), np.uint64)
    for cpu in np.unique(cpus).tolist():
        places = np.flatnonzero(cpus == cpu)
        counts = np.concatenate([np.array([known.get(cpu, 0)], np.uint64), lost_before[places]])
        np.maximum.accumulate(counts, out=counts)
        missing[places] = np.diff(counts)
        known[cpu] = int(counts[-1])
    return missing
