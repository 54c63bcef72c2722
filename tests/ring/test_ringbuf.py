"""Events come out of a ring buffer whole, once, in the order of reservation, up to the first busy one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.ring.ringbuf import RingbufMemory, losses
from tests.ring.channels import Reservation, Ringbuf, event, numbers

RECORD = 8 + 128


def test_events_come_in_the_order_of_their_reservation() -> None:
    ringbuf = Ringbuf()
    first, second = ringbuf.reserve(128), ringbuf.reserve(128)
    assert first is not None
    assert second is not None
    ringbuf.commit(second, event(2))
    ringbuf.commit(first, event(1))
    assert numbers(ringbuf.cursor.read(100)) == [1, 2]


def test_a_busy_record_holds_up_what_is_behind_it() -> None:
    ringbuf = Ringbuf()
    ringbuf.offer(event(1))
    reserved = ringbuf.reserve(128)
    ringbuf.offer(event(3))
    assert numbers(ringbuf.cursor.read(100)) == [1]
    assert numbers(ringbuf.cursor.read(100)) == []
    assert reserved is not None
    ringbuf.commit(reserved, event(2))
    assert numbers(ringbuf.cursor.read(100)) == [2, 3]


def test_what_is_discarded_is_passed_over() -> None:
    ringbuf = Ringbuf()
    for number in range(3):
        reserved = ringbuf.reserve(128)
        assert reserved is not None
        ringbuf.commit(reserved, event(number), discarded=number == 1)
    assert numbers(ringbuf.cursor.read(100)) == [0, 2]
    assert ringbuf.cursor.position == 3 * RECORD


def test_a_record_that_is_no_event_of_ours_is_passed_over() -> None:
    ringbuf = Ringbuf()
    for length in (1, 12, 3 * 1024):
        reserved = ringbuf.reserve(length)
        assert reserved is not None
        ringbuf.fill(reserved, 0x80)
        ringbuf.commit(reserved)
    ringbuf.offer(event(1))
    assert numbers(ringbuf.cursor.read(100)) == [1]


def test_room_is_given_back_once_events_are_copied() -> None:
    ringbuf = Ringbuf(4096)
    fitted = sum(ringbuf.offer(event(number)) for number in range(40))
    assert fitted == (4096 - 1) // RECORD
    read = ringbuf.cursor.read(10)
    assert numbers(read) == list(range(len(read)))
    assert int(ringbuf.memory.consumer_pos[0]) == len(read) * RECORD
    assert ringbuf.offer(event(99))
    assert numbers(read) == list(range(len(read)))


def test_an_event_that_wraps_is_whole() -> None:
    position = 4096 * 5 - 3 * RECORD - 200
    ringbuf = Ringbuf(4096, position - position % 8)
    sent = [event(1), event(2, 16, filler=range(1, 60)), event(3)]
    for slots in sent:
        assert ringbuf.offer(slots)
    assert ringbuf.cursor.read(100).tobytes() == b"".join(slots.tobytes() for slots in sent)


def test_what_each_cpu_has_lost_is_missing_before_its_next_event() -> None:
    known: dict[int, int] = {}
    cpus = np.array([0, 1, 0, 0, 1], np.uint16)
    missing = losses(cpus, np.array([0, 2, 3, 3, 5], np.uint64), known)
    assert missing.tolist() == [0, 2, 3, 0, 3]
    assert known == {0: 3, 1: 5}
    assert losses(cpus[:2], np.array([4, 5], np.uint64), known).tolist() == [1, 0]


def test_who_was_interrupted_before_its_reservation_tells_no_loss_again() -> None:
    known = {0: 1}
    cpus = np.zeros(3, np.uint16)
    assert losses(cpus, np.array([4, 1, 4], np.uint64), known).tolist() == [3, 0, 0]
    assert known == {0: 4}


def test_arguments_that_look_like_records_are_none() -> None:
    """A header of each length that an event can have, and a first slot behind it, in the text of an exec."""
    ringbuf = Ringbuf(1 << 16)
    sent = []
    for span in range(1, 17):
        slots = event(span, 16)
        text = slots.view(np.uint64).reshape(16, 16)
        text[1:, 4] = 128 * span | 7 << 32
        text[1:, 6] = 1 | span << 8
        sent.append(slots)
        sent.append(event(100 + span))
    for slots in sent:
        assert ringbuf.offer(slots)
    assert ringbuf.cursor.read(1000).tobytes() == b"".join(slots.tobytes() for slots in sent)


def test_memory_that_is_not_twice_a_power_of_two_is_refused() -> None:
    position = np.zeros(1, np.uint64)
    with pytest.raises(ValueError, match="6000 bytes are not twice a power of two"):
        RingbufMemory(position, position, np.zeros(6000, np.uint8))


LOOKS_LIKE_A_HEADER = st.sampled_from([0, 128, 256, 128 | 7 << 32, 2048 | 7 << 32, 1 << 31, 1 << 30 | 128])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(1, 16), st.lists(LOOKS_LIKE_A_HEADER, max_size=40)),
        st.tuples(st.just("commit"), st.integers(0, 3), st.just([])),
        st.tuples(st.just("discard"), st.integers(0, 3), st.just([])),
        st.tuples(st.just("read"), st.integers(0, 40), st.just([])),
    ),
    max_size=120,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([4096, 8192]), st.integers(0, 4000))
def test_whatever_is_committed_is_read_once_and_in_order(
    steps: list[tuple[str, int, list[int]]], size: int, begin: int
) -> None:
    ringbuf = Ringbuf(size, begin * 8)
    under_way: list[tuple[int, Reservation]] = []
    expected: dict[int, bytes] = {}
    order: list[int] = []
    read = b""
    for number, (what, parameter, filler) in enumerate(steps):
        if what == "reserve":
            reserved = ringbuf.reserve(128 * parameter)
            if reserved is not None:
                expected[number] = event(number, parameter, filler=filler).tobytes()
                under_way.append((number, reserved))
                order.append(number)
        elif what == "read":
            read += ringbuf.cursor.read(parameter).tobytes()
        elif under_way:
            done, reserved = under_way.pop(parameter % len(under_way))
            discarded = what == "discard"
            slots = np.frombuffer(expected[done], ringbuf.cursor._dtype)
            ringbuf.commit(reserved, slots, discarded=discarded)
            if discarded:
                expected[done] = b""
    for done, reserved in under_way:
        ringbuf.commit(reserved, np.frombuffer(expected[done], ringbuf.cursor._dtype))
    while more := ringbuf.cursor.read(5).tobytes():
        read += more
    assert read == b"".join(expected[number] for number in order)
    assert int(ringbuf.memory.consumer_pos[0]) <= ringbuf.memory.produced()
