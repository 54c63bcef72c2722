"""Events come out of a perf buffer whole, once, in order, with what is missing told at its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.ring.perf_buffer import PerfMemory
from tests.ring.channels import PerfBuffer, event, numbers

SAMPLE = 8 + 4 + 128 + 4


def test_events_come_in_order_and_their_padding_is_left_out() -> None:
    buffer = PerfBuffer()
    sent = [event(1), event(2, 3, filler=range(1, 9)), event(3)]
    for slots in sent:
        assert buffer.offer(slots)
    taken = buffer.cursor.read(100)
    assert taken.slots.tobytes() == b"".join(slots.tobytes() for slots in sent)
    assert taken.lost.tolist() == [0, 0, 0]
    assert taken.whole


def test_a_sample_that_wraps_is_whole_wherever_it_is_cut() -> None:
    slots = event(7, 4, filler=range(1, 30))
    for room in range(8, 4 * 128 + 16, 8):
        buffer = PerfBuffer(4096, 4096 - room)
        assert buffer.offer(slots)
        assert buffer.cursor.read(100).slots.tobytes() == slots.tobytes()


def test_losses_stand_before_the_event_that_found_room_again() -> None:
    buffer = PerfBuffer(4096)
    fitted = sum(buffer.offer(event(number)) for number in range(40))
    assert fitted == (4096 - 1) // SAMPLE
    first = buffer.cursor.read(100)
    assert numbers(first.slots) == list(range(fitted))
    assert not first.lost.any()
    buffer.offer(event(50))
    buffer.offer(event(51))
    taken = buffer.cursor.read(100)
    assert numbers(taken.slots) == [50, 51]
    assert taken.lost.tolist() == [40 - fitted, 0]


def test_a_record_of_another_type_is_passed_over() -> None:
    buffer = PerfBuffer()
    buffer.offer(event(1))
    buffer.write(13, bytes(24))
    buffer.write(9, (4).to_bytes(4, "little") + bytes(4))
    buffer.offer(event(2))
    assert numbers(buffer.cursor.read(100).slots) == [1, 2]


def test_what_is_beyond_the_limit_is_left_and_said_to_be_left() -> None:
    buffer = PerfBuffer(1 << 18)
    for number in range(1000):
        assert buffer.offer(event(number))
    read: list[int] = []
    while not (taken := buffer.cursor.read(1)).whole:
        assert 0 < len(taken.slots) < 1000
        read += numbers(taken.slots)
    assert read + numbers(taken.slots) == list(range(1000))


def test_a_loss_at_the_end_of_a_reading_waits_for_the_event_that_it_stands_before() -> None:
    buffer = PerfBuffer(1 << 17)
    before = (1 << 16) // SAMPLE - 1
    for number in range(before):
        assert buffer.offer(event(number))
    buffer.lost = 3
    assert buffer.offer(event(before, 2))
    first = buffer.cursor.read(1)
    assert numbers(first.slots) == list(range(before))
    assert not first.whole
    second = buffer.cursor.read(1)
    assert numbers(second.slots) == [before]
    assert second.lost.tolist() == [3]


def test_arguments_that_look_like_samples_are_none() -> None:
    buffer = PerfBuffer(1 << 16)
    sent = []
    for span in range(1, 17):
        slots = event(span, 16)
        words = slots.view(np.uint32).reshape(16, 32)
        # A record's words lie 4 bytes off a slot's.
        words[1:, 5], words[1:, 6], words[1:, 7] = 9, (128 * span + 16) << 16, 128 * span + 4
        words[1:, 13], words[1:, 14] = 2, 24 << 16
        sent += [slots, event(100 + span)]
    for slots in sent:
        assert buffer.offer(slots)
    taken = buffer.cursor.read(1000)
    assert taken.slots.tobytes() == b"".join(slots.tobytes() for slots in sent)
    assert not taken.lost.any()


def test_a_record_without_a_size_ends_the_reading_and_is_not_waited_for() -> None:
    buffer = PerfBuffer(1 << 18)
    buffer.memory.data_head[0] = 1 << 17
    taken = buffer.cursor.read(1)
    assert len(taken.slots) == 0
    assert taken.whole


def test_memory_that_is_no_power_of_two_is_refused() -> None:
    position = np.zeros(1, np.uint64)
    with pytest.raises(ValueError, match="3000 bytes are no power of two"):
        PerfMemory(position, position, np.zeros(3000, np.uint8))


LOOKS_LIKE_A_RECORD = st.sampled_from([9, 2, 9 | 144 << 48, 2 | 24 << 48, 9 << 32, 144 << 16, 132, 0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 16), st.lists(LOOKS_LIKE_A_RECORD, max_size=40)),
        st.tuples(st.just("read"), st.integers(0, 40), st.just([])),
    ),
    max_size=120,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([4096, 8192, 1 << 17]), st.integers(0, 4000))
def test_what_found_room_is_read_and_what_did_not_is_told(
    steps: list[tuple[str, int, list[int]]], size: int, begin: int
) -> None:
    buffer = PerfBuffer(size, begin * 8)
    expected: list[tuple[int, int]] = []
    missing = 0
    read: list[tuple[int, int]] = []
    for number, (what, parameter, filler) in enumerate([*steps, ("read", 1 << 20, [])]):
        if what == "offer":
            if buffer.offer(event(number, parameter, filler=filler)):
                expected.append((number, missing))
                missing = 0
            else:
                missing += 1
        else:
            taken = buffer.cursor.read(parameter)
            read += zip(numbers(taken.slots), taken.lost.tolist(), strict=True)
    assert read == expected
    assert buffer.lost == missing
