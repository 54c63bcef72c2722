"""Sets a second, independent count of the same events against the kernel's own; knows no row.

The perf counters are opened before the programs are attached and read after they were detached (the outer
count), and read once more while all were attached (the inner count: from after the last was attached until
before the first was detached). So each kind was seen at least as often as the inner count says, and at most
as often as the outer: equality is not to be had, since neither can start together with the other.
"""

from collections.abc import Iterator
from typing import Final

from linnix_rec.capture.document import Accounts, CaptureDocument, PerfWitness
from linnix_rec.proof.verdict import Identity, RuleResult, judged

_NOTE: Final = "counts of perf, while all programs were attached and around that"


def check_perf(document: CaptureDocument, perf: PerfWitness, end_seq: int) -> RuleResult:
    """Compare perf's counts with the accounts; a disagreement belongs to no ticket: told at `end_seq`."""
    accounts = document.accounts
    if accounts is None:
        return RuleResult("witness", unknown=1, note="the recording was not finished: there are no counters")
    if accounts.running or document.resumptions:
        return RuleResult("witness", unknown=1, note="perf counted for a part of the recording only")
    if not perf.complete:
        return RuleResult("witness", unknown=1, note="perf's counters did not count on all CPUs all the time")
    return judged("witness", _identities(perf, accounts), end_seq, _NOTE)


def _identities(perf: PerfWitness, accounts: Accounts) -> Iterator[Identity]:
    # Forks of idle tasks are seen, and filtered out, by both.
    for kind, inner in perf.inner.items():
        account = accounts.events.get(kind)
        seen = account.seen if account else 0
        yield Identity(f"{kind}s counted while attached", inner, "<=", seen, f"{kind}s seen")
        outer = perf.outer.get(kind, 0)
        yield Identity(f"{kind}s seen", seen, "<=", outer, f"{kind}s counted around it")
