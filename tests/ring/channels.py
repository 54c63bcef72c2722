"""A BPF ring buffer and a perf buffer in memory, with producers that do what the kernel's do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnix_rec.ring.cursor import Slots
from linnix_rec.ring.perf_buffer import PerfCursor, PerfMemory
from linnix_rec.ring.ringbuf import BUSY, DISCARDED, RingbufCursor, RingbufMemory
from tests.ring.stage import FORK, slot_dtype

WORD = 8
SLOT = 128


def event(number: int, span: int = 1, *, boot_ns: int = 0, filler: Sequence[int] = ()) -> Slots:
    """An event whose first slot has `number` as its thread id; `filler` are words of its further slots."""
    slots = np.zeros(span, slot_dtype())
    words = slots.view(np.uint64).reshape(span, -1)
    for i, word in enumerate(filler):
        words[1 + i % (span - 1) if span > 1 else 0, 13 + i % 3] = word
    slots["kind"], slots["span"], slots["index"] = FORK, span, np.arange(span)
    slots["tid"][0], slots["boot_ns"][0] = number, boot_ns
    return slots


def numbers(slots: Slots) -> list[int]:
    """Of the events among them."""
    return [int(number) for number in slots["tid"][slots["index"] == 0]]


@dataclass(frozen=True)
class Reservation:
    at: int
    length: int


class Ringbuf:
    """kernel/bpf/ringbuf.c, as far as order and room go."""

    def __init__(self, size: int = 4096, position: int = 0) -> None:
        self.memory = RingbufMemory(
            np.array([position], np.uint64), np.array([position], np.uint64), np.zeros(2 * size, np.uint8)
        )
        self.size = size
        self.cursor = RingbufCursor(self.memory, slot_dtype())

    def reserve(self, length: int) -> Reservation | None:
        produced, consumed = self.memory.produced(), int(self.memory.consumer_pos[0])
        end = produced + WORD + -(-length // WORD) * WORD
        if end - consumed > self.size - 1:
            return None
        self._put(produced, np.array([length | BUSY, 7], np.uint32).view(np.uint8))
        self.memory.producer_pos[0] = end
        return Reservation(produced, length)

    def commit(self, reserved: Reservation, slots: Slots | None = None, *, discarded: bool = False) -> None:
        if slots is not None:
            self._put(reserved.at + WORD, slots.view(np.uint8))
        length = reserved.length | (DISCARDED if discarded else 0)
        self._put(reserved.at, np.array([length, 7], np.uint32).view(np.uint8))

    def fill(self, reserved: Reservation, octet: int) -> None:
        """Write what is no event."""
        self._put(reserved.at + WORD, np.full(reserved.length, octet, np.uint8))

    def offer(self, slots: Slots) -> bool:
        """Reserve and commit at once; False if there is no room."""
        reserved = self.reserve(slots.nbytes)
        if reserved is not None:
            self.commit(reserved, slots)
        return reserved is not None

    def _put(self, position: int, octets: np.ndarray) -> None:  # type: ignore[type-arg]
        """The buffer is there twice, and each byte in both."""
        places = (position + np.arange(len(octets))) % self.size
        self.memory.octets[places] = octets
        self.memory.octets[places + self.size] = octets


class PerfBuffer:
    """kernel/events/ring_buffer.c: perf_output_begin(), for samples of one event."""

    def __init__(self, size: int = 4096, position: int = 0) -> None:
        self.memory = PerfMemory(
            np.array([position], np.uint64), np.array([position], np.uint64), np.zeros(size, np.uint8)
        )
        self.size = size
        self.lost = 0
        self.cursor = PerfCursor(self.memory, slot_dtype())

    def offer(self, slots: Slots) -> bool:
        """Write a sample, behind what is to be told of losses; False if there is no room."""
        raw = slots.tobytes()
        raw += bytes(-(len(raw) + 4) % WORD)
        return self.write(9, len(raw).to_bytes(4, "little") + raw)

    def write(self, kind: int, content: bytes) -> bool:
        record = kind.to_bytes(4, "little") + b"\1\0" + (WORD + len(content)).to_bytes(2, "little") + content
        if self.lost:
            told = (
                np.array([2, 24 << 16], np.uint32).tobytes() + np.array([99, self.lost], np.uint64).tobytes()
            )
            record = told + record
        head, tail = int(self.memory.data_head[0]), int(self.memory.data_tail[0])
        if (tail - head - 1) & (self.size - 1) < len(record):
            self.lost += 1
            return False
        self.lost = 0
        places = (head + np.arange(len(record))) % self.size
        self.memory.octets[places] = np.frombuffer(record, np.uint8)
        self.memory.data_head[0] = head + len(record)
        return True
