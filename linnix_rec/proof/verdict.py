"""What a proof came to, rule by rule; knows no rule, no file and no screen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import eq, ge, le
from typing import Final

from linnix_rec.capture.document import Pruned

#: How many offenders a rule names; all of them are counted.
FIRST_OFFENCES: Final = 10


@dataclass(frozen=True)
class Offence:
    """One row that broke a rule: its ticket, and why in words."""

    seq: int
    message: str


_RELATIONS: Final = {"=": eq, "<=": le, ">=": ge}


@dataclass(frozen=True)
class Identity:
    """Two counts that were made apart, and how they must relate: "=", "<=" or ">="."""

    left_name: str
    left: int
    relation: str
    right: int
    right_name: str

    @property
    def holds(self) -> bool:
        """Whether the two sides agree."""
        agree: bool = _RELATIONS[self.relation](self.left, self.right)
        return agree

    @property
    def name(self) -> str:
        """The identity in words: `forks seen = filtered + claimed`."""
        return f"{self.left_name} {self.relation} {self.right_name}"

    def __str__(self) -> str:
        other = {"=": "", "<=": "more than ", ">=": "fewer than "}[self.relation]
        return f"{self.left_name}: {self.left}, {other}{self.right_name}: {self.right}"


@dataclass(frozen=True)
class RuleResult:
    """One rule's outcome.

    `checked` counts what the rule looked at (events or files, `note` says which), `violated` what broke
    it, `unknown` what can't be judged because the other half may be hidden in a gap. Of a rule about
    counters, `identities` are all that were checked.
    """

    name: str
    checked: int = 0
    violated: int = 0
    unknown: int = 0
    first: tuple[Offence, ...] = ()
    note: str = ""
    identities: tuple[Identity, ...] = ()

    @property
    def holds(self) -> bool:
        """Nothing broke the rule; what is unknown does not count against it."""
        return self.violated == 0


@dataclass(frozen=True)
class Inversions:
    """Rows that arrived on the wrong side of another row of their task.

    births: forks, execs and exits before the fork of who acts
    deaths, parents: execs, forks after the exit of who acts
    """

    births: int
    deaths: int
    parents: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.births + self.deaths + self.parents


@dataclass(frozen=True)
class Verdict:
    """What `verify` came to: the rules in the order they are reported, and the capture's own figures.

    `events` are rows by kind, gaps included; `lost_tickets` is the sum over the gaps. The largest
    inversion is how far a row's boot_ns lies before the latest of any row before it, in ns: timestamps
    are read after the ticket, so this is no violation. `failure` is why the recorder gave up, as it noted
    itself; empty if it stopped in order.

    A `source` that is not `ordered` numbers no events: `seq` counts arrivals, `lost_tickets` are events (or
    the process connector's messages), and `inversions` are counted. `counted` says that there are counters
    of the kernel to hold against the rows.

    `shed` are syscalls and failed execs that took no ticket, as the recorder was too far behind: the kernel
    counted them, and nothing says where they were. Forks, execs and exits never give way so.

    `pruned` is what retention removed before the events here, `resumptions` how often a later recorder
    took up the recording, `pin` the name under which its ring outlives a recorder. `digest` is the
    capture's ("sha256:" and hex), if it was asked for.
    """

    rules: tuple[RuleResult, ...]
    events: Mapping[str, int]
    lost_tickets: int
    gaps: int
    largest_inversion_ns: int
    finished: bool
    ordered: bool
    failure: str = ""
    pruned: Pruned | None = None
    resumptions: int = 0
    pin: str | None = None
    digest: str | None = None
    source: str = "sequencer"
    counted: bool = True
    inversions: Inversions | None = None
    shed: int = 0

    @property
    def holds(self) -> bool:
        """No rule is broken."""
        return all(rule.holds for rule in self.rules)

    @property
    def proven(self) -> bool:
        """Whole and in order: every rule holds on a finished capture with tickets, and none is lost."""
        in_order = self.finished and not self.failure
        return self.holds and in_order and self.ordered and self.whole

    @property
    def whole(self) -> bool:
        """Nothing is known to be lost, and nothing was shed."""
        return self.lost_tickets == 0 and self.shed == 0

    @property
    def lost_unit(self) -> str:
        """What is counted as lost, in the singular."""
        return lost_unit(self.source, ordered=self.ordered)

    @property
    def summary(self) -> str:
        """The verdict in a few words, the worst reason first."""
        if not self.holds:
            broken = ", ".join(rule.name for rule in self.rules if not rule.holds)
            return f"not proven: {broken} broken"
        if self.failure:
            return f"not proven: the recording failed: {self.failure}"
        if not self.finished:
            return "not proven: the recording was not finished"
        if self.lost_tickets:
            shed = f", and {self.shed} syscalls shed" if self.shed else ""
            return f"not whole: {self.lost_tickets} {self.lost_unit}s lost in {self.gaps} gaps{shed}"
        if self.shed:
            return f"not whole: {self.shed} syscalls shed; forks, execs and exits are proven"
        if self.ordered:
            return "proven"
        if self.counted:
            return "causal; complete by the kernel's counts, order not proven"
        return "causal; completeness unknown"

    def exit_status(self, allow_loss: bool = False) -> int:
        """Give verify's exit status: 0 proven, or as far as the source can be, else 1."""
        whole_enough = allow_loss or self.whole
        return 0 if self.holds and self.finished and not self.failure and whole_enough else 1


def lost_unit(source: str, *, ordered: bool) -> str:
    """Give what a source's gaps count, in the singular."""
    if ordered:
        return "ticket"
    return "message" if source == "connector" else "event"


@dataclass
class Tally:
    """A rule's counts while it is being checked."""

    name: str
    checked: int = 0
    violated: int = 0
    unknown: int = 0
    first: list[Offence] = field(default_factory=list)
    note: str = ""

    def violate(self, seq: int, message: str) -> None:
        """Count one offender; the first in seq order are remembered."""
        self.violated += 1
        if len(self.first) < FIRST_OFFENCES or seq < self.first[-1].seq:
            self.first = sorted([*self.first, Offence(seq, message)], key=_by_seq)[:FIRST_OFFENCES]

    def copy(self) -> "Tally":
        """Give an independent copy."""
        return replace(self, first=list(self.first))

    def result(self) -> RuleResult:
        """Give the outcome so far."""
        return RuleResult(self.name, self.checked, self.violated, self.unknown, tuple(self.first), self.note)


def judged(name: str, identities: Iterable[Identity], seq: int, note: str) -> RuleResult:
    """Give the outcome of a rule about counters; what disagrees belongs to no event, and is told at `seq`."""
    listed = tuple(identities)
    tally = Tally(name, checked=len(listed), note=note)
    for identity in listed:
        if not identity.holds:
            tally.violate(seq, str(identity))
    return replace(tally.result(), identities=listed)


def _by_seq(offence: Offence) -> int:
    return offence.seq
