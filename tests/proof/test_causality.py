"""Causality: the fast check and the naive oracle agree; what a kernel can produce breaks no rule."""

import itertools
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.proof.causality import CausalCheck
from tests.proof.histories import ATTACHED_BOOT_NS, Kernel, damaged, renumbered, with_gaps
from tests.proof.oracle import Outcome, causal_outcomes
from tests.story import rows_to_batch

Row = dict[str, Any]


def outcomes(
    rows: list[Row], splits: list[int], *, remembered_births: int = 1 << 18, rows_at_once: int = 1
) -> dict[str, Outcome]:
    whole = rows_to_batch(rows)
    borders = [0, *sorted(min(split, len(rows)) for split in splits), len(rows)]

    def batches() -> list[pa.RecordBatch]:
        return [whole.slice(a, b - a) for a, b in itertools.pairwise(borders)]

    check = CausalCheck(
        ATTACHED_BOOT_NS, batches, remembered_births=remembered_births, rows_at_once=rows_at_once
    )
    check._odd_lives_kept = 0
    for batch in batches():
        check.feed(batch)
    return {
        rule.name: (rule.checked, rule.violated, rule.unknown, [offence.seq for offence in rule.first])
        for rule in check.results()
    }


def splits_of(random: Random, count: int) -> list[int]:
    return [random.randint(0, count) for _ in range(random.choice((0, 1, 5, count // 2)))]


@given(random=st.randoms(use_true_random=False), steps=st.integers(0, 60), gaps=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_a_kernel_can_write_breaks_no_rule(random: Random, steps: int, gaps: int) -> None:
    rows = with_gaps(random, Kernel(random).run(steps), gaps)
    found = outcomes(rows, splits_of(random, len(rows)))
    assert {rule: violated for rule, (_, violated, _, _) in found.items() if violated} == {}
    if gaps == 0:
        assert sum(unknown for _, _, unknown, _ in found.values()) == 0


@given(random=st.randoms(use_true_random=False), steps=st.integers(1, 40), data=st.data())
@settings(max_examples=80, deadline=None)
def test_the_fast_check_agrees_with_the_naive_one(random: Random, steps: int, data: st.DataObject) -> None:
    rows = with_gaps(random, Kernel(random).run(steps), data.draw(st.integers(0, 3)))
    rows = damaged(random, rows, data.draw(st.integers(0, 6)))
    wanted = causal_outcomes(rows, ATTACHED_BOOT_NS)
    remembered = data.draw(st.sampled_from((0, 1, 5, 1000)))
    assert outcomes(rows, splits_of(random, len(rows)), remembered_births=remembered) == wanted


@pytest.mark.parametrize("seed", range(60))
def test_both_agree_on_histories_of_any_length(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    for steps in (30, 100, 100, 400 if seed % 10 else 3000):
        rows = Kernel(random, tids=random.choice((6, 8, 20, 40, 70_000))).run(steps)
        rows = with_gaps(random, rows, random.choice((0, 0, 1, 5, 20)))
        if seed % 4:
            rows = damaged(random, rows, random.choice((1, 3, 10, 50)))
        wanted = causal_outcomes(rows, ATTACHED_BOOT_NS)
        for remembered, at_once in ((0, 1), (random.choice((1, 3, 16, 32)), 10), (1000, 10_000)):
            splits = splits_of(random, len(rows))
            found = outcomes(rows, splits, remembered_births=remembered, rows_at_once=at_once)
            assert found == wanted
        if seed % 4 == 0:
            assert all(violated == 0 for _, violated, _, _ in wanted.values())


def test_renumbering_keeps_a_whole_history_as_it_is() -> None:
    rows = Kernel(Random(7)).run(50)  # noqa: S311 - no secret
    assert renumbered(rows) == rows
