"""Reads events out of the memory of a perf buffer. Knows no kernel: any memory in its layout will do.

    header   u32 type, u16 misc, u16 size of the whole record in bytes, a multiple of 8
    sample   header (type 9), u32 size of what follows, an event and some padding
    lost     header (type 2), u64 id, u64 samples that found no room before the one that comes next
    event    1 to 16 slots of 128 bytes

(include/uapi/linux/perf_event.h, for a sample type of PERF_SAMPLE_RAW alone.)
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from linnix_rec.ring.cursor import Slots, Words
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

RECORD_LOST: Final = 2
RECORD_SAMPLE: Final = 9
HEADER_BYTES: Final = 8
#: Header and size before an event; 4 bytes behind it bring the record to a multiple of 8.
SAMPLE_BYTES_BESIDE: Final = 16
EVENT_AT: Final = 12
#: The least that is looked at in one go; a record has at most so many bytes, as a u16 says.
_LEAST_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class PerfMemory:
    """What one CPU and the consumer share; positions count bytes from the beginning, and never wrap.

    data_head: (1,) uint64; data_tail: (1,) uint64, ours to write
    octets: (size,) uint8, size a power of two; a record may begin at the end and go on at the beginning
    """

    data_head: Words
    data_tail: Words
    octets: Octets

    def __post_init__(self) -> None:
        if len(self.octets) < WORD_BYTES or len(self.octets) & (len(self.octets) - 1):
            raise ValueError(f"{len(self.octets)} bytes are no power of two")


@dataclass(frozen=True)
class Taken:
    """What was read of one buffer.

    slots: whole events in the order in which room was found for them
    lost: (events,) how many are missing just before each
    whole: whether another reading would find nothing, but for what comes meanwhile
    """

    slots: Slots
    lost: Words
    whole: bool


class PerfCursor:
    """Takes events out of one buffer, in order. For one consumer only.

    The kernel's own argument (kernel/events/ring_buffer.c, perf_output_put_handle()): `data_head` is read
    before the records, and those before `data_tail` is written. Between each pair stands `load_fence`; why it
    keeps a store below it, too, `RingbufCursor` says. All is copied first and parsed then, so room is given
    back early, and a record that wraps lies in one piece.
    """

    def __init__(self, memory: PerfMemory, dtype: np.dtype[Any]) -> None:
        self.memory = memory
        self.position = int(memory.data_tail[0])
        self._dtype = dtype

    def read(self, limit: int) -> Taken:
        """Take some `limit` events, if there are so many."""
        head = int(self.memory.data_head[0])
        load_fence()
        wanted_bytes = max(limit * (SAMPLE_BYTES_BESIDE + SLOT_BYTES), _LEAST_BYTES)
        whole = head - self.position <= wanted_bytes
        copied = self._copied(min(head - self.position, wanted_bytes))
        records = _records(copied)
        whole = whole or not len(records)
        whole_bytes = int(records.ends[-1]) * WORD_BYTES if len(records) else 0
        load_fence()
        self.position += whole_bytes
        self.memory.data_tail[0] = self.position
        return _parsed(copied, records, self._dtype, whole=whole)

    def _copied(self, count_bytes: int) -> Octets:
        place = self.position & (len(self.memory.octets) - 1)
        before_end = self.memory.octets[place : place + count_bytes]
        rest = self.memory.octets[: count_bytes - len(before_end)]
        return np.concatenate([before_end, rest])


def _records(octets: Octets) -> Records:
    """All whole records, but for losses at the end, which belong to the event that comes next."""
    headers = octets.view(np.uint32)
    types, sizes = headers[::2], headers[1::2] >> 16
    # A sample says its size twice.
    samples = np.flatnonzero(types == RECORD_SAMPLE)
    samples = samples[: int(samples.searchsorted(len(types) - 1))]
    samples = samples[are_slots(sizes[samples] - np.uint32(SAMPLE_BYTES_BESIDE))]
    samples = samples[headers[2 * samples + 2] == sizes[samples] - EVENT_AT]
    guesses = Records(samples, samples + sizes[samples] // WORD_BYTES)
    records = follow(0, len(types), guesses, lambda at: at + int(sizes[at]) // WORD_BYTES)
    count = len(records)
    while count and types[records.begins[count - 1]] == RECORD_LOST:
        count -= 1
    return Records(records.begins[:count], records.ends[:count])


def _parsed(octets: Octets, records: Records, dtype: np.dtype[Any], *, whole: bool) -> Taken:
    """Events and losses among the records; what is neither is passed over."""
    headers = octets.view(np.uint32)
    types, sizes = headers[2 * records.begins], headers[2 * records.begins + 1] >> 16
    is_event = (types == RECORD_SAMPLE) & are_slots(sizes - np.uint32(SAMPLE_BYTES_BESIDE))
    events = records.only(is_event)
    spans = ((events.ends - events.begins) * WORD_BYTES - SAMPLE_BYTES_BESIDE) // SLOT_BYTES
    slots = copied_slots(octets, events.begins * WORD_BYTES + EVENT_AT, spans, dtype)
    lost = np.zeros(len(events) + 1, np.uint64)
    losses = np.flatnonzero(types == RECORD_LOST)
    if len(losses):
        counts = octets.view(np.uint64)[records.begins[losses] + 2]
        np.add.at(lost, np.cumsum(is_event)[losses], counts)
    return Taken(slots, lost[:-1], whole)
