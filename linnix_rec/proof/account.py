"""Checks the kernel's own counters against the rows of a capture; knows no order and no identity.

Events are counted by kind, tickets are what the ring's arithmetic is about; a counter is one or the other:
`events` counts events, `issued`, `published` and `abandoned` count tickets, an event having 1 to 16.
"""

from linnix_rec.capture.document import Accounts, EventAccount
from linnix_rec.capture.schema import GAP, KINDS
from linnix_rec.proof.tickets import TicketCheck
from linnix_rec.proof.verdict import RuleResult, Tally

_NOTE = "counters; issued, published, abandoned and lost are tickets, the kinds' counters are events"


def check_account(accounts: Accounts | None, tickets: TicketCheck) -> RuleResult:
    """Compare `capture.json`'s accounts with all rows, fed to `tickets`; None can't be judged.

    A disagreement belongs to no ticket: it is reported at the end, one past the last.
    """
    if accounts is None:
        return RuleResult("account", unknown=1, note="the recording was not finished: there are no counters")
    check = _Check(tickets.end_seq)
    lost, whole = tickets.lost, tickets.lost["lapped"] == 0
    in_rows = tickets.event_tickets + tickets.lost_tickets
    check.equal("tickets issued", accounts.issued, "tickets in the rows", in_rows)
    ended = accounts.published + accounts.abandoned
    check.equal("tickets published + abandoned", ended, "tickets issued", accounts.issued)
    # A producer that was lapped has abandoned tickets which the rows count as lapped.
    compare = check.equal if whole else check.at_least
    compare("tickets abandoned", accounts.abandoned, "tickets lost as abandoned", lost["abandoned"])
    for kind in KINDS:
        if KINDS.index(kind) != GAP:
            events = accounts.events.get(kind, EventAccount(0, 0, 0, 0))
            _check_kind(check, kind, events, tickets.rows[kind], whole=whole)
    for program, misses in accounts.recursion_misses.items():
        check.equal(f"recursion misses of {program}", misses, "none", 0)
    check.equal("tasks that could not be marked as members of the tree", accounts.storage_refused, "none", 0)
    return check.tally.result()


def _check_kind(check: "_Check", kind: str, events: EventAccount, captured: int, *, whole: bool) -> None:
    check.equal(f"{kind}s seen", events.seen, "filtered + claimed", events.filtered + events.claimed)
    published = events.claimed - events.abandoned
    compare = check.equal if whole else check.at_least
    compare(f"{kind}s published", published, f"{kind} rows", captured)


class _Check:
    def __init__(self, end_seq: int) -> None:
        self.tally = Tally("account", note=_NOTE)
        self._end_seq = end_seq

    def equal(self, what: str, count: int, other: str, wanted: int) -> None:
        self._judge(count == wanted, f"{what}: {count}, {other}: {wanted}")

    def at_least(self, what: str, count: int, other: str, wanted: int) -> None:
        self._judge(count >= wanted, f"{what}: {count}, fewer than {other}: {wanted}")

    def _judge(self, holds: bool, message: str) -> None:
        self.tally.checked += 1
        if not holds:
            self.tally.violate(self._end_seq, message)
