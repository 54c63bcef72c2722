"""Proves a capture: all rules in one pass over its files; knows no kernel and no screen."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from linnix_rec.capture import columns
from linnix_rec.capture.document import FAILURE, Listing, Stopped
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.schema import EVENT_SCHEMA, OPTIONAL_KINDS
from linnix_rec.proof.account import check_account
from linnix_rec.proof.alive import check_alive, end_listing
from linnix_rec.proof.causality import CausalCheck
from linnix_rec.proof.connector import check_connector
from linnix_rec.proof.evidence import capture_digest, check_expected
from linnix_rec.proof.inversions import ArrivalCheck, arrival_check
from linnix_rec.proof.rows import CAUSAL_COLUMNS
from linnix_rec.proof.tickets import GAP_COLUMNS, TICKET_COLUMNS, TicketCheck
from linnix_rec.proof.verdict import RuleResult, Tally, Verdict
from linnix_rec.proof.witness import check_perf

Progress = Callable[[int], None]

_COLUMNS: Final = {*CAUSAL_COLUMNS, *TICKET_COLUMNS}
#: Rows read at once: large enough for numpy, small enough for the cache.
BATCH_ROWS: Final = 1 << 16


def verify_capture(
    capture: Capture,
    progress: Progress | None = None,
    *,
    with_digest: bool = False,
    expected_digest: str | None = None,
) -> Verdict:
    """Check a capture against every rule; raises UnreadableCaptureError.

    `progress` is called with the number of rows of each batch read. Of a source without tickets the rows
    are judged as they arrived: there is no `sequence`, no `alive`, and an `account` only if the kernel counts
    for it. The digest is computed `with_digest`, or if another one is `expected` (as `proof.evidence` gives
    it): then the rule `expect` says whether it is that.
    """
    _keep_freed_memory()
    document = capture.document
    tickets = TicketCheck(document.kept_from_seq)
    causality = _InOrder(capture) if document.ordered else arrival_check(capture)
    for batch in _batches(capture, progress):
        tickets.feed(batch)
        causality.feed(batch)
    rules = [*causality.results(), check_digest(capture)]
    if document.ordered:
        rules = [tickets.result(), *rules]
    counted = document.accounts is not None
    if document.ordered or counted or document.stopped is None:
        rules.append(check_account(document, tickets))
    if document.perf is not None:
        rules.append(check_perf(document, document.perf, tickets.end_seq))
    if document.connector is not None:
        rules.append(check_connector(capture))
    digest = capture_digest(capture) if with_digest or expected_digest is not None else None
    if digest is not None and expected_digest is not None:
        rules.append(check_expected(expected_digest, digest, tickets.end_seq))
    return Verdict(
        rules=tuple(rules),
        events={kind: rows for kind, rows in tickets.rows.items() if rows or kind not in OPTIONAL_KINDS},
        lost_tickets=tickets.lost_tickets,
        gaps=tickets.gaps,
        largest_inversion_ns=tickets.largest_inversion_ns,
        finished=document.stopped is not None and (document.accounts is not None or not document.ordered),
        ordered=document.ordered,
        failure=_failure(document.stopped),
        pruned=document.pruned,
        resumptions=len(document.resumptions),
        pin=document.pin,
        digest=digest,
        source=document.source,
        counted=counted,
        shed=document.accounts.shed if document.accounts else 0,
        inversions=causality.inversions() if isinstance(causality, ArrivalCheck) else None,
    )


class _InOrder:
    """The causal check, stopped where the tasks are listed, to compare them with those that live by then."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._causality = CausalCheck(
            capture.document.births_known_from_ns,
            lambda: capture.batches(CAUSAL_COLUMNS, batch_rows=BATCH_ROWS),
        )
        self._listing = end_listing(capture.document)
        self._result: RuleResult | None = None

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        if self._listing is not None and self._result is None and batch.num_rows:
            seq = columns.uint64(batch, "seq")
            before = int(np.searchsorted(seq, np.uint64(self._listing.first_seq)))
            if before < batch.num_rows:
                self._causality.feed(batch.slice(0, before))
                self._compare(self._listing)
                batch = batch.slice(before)
        self._causality.feed(batch)

    def results(self) -> tuple[RuleResult, ...]:
        """Give the causal rules, and *alive* if there is a listing at the end."""
        causal = self._causality.results()
        if self._listing is not None and self._result is None:
            self._compare(self._listing)
        return causal if self._result is None else (*causal, self._result)

    def _compare(self, listing: Listing) -> None:
        self._result = check_alive(self._capture, listing, self._causality.standing())


def _failure(stopped: Stopped | None) -> str:
    """Give why the recorder gave up, as it noted; empty if it did not."""
    if stopped is None or stopped.reason != FAILURE:
        return ""
    return stopped.detail or "it does not say why"


def check_digest(capture: Capture) -> RuleResult:
    """Check that the segments are those that capture.json lists, unchanged and in their chain."""
    first_seqs = {segment.path.name: segment.metadata.first_seq for segment in capture.segments}
    tally = Tally("digest", checked=len(capture.segments), note="segment files")
    for finding in capture.findings():
        seq = first_seqs.get(finding.segment, finding.seq or capture.document.kept_from_seq)
        tally.violate(seq, f"{finding.segment} {finding.message}".strip())
    return tally.result()


def _keep_freed_memory() -> None:
    # glibc gives back what is freed beyond twice the largest block freed so far, and each batch would fault
    # it in again: 30,000 faults and 10 ns an event for 5 M events. This block is freed untouched.
    np.empty(1 << 24, np.uint8)


def _batches(capture: Capture, progress: Progress | None) -> Iterator[pa.RecordBatch]:
    # Two columns less to read, if the segments say that nothing is lost; should they lie, `sequence` breaks.
    gaps = any(segment.metadata.rows.get("gap", 0) for segment in capture.segments)
    wanted = _COLUMNS.union(GAP_COLUMNS) if gaps else _COLUMNS
    names = [name for name in EVENT_SCHEMA.names if name in wanted]
    for batch in capture.batches(names, batch_rows=BATCH_ROWS):
        yield batch
        if progress is not None:
            progress(batch.num_rows)
