"""The consumer's place in the ring: finds the run that may be read, copies it, names what was lost.

Works on any memory in the layout of `bpf_obj/slot.h`: a mapped ring, an image of one, a test's array.
It never waits for a lost ticket, never skips a live one, and writes nothing to the ring.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linnix_rec.ring.fence import load_fence

SPAN_MAX: Final = 16
ABANDON_SPAN_BITS: Final = 8
MINIMUM_SLOTS: Final = 1 << 10

Slots = npt.NDArray[np.void]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Run:
    """Whole spans, one after the other: `slots` is a private copy, its first ticket is `seq`."""

    seq: int
    slots: Slots

    @property
    def end(self) -> int:
        return self.seq + len(self.slots)


@dataclass(frozen=True)
class Gap:
    """Tickets `seq` to `end` were issued and can't be read: `lapped` or `abandoned`."""

    seq: int
    end: int
    reason: str

    @property
    def lost(self) -> int:
        return self.end - self.seq


@dataclass(frozen=True)
class Ring:
    """The memory that producers and consumer share.

    slots: (N,) in the slot's dtype, N a power of two; not 1, as ticket t-1 when ready would then leave the
        stamp of ticket t when given up
    next_ticket: (1,) uint64, tickets issued
    abandon_log: (entries,) uint64, first ticket << 8 | span; 0 where never written
    """

    slots: Slots
    next_ticket: Words
    abandon_log: Words

    def __post_init__(self) -> None:
        if len(self.slots) < 2 or len(self.slots) & (len(self.slots) - 1):
            raise ValueError(f"a ring of {len(self.slots)} slots: not a power of two from 2 on")

    @property
    def size(self) -> int:
        return len(self.slots)

    def issued(self) -> int:
        return int(self.next_ticket[0])


class Cursor:
    """Reads a ring in ticket order. `seq` is the first ticket not yet accounted for.

    Why a copied row is whole. Its stamp said `2t+2` before the copy, so the owner had published it. To
    touch that slot again a producer needs ticket t+N or a later one of the same place (an earlier one
    fails its take, as the stamp is higher), and it claims that ticket before it writes. So if
    `next_ticket`, read after the copy, is still at most t+N, nobody had touched the slot. The loads must
    happen in that order: stamp, payload, `next_ticket`; hence the two fences.
    """

    def __init__(self, ring: Ring, seq: int = 0) -> None:
        self.ring = ring
        self.seq = seq
        self._gap: Gap | None = None  # the gap that ends at `seq`, held back as it may grow
        self._steps: Words = np.arange(0, dtype=np.uint64)

    @property
    def lag(self) -> int:
        """Tickets issued and not yet accounted for."""
        return self.ring.issued() - self.seq

    def read(self, limit: int, *, final: bool = False) -> Iterator[Run | Gap]:
        """Yield what can be said now of at most some `limit` tickets, in order.

        With `final` no producer runs any more: a slot that is not ready never will be, and everything up
        to `next_ticket` is accounted for. What was yielded is not yielded again, even if the caller stops
        there.
        """
        limit = max(limit, SPAN_MAX)
        while True:
            issued = self.ring.issued()
            if issued - self.seq > self.ring.size:
                yield from self._lose(issued - self.ring.size, "lapped")
            if self.seq == issued:
                break
            run = self._copy_run(min(issued - self.seq, limit))
            if run is not None:
                break
            lost_to = self._overtaken() or self._abandoned_to(final)
            if not lost_to:
                return
            yield from self._lose(*lost_to)
        if self.seq == issued:
            if final:
                yield from self._flush_gap()
            return
        yield from self._validated(run)

    def _places(self, count: int) -> list[slice]:
        """The ring's one or two stretches that hold the next `count` tickets."""
        place = self.seq & (self.ring.size - 1)
        before_end = min(count, self.ring.size - place)
        stretches = [slice(place, place + before_end)]
        if before_end < count:
            stretches.append(slice(0, count - before_end))
        return stretches

    def _copy_run(self, count: int) -> Slots | None:
        """Copy the longest run of ready slots, cut after its last whole span."""
        places = self._places(count)
        ready = self._ready(places)
        if not ready:
            return None
        load_fence()
        # A structured row numpy copies field by field, which takes 110 ns; as words it takes 3.
        stretches = [self.ring.slots[place] for place in self._places(ready)]
        words = np.concatenate([stretch.view(np.uint64) for stretch in stretches])
        copied: Slots = words.view(stretches[0].dtype)
        whole = whole_spans(copied)
        return copied[:whole] if whole else None

    def _ready(self, places: list[slice]) -> int:
        stamp, total = 2 * self.seq + 2, 0
        for place in places:
            stamps = self.ring.slots["stamp"][place]
            if len(self._steps) < len(stamps):
                self._steps = np.arange(0, 2 * len(stamps), 2, dtype=np.uint64)
            differs = stamps != self._steps[: len(stamps)] + np.uint64(stamp)
            first = int(differs.argmax())
            if differs[first]:
                return total + first
            total += len(stamps)
            stamp += 2 * len(stamps)
        return total

    def _validated(self, copied: Slots | None) -> Iterator[Run | Gap]:
        assert copied is not None
        load_fence()
        lost = self.ring.issued() - self.ring.size - self.seq
        if lost > 0:
            kept = next_span(copied, lost)
            if kept == len(copied):
                yield from self._lose(self.seq + max(lost, kept), "lapped")
                return
            yield from self._lose(self.seq + kept, "lapped")
            copied = copied[kept:]
        else:
            # After a gap, or where a reading begins, the first slot may stand inside of a span: it is lost.
            kept = next_span(copied, 0)
            if kept:
                yield from self._lose(self.seq + kept, self._gap.reason if self._gap else "lapped")
                copied = copied[kept:]
        if len(copied):
            yield from self._flush_gap()
            run = Run(self.seq, copied)
            self.seq = run.end
            yield run

    def _overtaken(self) -> tuple[int, str] | None:
        """The ring was lapped since `next_ticket` was read."""
        end = self.ring.issued() - self.ring.size
        return (end, "lapped") if end > self.seq else None

    def _abandoned_to(self, final: bool) -> tuple[int, str] | None:
        """Where the event at `seq` ends, if its producer gave it up.

        The log says so, or the event's first slot, if its owner released it. The log is a hint and can
        overflow, and a first slot that was never taken says nothing: then the ring's next lap tells, or the
        end of the recording.
        """
        end = self._logged_end() or self._released_end() or (self._end_here() if final else None)
        # Memory that no producer of ours wrote may say anything: even then go on, and not too far.
        return (min(max(end, self.seq + 1), self.ring.issued()), "abandoned") if end is not None else None

    def _logged_end(self) -> int | None:
        entries = self.ring.abandon_log[self.ring.abandon_log != 0]
        firsts = entries >> np.uint64(ABANDON_SPAN_BITS)
        ends = firsts + (entries & np.uint64((1 << ABANDON_SPAN_BITS) - 1))
        here = np.flatnonzero((firsts <= self.seq) & (self.seq < ends))
        return int(ends[here[0]]) if len(here) else None

    def _released_end(self) -> int | None:
        """Where the event at `seq` ends, as its first slot says with a stamp of `2 * seq`.

        In that place no other ticket's stamp has this value, except that a slot never written has 0; so of
        ticket 0 it says nothing. The owner wrote `span` before it released the slot, and to write there again
        a producer must have claimed seq+N: `next_ticket` is read again, as for a row.
        """
        place = self.seq & (self.ring.size - 1)
        if self.seq == 0 or int(self.ring.slots["stamp"][place]) != 2 * self.seq:
            return None
        load_fence()
        span = int(self.ring.slots["span"][place])
        load_fence()
        return None if self._overtaken() else self.seq + span

    def _end_here(self) -> int:
        """Where the event at `seq` ends, as far as ready slots still tell."""
        for ahead in range(SPAN_MAX):
            slot = self.ring.slots[(self.seq + ahead) & (self.ring.size - 1)]
            if int(slot["stamp"]) == 2 * (self.seq + ahead) + 2:
                index, span = int(slot["index"]), int(slot["span"])
                return self.seq + ahead + (span - index if index >= ahead else 0)
            if self.seq + ahead + 1 == self.ring.issued():
                break
        return self.seq + 1

    def _lose(self, end: int, reason: str) -> Iterator[Gap]:
        """Move on to `end`; adjacent gaps of one reason are one."""
        if self._gap is not None and self._gap.reason == reason:
            self._gap = Gap(self._gap.seq, end, reason)
        else:
            yield from self._flush_gap()
            self._gap = Gap(self.seq, end, reason)
        self.seq = end

    def _flush_gap(self) -> Iterator[Gap]:
        gap, self._gap = self._gap, None
        if gap is not None:
            yield gap


def whole_spans(slots: Slots) -> int:
    """Length of `slots` up to the end of its last span that is there to its end."""
    last: Any = slots[-1]
    index, span = int(last["index"]), int(last["span"])
    return len(slots) if index + 1 == span else max(len(slots) - index - 1, 0)


def next_span(slots: Slots, at: int) -> int:
    """The first position from `at` on where a span begins, at most the length of `slots`."""
    if at >= len(slots):
        return len(slots)
    index, span = int(slots[at]["index"]), int(slots[at]["span"])
    return at if index == 0 else min(at + max(span - index, 1), len(slots))
