"""Sets the kernel's own counters against the rows of a capture; knows no order and no identity of tasks.

Each identity is stated with both sides. They make a chain: the kernel ran a program as often as that
counted an event; what it saw it left out or claimed tickets for; what was claimed and not abandoned is a
row; and all tickets issued are in rows and gaps. Nobody of these counts for another: runs are the
kernel's statistics (`--prove`), `seen`, `filtered`, `claimed` and `abandoned` are the programs' (events,
an event having 1 to 16 tickets), `issued` is the ring's, and the rows are the file's. Syscalls and failed
execs may also be shed, without a ticket: a loss that has a number and no place.

Of a channel without tickets all are events: what was claimed was offered to it, and what it refused was
abandoned and is lost in gaps. The channel itself may count what it lost (perf does).
"""

from collections.abc import Iterator
from typing import Final

from linnix_rec.capture.document import FAILURE, Accounts, CaptureDocument, EventAccount
from linnix_rec.capture.schema import GAP, KINDS, OPTIONAL_KINDS
from linnix_rec.proof.tickets import TicketCheck
from linnix_rec.proof.verdict import Identity, RuleResult, judged

_NOTE: Final = "counters; issued, published, abandoned and lost are tickets, the kinds' counters are events"
_NOTE_CHANNEL: Final = "counters, all of events; abandoned are those for which the channel had no room"
_NOTE_RUNNING: Final = "counters, read while events went on: bounds instead of sums"

#: What each program counts (bpf_obj/sequencer.bpf.c); others make no events.
_KIND_OF_PROGRAM: Final = {
    "on_newtask": "fork",
    "on_exec": "exec",
    "on_exit": "exit",
    "on_exit_group_dead": "exit",
    "list_task": "task",
}
_EVENT_KINDS: Final = tuple(kind for number, kind in enumerate(KINDS) if number != GAP)
_NOTHING: Final = EventAccount(0, 0, 0, 0)


def check_account(document: CaptureDocument, tickets: TicketCheck) -> RuleResult:
    """Compare capture.json's accounts with all rows, fed to `tickets`; without accounts nothing is known.

    A disagreement belongs to no ticket: it is reported at the end, one past the last.
    """
    accounts = document.accounts
    if accounts is None:
        return RuleResult("account", unknown=1, note="the recording was not finished: there are no counters")
    if document.stopped is not None and document.stopped.reason == FAILURE:
        return RuleResult("account", unknown=1, note="the recording failed: more was counted than kept")
    if not document.ordered:
        return judged("account", _channel_sums(document, accounts, tickets), tickets.end_seq, _NOTE_CHANNEL)
    if accounts.running:
        return judged("account", _bounds(document, accounts, tickets), tickets.end_seq, _NOTE_RUNNING)
    return judged("account", _sums(document, accounts, tickets), tickets.end_seq, _NOTE)


def _sums(document: CaptureDocument, accounts: Accounts, tickets: TicketCheck) -> Iterator[Identity]:
    """What holds between counters at rest."""
    removed = _Removed(document)
    abandoned = tickets.lost["abandoned"] + removed.abandoned
    # A producer that was lapped has abandoned tickets which the rows count as lapped; and what came before
    # the first ticket of a capture is in the counters alone.
    known = tickets.lost_tickets + removed.lost == abandoned and removed.first_seq == 0
    relation = "=" if known else ">="
    yield from _runs(accounts)
    for kind in _kinds(accounts, tickets):
        events = accounts.events.get(kind, _NOTHING)
        yield Identity(f"{kind}s seen", events.seen, "=", _kept(events), _kept_as(kind))
        rows = tickets.rows[kind] + removed.rows(kind)
        yield Identity(
            f"{kind}s claimed - abandoned", events.claimed - events.abandoned, relation, rows, f"{kind} rows"
        )
    yield Identity("tickets issued", accounts.issued, "=", removed.tickets_of(tickets), removed.where)
    ended = accounts.published + accounts.abandoned
    yield Identity("tickets published + abandoned", ended, "=", accounts.issued, "tickets issued")
    yield Identity("tickets abandoned", accounts.abandoned, relation, abandoned, "tickets lost as abandoned")
    if document.pruned is not None:
        cut = document.pruned.end_seq - removed.first_seq
        yield Identity("tickets before the cut", cut, "=", removed.tickets, "removed by retention")
    yield from _nothing_escaped(document, accounts)


def _channel_sums(document: CaptureDocument, accounts: Accounts, tickets: TicketCheck) -> Iterator[Identity]:
    """What holds between counters at rest, if the source numbers no events."""
    removed = _Removed(document)
    yield from _runs(accounts)
    for kind in _kinds(accounts, tickets):
        events = accounts.events.get(kind, _NOTHING)
        yield Identity(f"{kind}s seen", events.seen, "=", _kept(events), _kept_as(kind))
        rows = tickets.rows[kind] + removed.rows(kind)
        yield Identity(
            f"{kind}s claimed - abandoned", events.claimed - events.abandoned, "=", rows, f"{kind} rows"
        )
    claimed = sum(events.claimed for events in accounts.events.values())
    yield Identity("events offered", accounts.issued, "=", claimed, "claimed, of all kinds")
    ended = accounts.published + accounts.abandoned
    yield Identity("events taken + abandoned", ended, "=", accounts.issued, "events offered")
    abandoned = sum(events.abandoned for events in accounts.events.values())
    yield Identity("events abandoned", accounts.abandoned, "=", abandoned, "abandoned, of all kinds")
    lost = tickets.lost_tickets + removed.lost
    yield Identity("events lost in gaps", lost, "=", accounts.abandoned, "events abandoned")
    if accounts.channel_lost is not None:
        # Perf knows nothing of a CPU that came without a buffer, and before Linux 6.0 not of its last loss.
        yield Identity(
            "lost by the channel's own count",
            accounts.channel_lost,
            "<=",
            accounts.abandoned,
            "events abandoned",
        )
    yield from _nothing_escaped(document, accounts)


def _bounds(document: CaptureDocument, accounts: Accounts, tickets: TicketCheck) -> Iterator[Identity]:
    """What holds between counters that move: who counts last is behind who counts first."""
    removed = _Removed(document)
    for kind in _kinds(accounts, tickets):
        events = accounts.events.get(kind, _NOTHING)
        yield Identity(f"{kind}s seen", events.seen, ">=", _kept(events), _kept_as(kind))
        rows = tickets.rows[kind] + removed.rows(kind)
        yield Identity(
            f"{kind}s claimed - abandoned", events.claimed - events.abandoned, ">=", rows, f"{kind} rows"
        )
    ended = accounts.published + accounts.abandoned
    yield Identity("tickets issued", accounts.issued, ">=", tickets.end_seq, "end of the capture")
    yield Identity("tickets published + abandoned", ended, ">=", tickets.end_seq, "end of the capture")
    yield from _nothing_escaped(document, accounts)


def _runs(accounts: Accounts) -> Iterator[Identity]:
    for program, runs in accounts.run_counts.items():
        kind = _KIND_OF_PROGRAM.get(program)
        if kind is None:
            continue
        seen = accounts.events.get(kind, _NOTHING).seen
        if kind == "task":  # an iterator runs once more, without a task, at its end
            yield Identity(f"runs of {program}", runs, "=", seen + accounts.listings, "tasks seen + listings")
        else:
            yield Identity(f"runs of {program}", runs, "=", seen, f"{kind}s seen")
    yield from _runs_of_syscalls(accounts)


def _runs_of_syscalls(accounts: Accounts) -> Iterator[Identity]:
    """What a syscall's return comes to; of failed execs alone the program counts no other return."""
    begun, ended = (accounts.run_counts.get(program) for program in ("on_sys_enter", "on_sys_exit"))
    if begun is None or ended is None:
        return
    events = accounts.events.get("syscall", _NOTHING)
    told = events.seen + accounts.syscalls_unwanted + accounts.syscalls_unbegun
    yield Identity("runs of on_sys_exit", ended, "=", told, "syscalls seen + unwanted + unbegun")
    kept = events.shed + events.claimed
    yield Identity("runs of on_sys_enter", begun, ">=", kept, "syscalls shed + claimed")


def _kinds(accounts: Accounts, tickets: TicketCheck) -> Iterator[str]:
    """All kinds of events, but none that nobody asked for and nobody counted."""
    for kind in _EVENT_KINDS:
        counted = accounts.events.get(kind, _NOTHING)
        if kind not in OPTIONAL_KINDS or counted != _NOTHING or tickets.rows[kind]:
            yield kind


def _nothing_escaped(document: CaptureDocument, accounts: Accounts) -> Iterator[Identity]:
    missed = {program: misses for program, misses in accounts.recursion_misses.items() if misses}
    for program, misses in (missed or {"any program": 0}).items():
        yield Identity(f"recursion misses of {program}", misses, "=", 0, "none")
    yield Identity("marks of the tree's members refused", accounts.storage_refused, "=", 0, "none")
    if document.accounts_at_start is not None:
        before, now = _counters(document.accounts_at_start), _counters(accounts)
        fallen = [name for name, count in before.items() if count > now.get(name, 0)]
        named = f" ({', '.join(fallen)})" if fallen else ""
        yield Identity(f"counters lower than at the start{named}", len(fallen), "=", 0, "none")


def _kept(events: EventAccount) -> int:
    return events.filtered + events.shed + events.claimed


def _kept_as(kind: str) -> str:
    return "filtered + shed + claimed" if kind in OPTIONAL_KINDS else "filtered + claimed"


def _counters(accounts: Accounts) -> dict[str, int]:
    counters = {
        "tickets issued": accounts.issued,
        "tickets published": accounts.published,
        "tickets abandoned": accounts.abandoned,
        "refusals": accounts.storage_refused,
        **{f"runs of {program}": runs for program, runs in accounts.run_counts.items()},
        **{f"misses of {program}": misses for program, misses in accounts.recursion_misses.items()},
    }
    for kind, events in accounts.events.items():
        counters[f"{kind}s seen"] = events.seen
        counters[f"{kind}s filtered"] = events.filtered
        counters[f"{kind}s shed"] = events.shed
        counters[f"{kind}s claimed"] = events.claimed
        counters[f"{kind}s abandoned"] = events.abandoned
    return counters


class _Removed:
    """What was counted, and is not among the rows: before the first ticket, and removed by retention."""

    def __init__(self, document: CaptureDocument) -> None:
        self.first_seq = document.started.first_seq
        self._pruned = pruned = document.pruned
        self.lost = sum(pruned.lost.values()) if pruned else 0
        self.abandoned = pruned.lost.get("abandoned", 0) if pruned else 0
        self.tickets = self.lost + (pruned.event_tickets if pruned else 0)

    def rows(self, kind: str) -> int:
        """Rows of one kind that retention removed."""
        return self._pruned.rows.get(kind, 0) if self._pruned else 0

    def tickets_of(self, tickets: TicketCheck) -> int:
        """All tickets up to the capture's end."""
        return self.first_seq + self.tickets + tickets.event_tickets + tickets.lost_tickets

    @property
    def where(self) -> str:
        """Where these tickets are, in words."""
        before = "before the first + " if self.first_seq else ""
        return f"{before}in the rows{' + removed by retention' if self._pruned else ''}"
