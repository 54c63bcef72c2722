"""A ring in memory with producers that advance one step at a time, also while the consumer reads.

The layout is that of the shipped object. What producers do is what `bpf_obj/slot.h` states and
`on_exec` in `bpf_obj/sequencer.bpf.c` does; each `yield` is a place where any other CPU may act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.object import read_object
from linnix_rec.ring.cursor import ABANDON_SPAN_BITS, Cursor, Gap, Ring, Run

Step = Callable[[], None]
Producer = Iterator[None]

FORK, EXEC = 1, 2


@cache
def slot_dtype() -> np.dtype[Any]:
    return struct_dtype(read_object_spec(read_object("sequencer"), "sequencer").btf, "slot")


def nothing() -> None:
    """No other CPU acts."""


@dataclass
class Event:
    """What became of one claim: `published` and `abandoned` are both false while it is under way."""

    first: int
    span: int
    published: bool = False
    abandoned: bool = False


class Memory:
    """What producers and consumer share, and, for the tests alone, the truth about each ticket."""

    def __init__(self, slots: int, log_entries: int = 64, first_ticket: int = 0) -> None:
        self.slots = np.zeros(slots, slot_dtype())
        self.next_ticket = np.array([first_ticket], np.uint64)
        self.log = np.zeros(log_entries, np.uint64)
        self.logged = 0
        self.events: list[Event] = []
        self.event_of: dict[int, Event] = {}

    @property
    def issued(self) -> int:
        return int(self.next_ticket[0])

    def ring(self, step: Step = nothing) -> Ring:
        """The ring as the consumer sees it; `step` runs before each thing that it loads."""
        log = SteppedWords(self.log, step)
        return SteppedRing(SteppedSlots(self.slots, step), self.next_ticket, log, step)

    def claim(self, span: int) -> Event:
        event = Event(self.issued, span)
        self.next_ticket[0] += np.uint64(span)
        self.events.append(event)
        self.event_of |= {event.first + index: event for index in range(span)}
        return event

    def produce(self, span: int) -> Producer:
        """One event, step by step."""
        event = self.claim(span)
        yield
        head = yield from self._take(event.first)
        if head is None:
            yield from self._abandon(event)
            return
        yield from self._write(event, 0)
        for index in range(1, span):
            taken = yield from self._take(event.first + index)
            if taken is None:
                event.abandoned = True
                self.release(head, event.first)
                yield
                yield from self._abandon(event)
                return
            yield from self._write(event, index)
            taken["stamp"] = 2 * (event.first + index) + 2
            yield
        head["stamp"] = 2 * event.first + 2
        event.published = True

    def publish(self, span: int = 1) -> Event:
        """One event, undisturbed."""
        run_out(self.produce(span))
        return self.events[-1]

    def _slot(self, ticket: int) -> Any:
        return self.slots[ticket & (len(self.slots) - 1)]

    def refuses(self, stamp: int, ticket: int) -> bool:
        return bool(stamp & 1) or stamp > 2 * ticket

    def swaps(self, found: int, expected: int) -> bool:
        return found == expected

    def index_of(self, index: int) -> int:
        return index

    def release(self, slot: Any, ticket: int) -> None:
        slot["stamp"] = 2 * ticket

    def _take(self, ticket: int) -> Any:
        slot = self._slot(ticket)
        stamp = int(slot["stamp"])
        yield
        if self.refuses(stamp, ticket):
            return None
        yield
        if not self.swaps(int(slot["stamp"]), stamp):  # compare-and-swap: one step
            return None
        slot["stamp"] = 2 * ticket + 1
        yield
        return slot

    def _write(self, event: Event, index: int) -> Producer:
        ticket = event.first + index
        slot = self._slot(ticket)
        slot["kind"] = EXEC if event.span > 1 else FORK
        slot["span"] = event.span
        yield
        slot["index"] = self.index_of(index)
        for at in (0, 56, 104):  # in both cache lines: a mix of two owners shows
            slot["text"][at : at + 8] = np.frombuffer(ticket.to_bytes(8, "little"), np.uint8)
            yield

    def _abandon(self, event: Event) -> Producer:
        event.abandoned = True
        place = self.logged % len(self.log)
        self.logged += 1
        yield
        self.log[place] = event.first << ABANDON_SPAN_BITS | event.span


def run_out(producer: Producer) -> None:
    for _ in producer:
        pass


def tickets_in(slot: Any) -> set[int]:
    """The tickets that a slot's payload carries: one, unless two owners wrote it."""
    text = slot["text"]
    return {int.from_bytes(text[at : at + 8].tobytes(), "little") for at in (0, 56, 104)}


class SteppedRing(Ring):
    def __init__(self, slots: Any, next_ticket: Any, abandon_log: Any, step: Step) -> None:
        super().__init__(slots, next_ticket, abandon_log)
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "seen", 0)

    def issued(self) -> int:
        self.step()
        object.__setattr__(self, "seen", super().issued())
        return self.seen


class SteppedWords:
    """An array of words whose loads are one step each."""

    def __init__(self, words: Any, step: Step) -> None:
        self._words, self._step = words, step

    def __len__(self) -> int:
        return len(self._words)

    def _load(self) -> Any:
        return self[:]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):
            self._step()
            return self._words[key]
        if not isinstance(key, slice):
            return self._load()[key]
        loaded = np.empty_like(self._words[key])
        for place, word in enumerate(range(len(self._words))[key]):
            self._step()
            loaded[place] = self._words[word]
        return loaded

    def __ne__(self, other: object) -> Any:
        return self._load() != other

    __hash__ = None  # type: ignore[assignment]


class SteppedSlots:
    """Slots that are copied half a slot at a time: a copy can be torn, as memory is."""

    def __init__(self, slots: Any, step: Step) -> None:
        self._slots, self._step = slots, step

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return SteppedWords(self._slots[key], self._step)
        if isinstance(key, slice):
            return np.concatenate([self._copy(place) for place in range(len(self._slots))[key]])
        return self._copy(key)[0]

    def _copy(self, place: int) -> Any:
        """An array of one slot."""
        octets = self._slots[place : place + 1].view(np.uint8)
        copied = np.empty_like(octets)
        half = len(octets) // 2
        self._step()
        copied[half:] = octets[half:]
        self._step()
        copied[:half] = octets[:half]
        return copied.view(self._slots.dtype)


@dataclass
class Witness:
    """Reads with a cursor and checks every piece against the truth; `pieces` are what it gave."""

    memory: Memory
    step: Step = nothing
    first: int = 0
    pieces: list[Run | Gap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._accounted = self._moved = self.first
        self._seen_at_loss: dict[int, int] = {}
        self._ring = self.memory.ring(self._watched_step)
        self.cursor = Cursor(self._ring, self.first)

    def read(self, limit: int = 1 << 20, *, final: bool = False) -> None:
        for piece in self.cursor.read(limit, final=final):
            self._note_losses(up_to=piece.seq)
            if isinstance(piece, Run):
                self._check_run(piece)
                self._moved = piece.end
            else:
                self._note_losses(up_to=piece.end)
                self._check_gap(piece)
            assert piece.seq == self._accounted, "each ticket is accounted for once, in order"
            self._accounted = piece.end
            self.pieces.append(piece)
        self._note_losses(up_to=self.cursor.seq)

    def catch_up(self) -> None:
        """Read until nothing more can be said."""
        before = -1
        while before != (before := self.cursor.seq):
            self.read()

    def read_to_the_end(self) -> None:
        """The final drain: it must account for everything, and not in more reads than there are tickets."""
        for _ in range(self.memory.issued - self.cursor.seq + 1):
            if not self.cursor.lag:
                break
            self.read(final=True)
        self.read(final=True)
        assert self.cursor.lag == 0
        assert self._accounted == self.memory.issued

    @property
    def gaps(self) -> list[Gap]:
        return [piece for piece in self.pieces if isinstance(piece, Gap)]

    @property
    def rows(self) -> list[int]:
        """First tickets of the events that were read."""
        return [
            piece.seq + int(place)
            for piece in self.pieces
            if isinstance(piece, Run)
            for place in np.flatnonzero(piece.slots["index"] == 0)
        ]

    def _watched_step(self) -> None:
        self._note_losses(up_to=self.cursor.seq)
        self.step()

    def _note_losses(self, up_to: int) -> None:
        """Remember what the consumer had last read of `next_ticket` when it gave these tickets up."""
        for ticket in range(self._moved, up_to):
            self._seen_at_loss[ticket] = self._ring.seen
        self._moved = max(self._moved, up_to)

    def _check_run(self, run: Run) -> None:
        index = 0
        for ticket, slot in enumerate(run.slots, run.seq):
            event = self.memory.event_of[ticket]
            assert event.published, "only published events are read"
            assert tickets_in(slot) == {ticket}, "no slot is a mix of two events"
            assert (int(slot["span"]), int(slot["index"])) == (event.span, index)
            assert event.first == ticket - index
            index = (index + 1) % event.span
        assert index == 0, "a run ends with its last span"

    def _check_gap(self, gap: Gap) -> None:
        assert gap.lost > 0
        before = self.pieces[-1] if self.pieces else None
        merged = not isinstance(before, Gap) or before.reason != gap.reason
        assert merged, "adjacent gaps of one reason are one"
        for ticket in range(gap.seq, gap.end):
            event = self.memory.event_of[ticket]
            if gap.reason == "abandoned":
                assert event.abandoned, f"ticket {ticket} was not abandoned"
            else:
                assert gap.reason == "lapped"
                overwritten_below = self._seen_at_loss[ticket] - len(self.memory.slots)
                assert event.first < overwritten_below, f"ticket {ticket} could still be read"
