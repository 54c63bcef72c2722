"""Puts several buffers' events into one order, by their time. Knows no channel and no clock.

A buffer's own order is kept: who was written later counts as no earlier than who was written before. Between
buffers there is nothing but the time in each event, so this order is as good as the clocks and no better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnix_rec.ring.cursor import Slots, Words
from linnix_rec.ring.records import OPAQUE_SLOT, Integers, slot_places


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

    @property
    def spans(self) -> Integers:
        """How many slots each has."""
        return np.diff(self.heads, append=len(self.slots))

    def split(self, count: int) -> "tuple[Events, Events]":
        """The first so many, and the others; nothing is copied."""
        if count >= len(self):
            return self, self._of(len(self), len(self))
        return self._of(0, count), self._of(count, len(self))

    def _of(self, begin: int, end: int) -> "Events":
        bounds = [int(self.heads[at]) if at < len(self) else len(self.slots) for at in (begin, end)]
        return Events(
            self.slots[bounds[0] : bounds[1]],
            self.heads[begin:end] - bounds[0],
            self.times[begin:end],
            self.buffers[begin:end],
            self.lost[begin:end],
        )


def events_of(slots: Slots, lost: Words, buffer: int, latest_ns: int = 0) -> Events:
    """What was read of one buffer; its times, and `latest_ns` before them, never fall."""
    heads = np.flatnonzero(slots["index"] == 0)
    times = np.maximum.accumulate(np.maximum(slots["boot_ns"][heads].astype(np.int64), latest_ns))
    return Events(slots, heads, times, np.full(len(heads), buffer), lost)


def merged(some: Sequence[Events], dtype: np.dtype[Any]) -> Events:
    """All in one, by time; at the same time, who stands first in `some`. Each slot is copied once."""
    none = np.zeros(0, np.int64)
    times = np.concatenate([none, *(events.times for events in some)])
    spans = np.concatenate([none, *(events.spans for events in some)])
    order = times.argsort(kind="stable")
    heads = np.cumsum(spans[order]) - spans[order]
    goes_to = np.empty_like(heads)
    goes_to[order] = heads
    slots = np.empty(int(spans.sum()), OPAQUE_SLOT)
    done = 0
    for events in some:
        ours = slice(done, done + len(events))
        slots[slot_places(goes_to[ours], spans[ours], 1)] = events.slots.view(OPAQUE_SLOT)
        done = ours.stop
    return Events(
        slots.view(dtype),
        heads,
        times[order],
        np.concatenate([none, *(events.buffers for events in some)])[order],
        np.concatenate([np.zeros(0, np.uint64), *(events.lost for events in some)])[order],
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
        if until_ns is None:
            ready, self._held = self._held, []
            return merged(ready, self._dtype)
        # In each part times never fall: what is ready is its beginning.
        parts = [events.split(int(events.times.searchsorted(until_ns, "right"))) for events in self._held]
        self._held = [later for _, later in parts if len(later)]
        return merged([ready for ready, _ in parts], self._dtype)
