"""Reconciles a capture with the process connector's messages, one by one; knows no kernel.

Every fork, exec and exit of the capture must be among the messages, and the other way round, by kind, thread
id and process id, as far as both were there to see it: `connector_judging` has the argument. Of a capture of
a process tree only messages about tasks that it has alive must be in it. What either side says itself that it
lost is no contradiction: it is unknown, and told apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from linnix_rec.capture import columns
from linnix_rec.capture.connector_reader import MessageFile, open_messages
from linnix_rec.capture.document import CaptureDocument, ConnectorWitness
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.schema import EXEC, EXIT, FORK, GAP, KINDS
from linnix_rec.proof.connector_judging import Event, Meaning, Story, Window
from linnix_rec.proof.connector_matching import Counts, Key, Keys, Side, Surplus, kinds_of, side_of, unpacked
from linnix_rec.proof.connector_story import TIDS, gather, members_of
from linnix_rec.proof.verdict import FIRST_OFFENCES, RuleResult, Tally

RULE: Final = "connector"
BATCH_ROWS: Final = 1 << 16
#: So many keys that disagree are looked at closely; of more, the rest is taken as it is.
CLOSE_KEYS: Final = 1 << 14

_WHOLE_HOST: Final = "all"
_MATCHED: Final = ("kind", "seq", "boot_ns", "tid", "tgid", "child_tid", "child_tgid")


@dataclass
class _Missing:
    """What one side has and the other lacks: how many, by kind, and the first of them."""

    by_kind: dict[int, int] = field(default_factory=lambda: dict.fromkeys((FORK, EXEC, EXIT), 0))
    first: list[tuple[Key, Event | None]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.by_kind.values())

    def add(self, key: Key, event: Event) -> None:
        self.by_kind[key.kind] += 1
        if len(self.first) < FIRST_OFFENCES:
            self.first.append((key, event))

    def pass_over(self, kind: int, count: int) -> None:
        """Do not name so many of a kind: they are excused."""
        of_kind = [entry for entry in self.first if entry[0].kind == kind][:count]
        self.first = [entry for entry in self.first if entry not in of_kind]


def check_connector(capture: Capture) -> RuleResult:
    """Compare a capture with its connector witness; raises UnreadableCaptureError.

    Offences by messages, which have no ticket, are placed one past the last.
    """
    witness = capture.document.connector
    if witness is None:
        return RuleResult(RULE, unknown=1, note="there was no such witness")
    messages = open_messages(capture.path, witness)
    if messages is not None and messages.sha256() == witness.sha256:
        return _Comparison(capture, witness, messages).result()
    tally = Tally(RULE)
    problem = "is not there" if messages is None else "has another SHA-256 than capture.json says"
    tally.violate(_end_seq(capture.document), f"{witness.file} {problem}")
    return tally.result()


def _end_seq(document: CaptureDocument) -> int:
    return document.segments[-1].end_seq if document.segments else document.started.first_seq


class _Comparison:
    """One capture against its messages.

    here, there: events without a message, messages without an event
    doubtful: of either, those that the window's edges may explain
    """

    def __init__(self, capture: Capture, witness: ConnectorWitness, messages: MessageFile) -> None:
        self._capture = capture
        self._document = capture.document
        self._witness = witness
        self._messages = messages
        self._tree_only = self._document.filter.mode != _WHOLE_HOST
        self._rows = dict.fromkeys((FORK, EXEC, EXIT), 0)
        self._lost_tickets = 0
        self._message_rows = 0
        self._both = self._doubtful = 0
        self._here, self._there = _Missing(), _Missing()
        self._tally = Tally(RULE)

    def result(self) -> RuleResult:
        surplus = self._surplus()
        if surplus.overflows:
            return self._given_up(surplus)
        if self._message_rows != self._witness.rows:
            self._violate(f"{self._witness.file} has {self._message_rows} messages, not {self._witness.rows}")
        self._both = sum(self._rows.values()) - int(surplus.counts[surplus.counts > 0].sum())
        self._explain(surplus.keys, surplus.counts)
        return self._summed_up()

    # ---- first: what does not cancel out

    def _surplus(self) -> Surplus:
        surplus = Surplus()
        events, messages = self._event_sides(), self._message_sides()
        event, message = next(events, None), next(messages, None)
        while (event or message) and not surplus.overflows:
            # The side that is behind goes on, so that little waits for its other half.
            if event is not None and (message is None or event.last_ns <= message.last_ns):
                surplus.add(event.keys, 1)
                event = next(events, None)
            elif message is not None:
                surplus.add(message.keys, -1)
                message = next(messages, None)
        return surplus

    def _event_sides(self) -> Iterator[Side]:
        gaps = any(segment.metadata.rows.get("gap", 0) for segment in self._capture.segments)
        names = (*_MATCHED, "lost") if gaps else _MATCHED
        for batch in self._capture.batches(names, batch_rows=BATCH_ROWS):
            kind = columns.kind_codes(batch)
            for code in self._rows:
                self._rows[code] += int(np.count_nonzero(kind == code))
            if gaps:
                self._lost_tickets += int(columns.uint64(batch, "lost")[kind == GAP].sum())
            yield side_of(batch, kind)

    def _message_sides(self) -> Iterator[Side]:
        members = members_of(self._capture) if self._tree_only else None
        for batch in self._messages.batches():
            self._message_rows += batch.num_rows
            side = side_of(batch, columns.uint8(batch, "kind"))
            if members is not None:
                side = side.where(members[side.tid % TIDS] | members[side.actor_tid % TIDS])
            yield side

    # ---- then: why it does not

    def _explain(self, keys: Keys, counts: Counts) -> None:
        if not len(keys):
            return
        window = Window(self._witness.first_boot_ns, self._witness.end_boot_ns)
        if self._document.pruned is not None:  # what is older went with the segments that are gone
            window = Window(max(window.first_ns, self._document.pruned.boot_ns), window.end_ns)
        close = keys[:CLOSE_KEYS]
        story = gather(self._capture, self._messages, close, window, tree_only=self._tree_only)
        if story is None:
            self._take_as_it_is(keys, counts)
            return
        left = dict(zip(unpacked(close), counts[:CLOSE_KEYS].tolist(), strict=True))
        self._match_takeovers(story, left)
        for key, count in left.items():
            if count > 0:
                self._count(key, story.judge_events(key, count), self._here)
            elif count < 0:
                self._count(key, story.judge_messages(key, -count), self._there)
        self._take_as_it_is(keys[CLOSE_KEYS:], counts[CLOSE_KEYS:])

    def _count(self, key: Key, judged: list[tuple[Meaning, Event]], missing: _Missing) -> None:
        for meaning, event in judged:
            if meaning == Meaning.MISSING:
                missing.add(key, event)
            self._doubtful += meaning == Meaning.UNKNOWN

    def _match_takeovers(self, story: Story, left: dict[Key, int]) -> None:
        """Pair a leader's exit with a message that names the thread which took its id over."""
        for key in [key for key, count in left.items() if key.kind == EXIT and count < 0]:
            leader = Key(EXIT, key.tgid, key.tgid)
            pairs = min(-left[key], left.get(leader, 0))
            if key == leader or pairs <= 0:
                continue
            left[key] += pairs
            left[leader] -= pairs
            if (key.tid, key.tgid) in story.takeovers:
                self._both += pairs
            else:
                self._doubtful += pairs  # that exec failed, or its event is lost

    def _take_as_it_is(self, keys: Keys, counts: Counts) -> None:
        """Count what is too much to be looked at closely as missing; of a tree, it may be another's."""
        for side, missing in ((counts > 0, self._here), (counts < 0, self._there)):
            if self._tree_only and missing is self._there:
                self._doubtful += int(-counts[side].sum())
                continue
            kinds, amounts = kinds_of(keys[side]), np.abs(counts[side])
            missing.first += [(key, None) for key in unpacked(keys[side][:FIRST_OFFENCES])]
            for kind in (FORK, EXEC, EXIT):
                missing.by_kind[kind] += int(amounts[kinds == kind].sum())

    # ---- and what it comes to

    def _summed_up(self) -> RuleResult:
        lost, here, there = sum(self._witness.lost.values()), self._here.total, self._there.total
        excused = min(lost, here)
        by_kind = self._hidden()
        hidden = sum(by_kind.values())
        self._tally.checked = self._both + here + there + self._doubtful
        self._tally.unknown = self._doubtful + excused + hidden
        self._accuse(self._here.first, here - excused, "is not among the connector's messages")
        for kind, count in by_kind.items():
            self._there.pass_over(kind, count)
        self._accuse(self._there.first, there - hidden, "is among the connector's messages, and not here")
        self._tally.note = (
            f"{self._both:,} events in both, {here:,} only here, {there:,} only there"
            + (f" ({hidden:,} of them in our gaps)" if hidden else "")
            + f", it lost {lost:,}"
        )
        return self._tally.result()

    def _accuse(self, first: list[tuple[Key, Event | None]], count: int, what: str) -> None:
        named = first[:count]
        for key, event in named:
            seq = event.ticket if event is not None and event.ticket >= 0 else _end_seq(self._document)
            self._tally.violate(seq, f"{self._told(key, event)} {what}")
        self._tally.violated += count - len(named)

    def _hidden(self) -> dict[int, int]:
        """How many messages without an event our own gaps can hide, by kind, by the kernel's counters."""
        tickets = self._lost_tickets + self._capture.missing_tickets
        accounts, pruned = self._document.accounts, self._document.pruned
        hidden = {}
        for code, count in self._there.by_kind.items():
            can_be, kind = tickets, KINDS[code]
            if accounts is not None and kind in accounts.events and not accounts.running:
                gone = 0 if pruned is None else pruned.rows.get(kind, 0)
                can_be = max(0, accounts.events[kind].claimed - self._rows[code] - gone)
            hidden[code] = min(count, can_be, tickets)
            tickets -= hidden[code]
        return hidden

    def _given_up(self, surplus: Surplus) -> RuleResult:
        message = f"more than {len(surplus.keys):,} tasks' events are on one side only: not compared further"
        if self._lost_tickets or self._capture.missing_tickets or any(self._witness.lost.values()):
            return RuleResult(RULE, unknown=len(surplus.keys), note=message)
        self._violate(message)
        return self._tally.result()

    def _told(self, key: Key, event: Event | None) -> str:
        what = f"the {KINDS[key.kind]} of {key.tid} (process {key.tgid})"
        if event is None:
            return what
        return f"{what} at {(event.boot_ns - self._document.started.boot_ns) / 1e9:+.6f} s"

    def _violate(self, message: str) -> None:
        self._tally.violate(_end_seq(self._document), message)
