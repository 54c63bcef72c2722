"""Verdicts for people, and for programs as JSON and JUnit. Knows no rule and no file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from linnix_rec.capture.text import printable
from linnix_rec.proof.verdict import Identity, RuleResult, Verdict
from linnix_rec.report import words
from linnix_rec.report.identities import identity_lines
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import cut_to

_SHOWN_OFFENCES: Final = 3
#: How far around an offender to look at first.
_NEARBY_SEQS: Final = 10

_INDENT: Final = " " * 12
_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>'

#: Rules whose offenders are files and counters: around their seq is nothing to see.
_RULES_OF_FILES: Final = frozenset({"digest", "account", "witness", "connector", "expect"})
#: Identities that were counted apart from the programs: who asked for these wants to see them.
_EVIDENCE: Final = ("runs of ", "counted ")


@dataclass(frozen=True)
class Proof:
    """What became of one capture: a verdict, or why there is none; `status` is its exit status."""

    capture: str
    status: int
    verdict: Verdict | None = None
    unreadable: str = ""


def verdict_lines(
    proof: Proof, *, width: int | None = None, ink: Ink = PLAIN, every_identity: bool = False
) -> Iterator[str]:
    """Give a line a rule, the first offenders below it, and what it all comes to at the end.

    The identities of a rule are told, with both sides, if more was counted than a recording always does
    (`record --prove`, a witness), or if `every_identity` is wanted.
    """
    verdict = proof.verdict
    if verdict is None:
        yield ink.bad(conclude(proof))
        return
    every_identity |= any(map(_has_evidence, verdict.rules))
    for rule in verdict.rules:
        yield _rule_line(rule, width, ink)
        if every_identity and rule.identities:
            yield from identity_lines(rule.identities, width, ink)
        else:
            yield from _offence_lines(rule, ink)
    yield from map(ink.faint, _history(verdict))
    if verdict.largest_inversion_ns:
        yield ink.faint(_timestamps(verdict))
    yield ink.good(conclude(proof)) if proof.status == 0 else ink.bad(conclude(proof))
    yield from next_steps(verdict, proof.capture)


def _offence_lines(rule: RuleResult, ink: Ink) -> Iterator[str]:
    shown = rule.first[:_SHOWN_OFFENCES]
    for offence in shown:
        yield f"{_INDENT}{ink.bad(f'seq {offence.seq}')}: {printable(offence.message)}"
    if shown and rule.violated > len(shown):
        yield f"{_INDENT}and {rule.violated - len(shown):,} more"


def _has_evidence(rule: RuleResult) -> bool:
    return any(part in identity.name for identity in rule.identities for part in _EVIDENCE)


def _timestamps(verdict: Verdict) -> str:
    inversion = f"timestamps run back by up to {words.duration(verdict.largest_inversion_ns)}"
    if verdict.ordered:
        return f"{inversion}: no violation, seq is the order"
    return f"{inversion}: seq is the order of arrival, which proves none"


def _history(verdict: Verdict) -> Iterator[str]:
    """What became of the recording and the capture on the way."""
    pruned = verdict.pruned
    if pruned is not None:
        removed = words.counted(pruned.segments, "older segment")
        lost = sum(pruned.lost.values())
        with_them = f", with {words.counted(lost, 'lost ticket')}" if lost else ""
        verb = "was" if pruned.segments == 1 else "were"
        yield (
            f"begins at seq {pruned.end_seq}: {removed} ({words.size(pruned.bytes)}{with_them}) "
            f"{verb} removed by retention"
        )
    if verdict.resumptions:
        yield f"taken up {_times(verdict.resumptions)} by a later recorder"


def digest_line(proof: Proof) -> str:
    """Give a capture's digest as sha256sum(1) would: `sha256:<hex>  <capture>`; empty if it has none."""
    digest = proof.verdict.digest if proof.verdict else None
    return f"{digest}  {printable(proof.capture)}" if digest else ""


def conclude(proof: Proof) -> str:
    """Give a proof as one line: `proven: 12,345 events, 0 lost, in causal order`."""
    verdict = proof.verdict
    if verdict is None:
        return f"unreadable: {printable(proof.unreadable)}"
    events = words.counted(sum(verdict.events.values()) - verdict.events.get("gap", 0), "event")
    if verdict.proven:
        return f"proven: {events}, {verdict.lost_tickets:,} lost, in causal order"
    if proof.status == 0 and verdict.whole:
        return f"{verdict.summary}: {events}"
    verb = "accepted with loss" if proof.status == 0 else "not proven"
    return f"{verb}: {'; '.join(_reasons(verdict))} ({events})"


def _reasons(verdict: Verdict) -> Iterator[str]:
    broken = [rule for rule in verdict.rules if not rule.holds]
    if broken:
        yield words.joined(f"{rule.name} is violated {_times(rule.violated)}" for rule in broken)
    if verdict.lost_tickets:
        gaps = words.counted(verdict.gaps, "gap")
        yield f"{words.counted(verdict.lost_tickets, verdict.lost_unit)} lost in {gaps}"
    if verdict.shed:
        rest = "" if broken or verdict.lost_tickets else "; forks, execs and exits are proven"
        yield f"{words.counted(verdict.shed, 'syscall')} shed, as the recorder was behind{rest}"
    if verdict.failure:
        yield f"the recording failed: {printable(verdict.failure)}"
    elif not verdict.finished:
        rest = "is missing" if verdict.pin is None else "may still be in the ring"
        yield (
            "the recording was not finished (it still runs, or the recorder died): what came after the last "
            f"closed segment {rest}"
        )


def next_steps(verdict: Verdict, capture: str) -> Iterator[str]:
    """Give the commands that look at what is wrong, or mend it."""
    name = words.quoted(capture)
    rules = [rule for rule in verdict.rules if rule.name not in _RULES_OF_FILES]
    offences = [offence.seq for rule in rules for offence in rule.first]
    if offences:
        first, end = max(0, min(offences) - _NEARBY_SEQS), min(offences) + _NEARBY_SEQS
        yield f"look there: linnix-rec show --seq {first}:{end} {name}"
    elif verdict.lost_tickets:
        yield f"see where: linnix-rec show --kind gap {name}"
    if verdict.pin is not None and not verdict.finished and not verdict.failure:
        yield f"go on with it, if its recorder died: linnix-rec record --resume {name}"


@dataclass(frozen=True)
class Counts:
    """What a reader met: events, tickets lost in gaps, and tickets missing with their segments.

    A source that is not `ordered` numbers no events: a `seq` then is an arrival's number.
    """

    events: int
    lost_tickets: int
    missing_tickets: int = 0
    ordered: bool = True

    def __str__(self) -> str:
        told = words.counted(self.events, "event")
        if self.missing_tickets:
            with_it = "its segment" if self.missing_tickets == 1 else "their segments"
            what = words.counted(self.missing_tickets, "ticket" if self.ordered else "event")
            told += f", {what} missing with {with_it}"
        if self.lost_tickets or not self.missing_tickets:
            told += f", {self.lost_tickets:,} lost"
        return told


def causal_line(rules: Sequence[RuleResult], counts: Counts, capture: str) -> str:
    """Give what a reader learned of the order in passing, as one line."""
    broken = [rule for rule in rules if not rule.holds]
    if not broken:
        unknown = sum(rule.unknown for rule in rules)
        doubt = f" ({unknown:,} unknown for what a gap may hide)" if unknown else ""
        so_far = "causal as far as it is there" if counts.missing_tickets else "causal"
        so_far += "" if counts.ordered else ", order not proven"
        return f"{so_far}: {counts}, {words.joined(rule.name for rule in rules)} hold{doubt}"
    where = words.joined(map(_violation, broken))
    if counts.missing_tickets:
        where += f", as the missing {'tickets' if counts.ordered else 'events'} may explain"
    return f"not causal: {where} ({counts}); next: linnix-rec verify {words.quoted(capture)}"


def json_verdicts(proofs: Sequence[Proof]) -> str:
    """Give all proofs as one JSON document."""
    return json.dumps({"captures": list(map(_proof_object, proofs))}, indent=2)


def junit_verdicts(proofs: Sequence[Proof]) -> str:
    """Give all proofs as JUnit XML: a suite a capture, a case a rule."""
    suites = "".join(map(_junit_suite, proofs))
    return f'{_XML}\n<testsuites name="linnix-rec verify">\n{suites}</testsuites>'


def _rule_line(rule: RuleResult, width: int | None, ink: Ink) -> str:
    outcome = "holds" if rule.holds else f"{rule.violated:,} violated"
    unknown = f", {rule.unknown:,} unknown" if rule.unknown else ""
    left = f"{rule.name:<10}{rule.checked:>12,} checked  "
    note = cut_to(f"{left}{outcome}{unknown}  {printable(rule.note)}", width)[len(left + outcome + unknown) :]
    painted = ink.good(outcome) if rule.holds else ink.bad(outcome)
    return f"{left}{painted}{ink.doubtful(unknown)}{ink.faint(note.rstrip())}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _violation(rule: RuleResult) -> str:
    first = f" (first at seq {rule.first[0].seq})" if rule.first else ""
    return f"{rule.name} is violated {_times(rule.violated)}{first}"


def _proof_object(proof: Proof) -> dict[str, Any]:
    told: dict[str, Any] = {"capture": proof.capture, "exit_status": proof.status}
    verdict = proof.verdict
    if verdict is None:
        return {**told, "verdict": "unreadable", "summary": conclude(proof)}
    return {
        **told,
        "verdict": _outcome(proof, verdict),
        "summary": conclude(proof),
        "proven": verdict.proven,
        "finished": verdict.finished,
        "failure": verdict.failure or None,
        "source": verdict.source,
        "ordered": verdict.ordered,
        "events": dict(verdict.events),
        "lost_tickets": verdict.lost_tickets,
        "gaps": verdict.gaps,
        **({"shed": verdict.shed} if verdict.shed else {}),
        "inversions": asdict(verdict.inversions) if verdict.inversions else None,
        "largest_inversion_ns": verdict.largest_inversion_ns,
        "resumptions": verdict.resumptions,
        "pruned": asdict(verdict.pruned) if verdict.pruned else None,
        **({"digest": verdict.digest} if verdict.digest else {}),
        "rules": list(map(_rule_object, verdict.rules)),
    }


def _outcome(proof: Proof, verdict: Verdict) -> str:
    if verdict.proven:
        return "proven"
    if proof.status == 0:
        return "causal" if verdict.whole else "accepted"
    return "not proven"


def _rule_object(rule: RuleResult) -> dict[str, Any]:
    return {
        "name": rule.name,
        "checked": rule.checked,
        "violated": rule.violated,
        "unknown": rule.unknown,
        "note": rule.note,
        "first": [{"seq": offence.seq, "message": offence.message} for offence in rule.first],
        "identities": list(map(_identity_object, rule.identities)),
    }


def _identity_object(identity: Identity) -> dict[str, Any]:
    return {
        "identity": identity.name,
        "left": identity.left,
        "right": identity.right,
        "relation": identity.relation,
        "holds": identity.holds,
    }


def _junit_suite(proof: Proof) -> str:
    cases = list(_junit_cases(proof))
    failures = sum("<failure" in case for case in cases)
    errors = sum("<error" in case for case in cases)
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    opening = f"  <testsuite name={_attribute(proof.capture)} {counts}>\n"
    return f"{opening}{_junit_properties(proof)}{''.join(cases)}  </testsuite>\n"


def _junit_properties(proof: Proof) -> str:
    if proof.verdict is None or not proof.verdict.digest:
        return ""
    digest = f'<property name="digest" value={_attribute(proof.verdict.digest)}/>'
    return f"    <properties>{digest}</properties>\n"


def _junit_cases(proof: Proof) -> Iterator[str]:
    verdict = proof.verdict
    if verdict is None:
        yield _junit_case(proof, "readable", "error", proof.unreadable)
        return
    for rule in verdict.rules:
        offences = "\n".join(f"seq {offence.seq}: {offence.message}" for offence in rule.first)
        yield _junit_case(
            proof, rule.name, "" if rule.holds else "failure", f"{rule.violated} violated", offences
        )
    stopped_in_order = verdict.finished and not verdict.failure
    complete = stopped_in_order and (proof.status == 0 or verdict.whole)
    yield _junit_case(proof, "complete", "" if complete else "failure", conclude(proof))


def _junit_case(proof: Proof, name: str, outcome: str, message: str, text: str = "") -> str:
    opening = f"    <testcase classname={_attribute(proof.capture)} name={_attribute(name)}"
    if not outcome:
        return f"{opening}/>\n"
    body = escape(_printable_lines(text))
    return f"{opening}><{outcome} message={_attribute(message)}>{body}</{outcome}></testcase>\n"


def _printable_lines(text: str) -> str:
    """Make each line harmless: XML 1.0 can't hold most control characters at all."""
    return "\n".join(map(printable, text.split("\n")))


def _attribute(text: str) -> str:
    return quoteattr(printable(text))
