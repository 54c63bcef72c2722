"""The consumer's rule, one situation a test."""

from __future__ import annotations

import numpy as np
import pytest

from linnix_rec.ring import cursor as cursor_module
from linnix_rec.ring.cursor import Cursor, Gap, Ring, Run, next_span, whole_spans
from tests.ring.stage import Memory, Witness, run_out, slot_dtype


def test_a_slot_is_two_cache_lines_and_begins_with_its_stamp() -> None:
    dtype = slot_dtype()
    assert dtype.itemsize == 128
    assert dtype.fields is not None
    assert dtype.fields["stamp"][1] == 0
    assert dtype["text"].shape == (112,)


@pytest.mark.parametrize("slots", [0, 1, 24])
def test_a_ring_whose_size_is_no_power_of_two_from_2_on_is_refused(slots: int) -> None:
    with pytest.raises(ValueError, match=f"a ring of {slots} slots: not a power of two from 2 on"):
        Memory(slots).ring()


def test_an_empty_ring_gives_nothing() -> None:
    cursor = Cursor(Memory(16).ring())
    assert list(cursor.read(100)) == []
    assert list(cursor.read(100, final=True)) == []
    assert (cursor.seq, cursor.lag) == (0, 0)


def test_what_is_read_is_a_copy_that_later_laps_do_not_change() -> None:
    memory = Memory(16)
    memory.publish()
    (run,) = Cursor(Ring(memory.slots, memory.next_ticket, memory.log)).read(100)
    before = run.slots.tobytes()
    for _ in range(20):
        memory.publish()
    assert run.slots.tobytes() == before


def test_a_run_stops_before_an_event_that_is_being_written_and_goes_on_when_it_is_ready() -> None:
    memory = Memory(16)
    memory.publish()
    writer = memory.produce(3)
    for _ in range(8):
        next(writer)
    memory.publish()
    witness = Witness(memory)
    witness.read()
    assert (witness.rows, witness.cursor.seq, witness.cursor.lag) == ([0], 1, 4)
    run_out(writer)
    witness.read()
    assert (witness.rows, witness.cursor.lag) == ([0, 1, 4], 0)
    assert witness.gaps == []


def test_a_span_that_wraps_the_end_of_the_ring_is_read_whole() -> None:
    memory = Memory(16)
    witness = Witness(memory)
    for span in (14, 5, 16):
        memory.publish(span)
        witness.read()
    assert witness.rows == [0, 14, 19]
    assert witness.gaps == []


def test_a_batch_that_would_end_inside_a_span_ends_before_it() -> None:
    memory = Memory(64)
    for span in (1, 10, 10):
        memory.publish(span)
    witness = Witness(memory)
    witness.read(limit=16)
    assert [(piece.seq, piece.end) for piece in witness.pieces] == [(0, 11)]
    witness.read(limit=1)  # a limit is never less than the longest span
    assert witness.rows == [0, 1, 11]


def test_a_gap_that_ends_inside_a_span_extends_to_its_end() -> None:
    memory = Memory(16)
    for span in (1, 4, 10, 4):  # tickets 0 to 18: the last lap begins at 3, inside the second event
        memory.publish(span)
    witness = Witness(memory)
    witness.read()
    assert [type(piece) for piece in witness.pieces] == [Gap, Run]
    assert witness.gaps == [Gap(0, 5, "lapped")]
    assert witness.rows == [5, 15]


def test_being_lapped_between_the_stamps_and_the_copy_is_seen_before_a_row_is_given() -> None:
    memory = Memory(16)
    for _ in range(16):
        memory.publish()
    loads = iter(range(1000))

    def lap_once() -> None:
        if next(loads) == 20:  # past next_ticket, the stamps and the first slots
            for _ in range(5):
                memory.publish()

    witness = Witness(memory, lap_once)
    witness.read()
    assert witness.gaps == [Gap(0, 5, "lapped")]
    assert witness.rows == list(range(5, 16))


def test_an_abandoned_event_is_a_gap_at_its_place_as_soon_as_the_log_names_it() -> None:
    memory = Memory(16)
    memory.publish()
    memory.slots["stamp"][2] = 1  # somebody else writes there, a lap behind
    run_out(memory.produce(3))
    memory.publish()
    witness = Witness(memory)
    witness.catch_up()
    assert [(type(piece), piece.seq, piece.end) for piece in witness.pieces] == [
        (Run, 0, 1),
        (Gap, 1, 4),
        (Run, 4, 5),
    ]
    assert witness.gaps == [Gap(1, 4, "abandoned")]


def test_an_abandoned_span_gives_its_slots_back_to_the_next_lap() -> None:
    memory = Memory(16)
    memory.slots["stamp"][2] = 1
    run_out(memory.produce(3))
    memory.slots["stamp"][2] = 0
    witness = Witness(memory)
    for _ in range(29):
        memory.publish()
        witness.read()
    assert witness.gaps == [Gap(0, 3, "abandoned")]
    assert [event.published for event in memory.events] == [False] + [True] * 29


def test_without_a_log_entry_the_cursor_waits_and_the_next_lap_tells() -> None:
    memory = Memory(16, log_entries=1)
    for first in (0, 2):
        memory.slots["stamp"][first] = 1
        memory.publish()
        memory.slots["stamp"][first] = 0
        memory.publish()
    witness = Witness(memory)
    witness.catch_up()
    assert (witness.pieces, witness.cursor.seq) == ([], 0)  # the log's one entry names ticket 2
    for _ in range(13):  # up to ticket 16: slot 0 is taken anew
        memory.publish()
    witness.catch_up()
    assert witness.gaps == [Gap(0, 1, "lapped"), Gap(2, 3, "abandoned")]
    assert witness.rows == [1, *range(3, 17)]


def test_a_first_slot_that_was_given_back_tells_what_the_log_no_longer_does() -> None:
    memory = Memory(16)
    memory.publish()
    memory.slots["stamp"][3] = 1  # somebody else writes there, a lap behind
    run_out(memory.produce(5))
    memory.publish()
    memory.log[:] = 0
    witness = Witness(memory)
    witness.catch_up()
    assert witness.gaps == [Gap(1, 6, "abandoned")]
    assert witness.rows == [0, 6]


def test_a_slot_never_written_is_not_ticket_0_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(16)
    writer = memory.produce(2)
    next(writer)  # claimed, not taken: the stamp is 0, which is 2 * 0

    def write_a_part() -> None:
        monkeypatch.setattr(cursor_module, "load_fence", lambda: None)
        for _ in range(4):
            next(writer)

    monkeypatch.setattr(cursor_module, "load_fence", write_a_part)
    witness = Witness(memory)
    witness.read()
    assert (witness.gaps, witness.cursor.seq) == ([], 0)
    monkeypatch.setattr(cursor_module, "load_fence", lambda: None)
    run_out(writer)
    witness.read_to_the_end()
    assert (witness.rows, witness.gaps) == ([0], [])


def test_a_first_slot_that_is_taken_anew_while_it_is_looked_at_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its `span` is already that of another event."""
    memory = Memory(16)
    memory.publish()
    memory.slots["stamp"][2] = 1
    run_out(memory.produce(2))
    memory.slots["stamp"][2] = 0
    memory.log[:] = 0
    witness = Witness(memory)
    witness.read()
    assert (witness.rows, witness.cursor.seq) == ([0], 1)

    def lap() -> None:
        monkeypatch.setattr(cursor_module, "load_fence", lambda: None)
        for _ in range(14):
            memory.publish()
        memory.publish(16)  # begins with ticket 17, in the place of ticket 1

    monkeypatch.setattr(cursor_module, "load_fence", lap)
    witness.read()
    assert witness.cursor.seq == 1
    witness.read_to_the_end()
    assert witness.gaps == [Gap(1, 17, "lapped")]
    assert witness.rows == [0, 17]


def test_a_final_read_needs_no_log_for_an_abandoned_span() -> None:
    memory = Memory(16)
    memory.publish()
    memory.slots["stamp"][3] = 1
    run_out(memory.produce(4))
    memory.publish(2)
    memory.log[:] = 0
    witness = Witness(memory)
    witness.read()
    assert (witness.rows, witness.cursor.seq) == ([0], 1)
    witness.read_to_the_end()
    assert witness.gaps == [Gap(1, 5, "abandoned")]
    assert witness.rows == [0, 5]


def test_a_final_read_accounts_for_abandoned_tickets_at_the_very_end() -> None:
    memory = Memory(16, log_entries=1)
    memory.publish()
    memory.slots["stamp"][1:4] = 1
    for _ in range(3):
        memory.publish()
    memory.log[:] = 0
    witness = Witness(memory)
    witness.read_to_the_end()
    assert witness.rows == [0]
    assert witness.gaps == [Gap(1, 4, "abandoned")]


def test_adjacent_losses_of_one_reason_are_one_gap_and_of_two_reasons_two() -> None:
    memory = Memory(16)
    witness = Witness(memory)
    for _ in range(20):
        memory.publish()
    memory.slots["stamp"][4] = memory.slots["stamp"][5] = 1
    memory.publish()
    memory.publish()
    for _ in range(4):
        memory.publish()
    # 26 issued: 0 to 9 are overwritten, 20 and 21 were abandoned.
    witness.read_to_the_end()
    assert witness.gaps == [Gap(0, 10, "lapped"), Gap(20, 22, "abandoned")]
    later = Memory(16)
    witness = Witness(later)
    for _ in range(4):
        later.publish()
    later.slots["stamp"][4] = 1
    for _ in range(16):
        later.publish()
    assert later.events[4].abandoned
    witness.read_to_the_end()
    assert witness.gaps == [Gap(0, 4, "lapped"), Gap(4, 5, "abandoned")]


def test_a_producer_that_sleeps_for_a_lap_abandons_and_leaves_the_newer_event_whole() -> None:
    memory = Memory(16)
    sleeper = memory.produce(1)
    next(sleeper)  # claimed, not taken
    for _ in range(16):
        memory.publish()
    run_out(sleeper)
    assert memory.events[0].abandoned
    witness = Witness(memory)
    witness.read_to_the_end()
    assert witness.gaps == [Gap(0, 1, "lapped")]
    assert witness.rows == list(range(1, 17))


def test_tickets_beyond_32_bits_are_told_apart() -> None:
    first = (1 << 40) + 5
    memory = Memory(16, first_ticket=first)
    witness = Witness(memory, first=first)
    for _ in range(40):
        memory.publish(2)
        witness.read()
    assert witness.rows == list(range(first, first + 80, 2))
    assert witness.gaps == []


def test_a_reading_that_begins_inside_a_span_begins_with_a_gap() -> None:
    memory = Memory(16)
    memory.publish(4)
    memory.publish()
    witness = Witness(memory, first=2)
    gap, run = witness.cursor.read(100)
    assert isinstance(run, Run)
    assert (gap, run.seq, run.end) == (Gap(2, 4, "lapped"), 4, 5)


def test_what_was_given_is_not_given_again_to_a_caller_that_stopped_there() -> None:
    memory = Memory(16)
    for _ in range(20):
        memory.publish()
    cursor = Cursor(memory.ring())
    pieces = [next(cursor.read(100)) for _ in range(2)]
    assert isinstance(pieces[1], Run)
    assert (pieces[0], pieces[1].seq, pieces[1].end) == (Gap(0, 4, "lapped"), 4, 20)
    assert list(cursor.read(100, final=True)) == []


@pytest.mark.parametrize(
    ("slots", "whole"),
    [
        ([(1, 0)], 1),
        ([(1, 0), (2, 0)], 1),
        ([(1, 0), (2, 0), (2, 1)], 3),
        ([(3, 0), (3, 1)], 0),
        ([(16, 9)], 0),  # begins inside a span and does not end it
        ([(16, 14), (16, 15)], 2),
    ],
)
def test_whole_spans_end_with_the_last_span_that_is_there_to_its_end(
    slots: list[tuple[int, int]], whole: int
) -> None:
    assert whole_spans(_slots(slots)) == whole


@pytest.mark.parametrize(("at", "begins"), [(0, 0), (1, 3), (2, 3), (3, 3), (4, 5), (5, 5), (9, 5)])
def test_the_next_span_begins_after_the_rest_of_the_one_that_is_cut(at: int, begins: int) -> None:
    assert next_span(_slots([(3, 0), (3, 1), (3, 2), (9, 0), (9, 1)]), at) == begins


def _slots(spans_and_indices: list[tuple[int, int]]) -> np.ndarray:
    slots = np.zeros(len(spans_and_indices), slot_dtype())
    slots["span"] = [span for span, _ in spans_and_indices]
    slots["index"] = [index for _, index in spans_and_indices]
    return slots
