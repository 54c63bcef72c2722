"""The captures in samples/ are what their names say."""

from pathlib import Path

import pytest

from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import verify_capture

SAMPLES = Path(__file__).parent.parent / "samples"
BROKEN = sorted(SAMPLES.glob("broken-*.lrec"))


@pytest.mark.parametrize("name", ["pipeline", "make", "evidence"])
def test_a_real_sample_is_proven(name: str) -> None:
    assert verify_capture(open_capture(SAMPLES / f"{name}.lrec")).proven


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_sample_breaks_the_one_rule_of_its_name(path: Path) -> None:
    verdict = verify_capture(open_capture(path))
    assert [rule.name for rule in verdict.rules if rule.violated] == [path.stem.removeprefix("broken-")]
    assert not verdict.proven


def test_each_rule_has_a_broken_sample() -> None:
    rules = {rule.name for rule in verify_capture(open_capture(SAMPLES / "evidence.lrec")).rules}
    assert {path.stem.removeprefix("broken-") for path in BROKEN} == rules
