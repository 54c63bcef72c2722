"""Buffers merged by time: sorted where their clocks agree, each in its own order, nothing lost or twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.ring.cursor import Slots
from linnix_rec.ring.merge import TimeMerge
from tests.ring.channels import event, numbers
from tests.ring.stage import slot_dtype


def events(*times: tuple[int, int], span: int = 1) -> Slots:
    """(number, boot_ns) of each."""
    one = [np.zeros(0, slot_dtype()), *(event(number, span, boot_ns=boot_ns) for number, boot_ns in times)]
    return np.concatenate([slots.view(np.uint64) for slots in one]).view(slot_dtype())


def none_lost(count: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.zeros(count, np.uint64)


def test_two_buffers_come_out_by_time() -> None:
    merge = TimeMerge(slot_dtype())
    merge.add(0, events((1, 10), (3, 30)), none_lost(2))
    merge.add(1, events((2, 20), (4, 40), span=3), none_lost(2))
    taken = merge.take(None)
    assert numbers(taken.slots) == [1, 2, 3, 4]
    assert taken.buffers.tolist() == [0, 1, 0, 1]
    assert taken.heads.tolist() == [0, 1, 4, 5]


def test_what_is_later_is_held_back_until_it_is_not() -> None:
    merge = TimeMerge(slot_dtype())
    merge.add(0, events((1, 10), (4, 40)), none_lost(2))
    assert numbers(merge.take(25).slots) == [1]
    merge.add(1, events((3, 30)), none_lost(1))
    assert numbers(merge.take(25).slots) == []
    assert numbers(merge.take(40).slots) == [3, 4]
    assert numbers(merge.take(None).slots) == []


def test_a_buffer_keeps_its_own_order_even_against_its_times() -> None:
    """A listing, interrupted between taking the time and writing it, stands behind who interrupted it."""
    merge = TimeMerge(slot_dtype())
    assert merge.add(0, events((1, 20), (2, 15), (3, 25)), none_lost(3)) == 25
    assert merge.add(0, events((4, 24)), none_lost(1)) == 25
    merge.add(1, events((5, 16), (6, 22)), none_lost(2))
    assert numbers(merge.take(None).slots) == [5, 1, 2, 6, 3, 4]


def test_a_loss_stays_before_the_event_that_it_was_told_with() -> None:
    merge = TimeMerge(slot_dtype())
    merge.add(0, events((1, 10), (3, 30)), np.array([0, 7], np.uint64))
    merge.add(1, events((2, 20), (4, 40)), np.array([2, 0], np.uint64))
    taken = merge.take(None)
    assert list(zip(numbers(taken.slots), taken.lost.tolist(), strict=True)) == [
        (1, 0),
        (2, 2),
        (3, 7),
        (4, 0),
    ]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4)), max_size=6)),
        max_size=20,
    ),
    st.data(),
)
def test_every_event_comes_once_and_each_buffer_in_its_order(
    readings: list[tuple[int, list[tuple[int, int]]]], data: st.DataObject
) -> None:
    merge = TimeMerge(slot_dtype())
    given_to: dict[int, list[int]] = {}
    came: dict[int, list[int]] = {}
    number = 0
    taken = []
    for buffer, some in readings:
        slots = []
        for boot_ns, span in some:
            number += 1
            slots.append(event(number, span, boot_ns=boot_ns).view(np.uint64))
            given_to.setdefault(buffer, []).append(number)
        joined = np.concatenate([np.zeros(0, np.uint64), *slots]).view(slot_dtype())
        merge.add(buffer, joined, none_lost(len(some)))
        taken.append(merge.take(data.draw(st.integers(0, 60))))
    taken.append(merge.take(None))
    for part in taken:
        assert part.times.tolist() == sorted(part.times.tolist())
        for buffer, which in zip(part.buffers.tolist(), numbers(part.slots), strict=True):
            came.setdefault(buffer, []).append(which)
    assert came == given_to
