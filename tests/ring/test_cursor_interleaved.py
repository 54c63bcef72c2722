"""The consumer against producers that act at every one of its steps: nothing torn, twice or skipped."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linnix_rec.ring import cursor as cursor_module
from linnix_rec.ring.cursor import Gap
from tests.ring.stage import Memory, Producer, Witness

CPUS = 4
EVENTS = 120


@dataclass(frozen=True)
class Weather:
    """How a run goes: all of it follows from these numbers."""

    seed: int
    ring_bits: int
    log_entries: int
    longest_span: int
    busy: float  # how often producers act while the consumer reads
    sleepy: float  # how often a producer is preempted for long

    @property
    def slots(self) -> int:
        return 1 << self.ring_bits


WEATHERS = st.builds(
    Weather,
    seed=st.integers(0, 1 << 32),
    ring_bits=st.integers(1, 6),
    log_entries=st.sampled_from([1, 2, 64]),
    longest_span=st.sampled_from([1, 2, 3, 16]),
    busy=st.sampled_from([0.0, 0.05, 0.3, 0.9]),
    sleepy=st.sampled_from([0.0, 0.02, 0.2]),
)


class Machine:
    """A few CPUs that run producers; those that sleep stay where they are while others lap the ring."""

    def __init__(self, weather: Weather, memory: type[Memory] = Memory) -> None:
        self.weather = weather
        self.random = Random(weather.seed)  # noqa: S311
        self.memory = memory(weather.slots, weather.log_entries)
        self.to_start = EVENTS
        self.running: list[Producer] = []
        self.asleep: list[Producer] = []

    @property
    def alive(self) -> bool:
        return bool(self.to_start or self.running or self.asleep)

    def step(self) -> None:
        """One CPU does one thing."""
        random = self.random
        if self.asleep and (random.random() < 0.02 or not self.to_start):
            self.running.append(self.asleep.pop(random.randrange(len(self.asleep))))
        if self.to_start and len(self.running) < CPUS:
            self.to_start -= 1
            self.running.append(self.memory.produce(random.randint(1, self.weather.longest_span)))
        if self.running:
            place = random.randrange(len(self.running))
            try:
                next(self.running[place])
            except StopIteration:
                del self.running[place]
                return
            if random.random() < self.weather.sleepy and len(self.asleep) < CPUS:
                self.asleep.append(self.running.pop(place))

    def while_reading(self) -> None:
        """Called before each load of the consumer."""
        while self.random.random() < self.weather.busy:
            self.step()


def live_through(weather: Weather, monkeypatch: pytest.MonkeyPatch, memory: type[Memory] = Memory) -> Witness:
    machine = Machine(weather, memory)
    monkeypatch.setattr(cursor_module, "load_fence", machine.while_reading)
    witness = Witness(machine.memory, machine.while_reading)
    while machine.alive:
        for _ in range(machine.random.choice([0, 1, 10, 300])):
            machine.step()
        witness.read(machine.random.choice([1, 16, 20, 1000]))
    witness.read_to_the_end()
    assert not (machine.memory.slots["stamp"] & 1).any(), "no slot is odd for ever"
    return witness


# Each example ends with the properties that `Witness` asserts piece by piece.
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weather=WEATHERS)
def test_every_ticket_is_in_one_row_or_one_gap_however_the_steps_interleave(
    weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = live_through(weather, monkeypatch)
    lost = sum(gap.lost for gap in witness.gaps)
    read = sum(witness.memory.event_of[ticket].span for ticket in witness.rows)
    assert lost + read == witness.memory.issued
    published = {event.first for event in witness.memory.events if event.published}
    in_gaps = {ticket for gap in witness.gaps for ticket in range(gap.seq, gap.end)}
    assert set(witness.rows) == published - in_gaps


def test_the_weather_is_bad_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of gaps, and runs between them, do come about: the property is about something."""
    reasons = {"lapped": 0, "abandoned": 0}
    overflowed = rows = 0
    for seed in range(30):
        witness = live_through(Weather(seed, 4, 2, 3, 0.3, 0.02), monkeypatch)
        for gap in witness.gaps:
            reasons[gap.reason] += 1
        overflowed += witness.memory.logged > 2
        rows += len(witness.rows)
    assert min(reasons.values()) > 30
    assert overflowed > 10
    assert rows > 300


class WithoutOddTest(Memory):
    def refuses(self, stamp: int, ticket: int) -> bool:
        return stamp > 2 * ticket


class WithoutLaterTest(Memory):
    def refuses(self, stamp: int, ticket: int) -> bool:  # noqa: ARG002
        return bool(stamp & 1)


class WithoutCompareAndSwap(Memory):
    def swaps(self, found: int, expected: int) -> bool:  # noqa: ARG002
        return True


class WithoutIndex(Memory):
    def index_of(self, index: int) -> int:  # noqa: ARG002
        return 0


class WithoutRelease(Memory):
    def release(self, slot: Any, ticket: int) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (WithoutOddTest, "a mix of two events"),
        (WithoutLaterTest, "was not abandoned"),
        (WithoutCompareAndSwap, "a mix of two events"),
        (WithoutIndex, "a run ends with its last span"),
        (WithoutRelease, "no slot is odd for ever"),
    ],
)
def test_producers_that_leave_a_part_of_the_protocol_out_are_found_out(
    broken: type[Memory], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weather as above: what it does not find is not there because of luck."""
    found = []
    for seed in range(200):
        try:
            live_through(Weather(seed, 1 + seed % 3, 2, 2, 0.3, 0.2), monkeypatch, broken)
        except AssertionError as error:
            found.append(str(error))
    assert any(why in reason for reason in found), found


@settings(max_examples=100, deadline=None)
@given(spans=st.lists(st.integers(1, 16), min_size=1, max_size=60), limit=st.integers(1, 200))
def test_without_laps_every_event_is_read_in_order(spans: list[int], limit: int) -> None:
    memory = Memory(64)
    witness = Witness(memory)
    for span in spans:
        memory.publish(span)
        if memory.issued - witness.cursor.seq > 40:
            while witness.cursor.lag:
                witness.read(limit)
    while witness.cursor.lag:
        witness.read(limit)
    assert witness.rows == [event.first for event in memory.events]
    assert witness.gaps == []


@settings(max_examples=100, deadline=None)
@given(spans=st.lists(st.integers(1, 16), min_size=10, max_size=60), ring_bits=st.integers(4, 6))
def test_after_laps_exactly_the_whole_events_of_the_last_lap_are_read(
    spans: list[int], ring_bits: int
) -> None:
    memory = Memory(1 << ring_bits)
    for span in spans:
        memory.publish(span)
    witness = Witness(memory)
    witness.catch_up()
    last_lap = memory.issued - (1 << ring_bits)
    whole = [event.first for event in memory.events if event.first >= last_lap]
    assert witness.rows == whole
    first_whole = whole[0] if whole else memory.issued
    witness.read(final=True)
    assert witness.gaps == ([Gap(0, first_whole, "lapped")] if last_lap > 0 else [])
