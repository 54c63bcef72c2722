"""Follows a chain of records through a buffer without looking at them one by one. Knows no channel.

Where a record begins is only known once all before it have said how long they are. Python would take 150 ns
for each; so the reader guesses, for the whole buffer at once, which words look like a record's header, and
the chain is proven afterwards: a guess is a record if and only if the chain comes to it. Guesses that each
begin where the one before ends are proven together, and a wrong one costs a few steps in Python.

Places count words of 8 bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from linnix_rec.ring.cursor import SPAN_MAX, Slots

WORD_BYTES: Final = 8
SLOT_BYTES: Final = 128
OPAQUE_SLOT: Final = np.dtype(f"V{SLOT_BYTES}")

Integers = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Records:
    """Where records begin and end, as places: (n,) each, ascending."""

    begins: Integers
    ends: Integers

    def __len__(self) -> int:
        return len(self.begins)

    def only(self, wanted: npt.NDArray[np.bool_]) -> "Records":
        """Those of them."""
        return self if wanted.all() else Records(self.begins[wanted], self.ends[wanted])


def follow(begin: int, end: int, guesses: Records, look: Callable[[int], int]) -> Records:
    """The records from `begin` on, as far as they are whole before `end`.

    guesses: what looks like records
    look: where the record that begins there ends; that same place, if it is not to be passed yet
    """
    guesses = guesses.only(guesses.ends <= end)
    begins, ends = guesses.begins, guesses.ends
    breaks = np.flatnonzero(begins[1:] != ends[:-1])
    found: list[Records] = []
    at = begin
    while at < end:
        first = int(begins.searchsorted(at))
        if first < len(guesses) and begins[first] == at:
            after = int(breaks.searchsorted(first))
            last = int(breaks[after]) if after < len(breaks) else len(guesses) - 1
            found.append(Records(begins[first : last + 1], ends[first : last + 1]))
            at = int(ends[last])
        else:
            beyond = look(at)
            if not at < beyond <= end:
                break
            found.append(Records(np.array([at]), np.array([beyond])))
            at = beyond
    if len(found) == 1:
        return found[0]
    none = np.zeros(0, np.int64)
    return Records(
        np.concatenate([none, *(some.begins for some in found)]),
        np.concatenate([none, *(some.ends for some in found)]),
    )


def are_slots(lengths_bytes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which of these lengths an event of ours can have: a whole number of slots, at most a span's."""
    whole: npt.NDArray[np.bool_] = lengths_bytes % SLOT_BYTES == 0
    return whole & (lengths_bytes - 1 < SPAN_MAX * SLOT_BYTES)  # unsigned: 0 less 1 is large


def copied_slots(octets: Octets, begins_bytes: Integers, spans: Integers, dtype: np.dtype[Any]) -> Slots:
    """A private copy of the events that begin there, end to end.

    A row that numpy takes for 128 opaque bytes it copies at once, in 6 ns, wherever it lies.
    """
    count = max(len(octets) - SLOT_BYTES + 1, 0)
    anywhere: npt.NDArray[np.void] = np.ndarray((count,), OPAQUE_SLOT, octets, 0, (1,))
    rows: Slots = anywhere[slot_places(begins_bytes, spans, SLOT_BYTES)].view(dtype)
    return rows


def slot_places(begins: Integers, spans: Integers, step: int) -> Integers:
    """Where each slot of these events is, if the first is where they begin and the next a step further."""
    if not len(spans) or int(spans.max()) == 1:
        return begins
    before = np.cumsum(spans) - spans
    firsts: Integers = np.repeat(begins - before * step, spans)
    return firsts + np.arange(len(firsts)) * step
