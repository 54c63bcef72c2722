"""A copy of a ring holds its last lap, whatever producers do while it is taken."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.ring.cursor import Gap, Ring, Run
from linnix_rec.ring.image import RingImage, copy_ring
from tests.ring.stage import Memory, tickets_in

SLOTS = 32
SPANS = st.lists(st.integers(1, 16), max_size=40)


def plain_ring(memory: Memory) -> Ring:
    return Ring(memory.slots, memory.next_ticket, memory.log)


def pieces_of(image: RingImage) -> list[Run | Gap]:
    cursor, pieces = image.cursor(), []
    while cursor.lag:
        pieces += cursor.read(1 << 14, final=True)
    pieces += cursor.read(1 << 14, final=True)
    return pieces


def held(image: RingImage) -> dict[int, set[int]]:
    """The tickets of an image's rows, and what each slot says that it is of."""
    return {
        piece.seq + place: tickets_in(piece.slots[place])
        for piece in pieces_of(image)
        if isinstance(piece, Run)
        for place in range(len(piece.slots))
    }


@given(before=SPANS, during=SPANS)
def test_an_image_holds_the_whole_events_of_its_last_lap(before: list[int], during: list[int]) -> None:
    """`during`: what is published after the image's end was read, and before its slots are copied."""
    memory = Memory(SLOTS)
    for span in before:
        memory.publish(span)
    end_seq = memory.issued

    def go_on() -> None:
        for span in during:
            memory.publish(span)

    image = copy_ring(plain_ring(memory), go_on)
    oldest = memory.issued - SLOTS
    whole = [
        event for event in memory.events if event.first >= oldest and event.first + event.span <= end_seq
    ]
    expected = {ticket for event in whole for ticket in range(event.first, event.first + event.span)}
    assert image.end_seq == end_seq
    rows = held(image)
    assert rows.keys() == expected
    assert all(says == {ticket} for ticket, says in rows.items())
    assert not [piece for piece in pieces_of(image) if isinstance(piece, Gap)]


@given(before=SPANS, given_up=st.integers(1, 16), after=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_what_a_producer_gave_up_is_a_gap_in_an_image(
    before: list[int], given_up: int, after: list[int]
) -> None:
    memory = Memory(SLOTS)
    for span in before:
        memory.publish(span)
    memory.slots["stamp"][memory.issued % SLOTS] |= 1  # another owner is writing
    lost = memory.publish(given_up)
    assert lost.abandoned
    for span in after:
        memory.publish(span)
    image = copy_ring(plain_ring(memory), lambda: None)
    gaps = [piece for piece in pieces_of(image) if isinstance(piece, Gap)]
    if image.first_event() <= lost.first:
        assert [(gap.seq, gap.end, gap.reason) for gap in gaps] == [
            (lost.first, lost.first + given_up, "abandoned")
        ]
    accounted = sum(len(piece.slots) if isinstance(piece, Run) else piece.lost for piece in pieces_of(image))
    assert image.first_event() + accounted == image.end_seq


def test_an_image_is_a_copy() -> None:
    memory = Memory(SLOTS)
    memory.publish(2)
    image = copy_ring(plain_ring(memory), lambda: None)
    for _ in range(2 * SLOTS):
        memory.publish()
    assert held(image) == {0: {0}, 1: {1}}
    assert not np.shares_memory(image.slots, memory.slots)


def test_a_ring_that_was_lapped_since_its_end_was_read_holds_nothing() -> None:
    memory = Memory(SLOTS)
    memory.publish()

    def a_lap() -> None:
        for _ in range(2 * SLOTS):
            memory.publish()

    image = copy_ring(plain_ring(memory), a_lap)
    assert (image.first_seq, image.end_seq, pieces_of(image)) == (1, 1, [])


def test_a_ring_that_nobody_wrote_to_is_empty() -> None:
    image = copy_ring(plain_ring(Memory(SLOTS)), lambda: None)
    assert (image.first_seq, image.end_seq, image.first_event(), pieces_of(image)) == (0, 0, 0, [])
