"""The consumer over memory that no producer of ours wrote: an image from a machine that nobody trusts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.ring.cursor import Cursor, Ring
from tests.ring.stage import slot_dtype

SLOTS = 16
NUMBERS = st.one_of(st.integers(0, 20), st.integers(0, 255))


@settings(max_examples=400, deadline=None)
@given(
    first=st.integers(0, 40),
    issued=st.one_of(st.integers(0, 80), st.integers(0, (1 << 63) - 1)),
    stamps=st.lists(st.sampled_from([-1, 0, 1, 2, 2, 2, 2]), min_size=SLOTS, max_size=SLOTS),
    spans=st.lists(NUMBERS, min_size=SLOTS, max_size=SLOTS),
    indices=st.lists(NUMBERS, min_size=SLOTS, max_size=SLOTS),
    log=st.lists(st.one_of(st.integers(0, 80 << 8), st.integers(0, (1 << 64) - 1)), min_size=4, max_size=4),
)
def test_a_final_read_accounts_for_each_ticket_once_whatever_the_slots_say(
    first: int, issued: int, stamps: list[int], spans: list[int], indices: list[int], log: list[int]
) -> None:
    slots = np.zeros(SLOTS, slot_dtype())
    last_lap = max(issued - SLOTS, 0)
    for ticket, stamp in enumerate(stamps, last_lap):
        slots["stamp"][ticket % SLOTS] = max(2 * ticket + stamp, 0)
    slots["span"], slots["index"] = spans, indices
    first = min(first, issued)
    cursor = Cursor(Ring(slots, np.array([issued], np.uint64), np.array(log, np.uint64)), first)
    accounted, reads = first, 0
    while cursor.lag or not reads:
        for piece in cursor.read(SLOTS, final=True):
            assert piece.seq == accounted < piece.end
            accounted = piece.end
        reads += 1
        assert reads <= SLOTS + 1
    for piece in cursor.read(SLOTS, final=True):
        assert piece.seq == accounted < piece.end
        accounted = piece.end
    assert accounted == issued
