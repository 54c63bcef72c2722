"""Checks that the tickets of a stream leave no hole, and counts its rows; knows no identity."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.schema import GAP, GAP_REASONS, KINDS
from linnix_rec.proof.verdict import RuleResult, Tally

#: Slots of one event, at most (bpf_obj/slot.h: SPAN_MAX).
SPAN_MAX: Final = 16

#: The columns read; a reader may leave out the others.
TICKET_COLUMNS: Final = ("seq", "slots", "kind", "boot_ns")
#: Read too, unless no row is thought to be a gap; one that comes without them takes no tickets.
GAP_COLUMNS: Final = ("lost", "reason")

_FURTHEST: Final = 1 << 63


class TicketCheck:
    """Checks `sequence`, incrementally over batches, and counts rows, tickets and inversions.

    `first_seq` is the ticket that the first row must have.
    """

    def __init__(self, first_seq: int) -> None:
        self._tally = Tally("sequence", note="rows; each seq + slots (or + lost) is the next row's seq")
        self._next_seq = first_seq
        self._latest_boot_ns = -_FURTHEST
        self.largest_inversion_ns = 0
        self.rows = dict.fromkeys(KINDS, 0)
        self.event_tickets = 0
        self.lost = dict.fromkeys(GAP_REASONS, 0)

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows; columns besides `TICKET_COLUMNS` are not needed."""
        if batch.num_rows == 0:
            return
        kind = columns.kind_codes(batch)
        counts = np.bincount(kind, minlength=len(KINDS)).tolist()
        for name, count in zip(KINDS, counts, strict=False):
            self.rows[name] += count
        gaps = np.flatnonzero(kind == GAP)
        self._take_tickets(batch, gaps)
        self._take_times(columns.int64(batch, "boot_ns"), gaps)

    def result(self) -> RuleResult:
        """Give the outcome so far."""
        return self._tally.result()

    @property
    def end_seq(self) -> int:
        """One past the last ticket so far."""
        return self._next_seq

    @property
    def gaps(self) -> int:
        """Gap rows so far."""
        return self.rows["gap"]

    @property
    def lost_tickets(self) -> int:
        """Tickets in gaps so far."""
        return sum(self.lost.values())

    def _take_tickets(self, batch: pa.RecordBatch, gaps: NDArray[np.intp]) -> None:
        seq = columns.uint64(batch, "seq")
        slots = columns.uint8(batch, "slots")
        tickets = slots.astype(np.uint64)
        misshapen = (slots == 0) | (slots > SPAN_MAX)
        if gaps.size:
            lost = self._lost_in(batch, gaps)
            tickets[gaps] = lost
            misshapen[gaps] = (slots[gaps] != 0) | (lost == 0)
        self.event_tickets += int(tickets.sum()) - int(tickets[gaps].sum())
        expected = np.empty_like(seq)
        expected[0] = self._next_seq
        np.add(seq[:-1], tickets[:-1], out=expected[1:])
        self._tally.checked += seq.size
        for row in np.flatnonzero((seq != expected) | misshapen).tolist():
            self._tally.violate(int(seq[row]), _offence(int(seq[row]), int(expected[row]), int(tickets[row])))
        self._next_seq = (int(seq[-1]) + int(tickets[-1])) % (1 << 64)

    def _lost_in(self, batch: pa.RecordBatch, gaps: NDArray[np.intp]) -> NDArray[np.uint64]:
        if not set(GAP_COLUMNS) <= set(batch.schema.names):
            return np.zeros(gaps.size, np.uint64)
        lost = columns.uint64(batch, "lost")[gaps]
        indices, reasons = columns.names(batch, "reason")
        known = columns.valid(batch, "reason")[gaps]
        for row, (index, count) in enumerate(zip(indices[gaps].tolist(), lost.tolist(), strict=True)):
            reason = reasons[index] if known[row] else ""
            self.lost[reason] = self.lost.get(reason, 0) + count
        return lost

    def _take_times(self, boot_ns: NDArray[np.int64], gaps: NDArray[np.intp]) -> None:
        if gaps.size:
            boot_ns = np.delete(boot_ns, gaps)
        if boot_ns.size == 0:
            return
        latest = np.maximum.accumulate(boot_ns)
        first_latest = max(self._latest_boot_ns, int(boot_ns[0]))
        inversion = int((np.maximum(latest, first_latest) - boot_ns).max())
        self.largest_inversion_ns = max(self.largest_inversion_ns, inversion)
        self._latest_boot_ns = max(first_latest, int(latest[-1]))


def _offence(seq: int, expected: int, tickets: int) -> str:
    if seq > expected:
        return f"tickets {expected} to {seq - 1} are neither here nor in a gap"
    if seq < expected:
        return f"ticket {seq} comes again or out of order, {expected} is next"
    return f"takes {tickets} tickets: an event takes 1 to {SPAN_MAX}, a gap at least 1 and no slots"
