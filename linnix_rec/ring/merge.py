"""Puts several buffers' events into one order, by their time. Knows no channel and no clock.

A buffer's own order is kept: who was written later counts as no earlier than who was written before. Between
buffers there is nothing but the time in each event, so this order is as good as the clocks and no better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnix_rec.ring.cursor import Slots, Words
from linnix_rec.ring.records import SLOT_BYTES, Integers, copied_slots


@dataclass(frozen=True)
class Events:
    """Whole events, one after the other.

    slots: all of their slots; heads: (n,) where in it each begins
    times: (n,) ns; buffers: (n,) whence each came
    lost: (n,) how many events of its buffer are missing just before it
    """

    slots: Slots
    heads: Integers
    times: Integers
    buffers: Integers
    lost: Words

    def __len__(self) -> int:
        return len(self.heads)

    def at(self, places: Integers) -> "Events":
        """Those of them, in that order."""
        spans = np.diff(self.heads, append=len(self.slots))[places]
        octets = self.slots.view(np.uint8)
        return Events(
            copied_slots(octets, self.heads[places] * SLOT_BYTES, spans, self.slots.dtype),
            np.cumsum(spans) - spans,
            self.times[places],
            self.buffers[places],
            self.lost[places],
        )


def events_of(slots: Slots, lost: Words, buffer: int, latest_ns: int = 0) -> Events:
    """What was read of one buffer; its times, and `latest_ns` before them, never fall."""
    heads = np.flatnonzero(slots["index"] == 0)
    times = np.maximum.accumulate(np.maximum(slots["boot_ns"][heads].astype(np.int64), latest_ns))
    return Events(slots, heads, times, np.full(len(heads), buffer), lost)


def joined(some: Sequence[Events], dtype: np.dtype[Any]) -> Events:
    """One after the other."""
    starts = np.cumsum([0, *(len(events.slots) for events in some)])
    words = [np.zeros(0, np.uint64), *(events.slots.view(np.uint64) for events in some)]
    none = np.zeros(0, np.int64)
    return Events(
        np.concatenate(words).view(dtype),
        np.concatenate([none, *(e.heads + start for e, start in zip(some, starts[:-1], strict=True))]),
        np.concatenate([none, *(events.times for events in some)]),
        np.concatenate([none, *(events.buffers for events in some)]),
        np.concatenate([np.zeros(0, np.uint64), *(events.lost for events in some)]),
    )


class TimeMerge:
    """Holds events back until no buffer can give an earlier one, which its caller has to know."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._held: list[Events] = []
        self._latest_ns: dict[int, int] = {}

    def add(self, buffer: int, slots: Slots, lost: Words) -> int:
        """Take in what was read of a buffer; gives the latest time that it has come to."""
        events = events_of(slots, lost, buffer, self._latest_ns.get(buffer, 0))
        if len(events):
            self._held.append(events)
            self._latest_ns[buffer] = int(events.times[-1])
        return self._latest_ns.get(buffer, 0)

    def take(self, until_ns: int | None) -> Events:
        """Give what is no later than `until_ns` (None: all), in order."""
        events = joined(self._held, self._dtype)
        order = events.times.argsort(kind="stable")
        count = len(order)
        if until_ns is not None:
            count = int(events.times[order].searchsorted(until_ns, "right"))
        self._held = [events.at(order[count:])] if count < len(order) else []
        return events.at(order[:count])
