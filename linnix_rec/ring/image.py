"""A copy of a whole ring, taken while producers go on. Knows no kernel and no file."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnix_rec.ring.cursor import Cursor, Ring, Slots, Words
from linnix_rec.ring.fence import load_fence


@dataclass(frozen=True)
class RingImage:
    """The last lap of a ring: tickets `first_seq` to `end_seq` (not) are in it, each ready or given up.

    slots: (N,) in the slot's dtype, ticket t at t mod N
    abandon_log: (entries,) uint64, as `Ring` has it
    """

    slots: Slots
    abandon_log: Words
    first_seq: int
    end_seq: int

    def cursor(self) -> Cursor:
        """What reads it, from its first whole event on; `final` reads are right, as nobody writes to it."""
        ring = Ring(self.slots, np.array([self.end_seq], np.uint64), self.abandon_log)
        return Cursor(ring, self.first_event())

    def first_event(self) -> int:
        """The first ticket that is known to begin an event: the image may begin inside of a span."""
        tickets, ready = self.ready()
        if self.first_seq == 0 and self.end_seq and not ready[0]:
            return 0
        if not ready.any():
            return self.end_seq
        ticket = int(tickets[ready.argmax()])
        slot = self.slots[ticket & (len(self.slots) - 1)]
        index, span = int(slot["index"]), int(slot["span"])
        return ticket if index == 0 else min(ticket - index + span, self.end_seq)

    def ready(self) -> tuple[Words, npt.NDArray[np.bool_]]:
        """The image's tickets, and which of their slots are ready; (n,) each."""
        tickets = np.arange(self.end_seq - self.first_seq, dtype=np.uint64) + np.uint64(self.first_seq)
        stamps = self.slots["stamp"][tickets & np.uint64(len(self.slots) - 1)]
        return tickets, stamps == tickets * np.uint64(2) + np.uint64(2)


def copy_ring(ring: Ring, quiesce: Callable[[], None]) -> RingImage:
    """Copy a ring in which producers go on.

    quiesce: returns once whoever has claimed a ticket by then has published or abandoned it

    The end is read before that, so all that the image ends with is decided. Whoever touches a slot during
    the copy has claimed a ticket by then: so what `next_ticket`, read after the copy, is more than a ring
    ahead of may be overwritten, and nothing else is. The fence keeps the copy's loads above that one.
    """
    end_seq = ring.issued()
    quiesce()
    copied = ring.slots.view(np.uint64).copy().view(ring.slots.dtype)
    log = np.array(ring.abandon_log)
    load_fence()
    first_seq = max(0, ring.issued() - ring.size)
    return RingImage(copied, log, min(first_seq, end_seq), end_seq)
