"""A capture recorded a moment ago, with one fault put in: `verify` names the rule and the seq."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from linnix_rec.capture.document import Accounts
from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import verify_capture
from tests.proof import mutations

pytestmark = pytest.mark.kernel

# Processes that fork, exec and exit in each order that a mutation looks for; two outlive the recording.
SLEEPERS = "for i in 1 2; do /bin/sleep 9 >/dev/null 2>&1 & done"
SCRIPT = (
    f"for i in 1 2 3; do (/bin/true; /bin/true; exit 3); done; seq 9 | sort -r | head -1; {SLEEPERS}; exit 0"
)

ACCOUNTS: dict[str, Callable[[Accounts], Accounts]] = {
    "a ticket that nobody has": lambda kept: replace(kept, issued=kept.issued + 1),
    "a ticket neither published nor abandoned": lambda kept: replace(kept, published=kept.published - 1),
    "a run that the kernel skipped": lambda kept: replace(kept, recursion_misses={"on_exec": 1}),
    "a task that escaped the tree": lambda kept: replace(kept, storage_refused=1),
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The capture of SCRIPT, recorded here and now, and proven."""
    from tests.kernel.conftest import Recorder

    recorder = Recorder(tmp_path_factory.mktemp("fresh") / "fresh.lrec", "--", "/bin/sh", "-c", SCRIPT)
    assert recorder.end()[0] == 0
    verdict = verify_capture(open_capture(recorder.capture))
    assert verdict.proven
    assert [rule.checked for rule in verdict.rules if rule.name == "alive"] == [2]
    return recorder.capture


def broken(capture: Path) -> dict[str, int]:
    verdict = verify_capture(open_capture(capture))
    assert not verdict.proven
    return {rule.name: rule.first[0].seq for rule in verdict.rules if rule.violated}


MUTATIONS = {**mutations.ROW_MUTATIONS, **mutations.LISTING_MUTATIONS}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_in_the_rows_is_named_by_its_rule_at_its_seq(name: str, fresh: Path, tmp_path: Path) -> None:
    mutated = MUTATIONS[name](mutations.rows_of_capture(fresh))
    capture = mutations.write_mutated(tmp_path / "broken.lrec", fresh, mutated.rows)
    assert broken(capture) == {mutated.rule: mutated.seq}


def test_a_segment_written_anew_is_named_by_digest(fresh: Path, tmp_path: Path) -> None:
    capture = Path(shutil.copytree(fresh, tmp_path / "broken.lrec"))
    first_seq = mutations.segment_rewritten(capture)
    assert broken(capture) == {"digest": first_seq}


@pytest.mark.parametrize("fault", ACCOUNTS)
def test_a_counter_that_disagrees_is_named_by_account(fault: str, fresh: Path, tmp_path: Path) -> None:
    capture = Path(shutil.copytree(fresh, tmp_path / "broken.lrec"))
    mutations.accounts_changed(capture, ACCOUNTS[fault])
    assert broken(capture) == {"account": mutations.end_seq(open_capture(capture))}
