"""The kernel's list of possible CPUs, as a count."""

from __future__ import annotations

import os

import pytest

from linnix_rec.sources.cpus import possible_cpus


@pytest.mark.parametrize(
    ("listed", "cpus"), [("0\n", 1), ("0-1\n", 2), ("0-3,8-11\n", 12), ("0,2\n", 3), ("0-127", 128)]
)
def test_the_count_reaches_to_the_highest_cpu(listed: str, cpus: int) -> None:
    assert possible_cpus(listed) == cpus


def test_there_are_at_least_as_many_as_run_now() -> None:
    assert possible_cpus() >= (os.cpu_count() or 1)
