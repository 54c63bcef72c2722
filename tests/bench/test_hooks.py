"""A small program hangs on a tracepoint in each way there is, and the kernel counts its runs."""

from __future__ import annotations

import os

import pytest

from linnix_rec.bench import hooks
from linnix_rec.bench.tables import Figure
from linnix_rec.bpf.descriptor import enable_run_statistics

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("way", hooks.WAYS)
def test_the_program_runs_at_each_system_call_while_it_hangs_there(way: str) -> None:
    with enable_run_statistics(), hooks._hung(way) as program:
        before = program.info().run_count
        for _ in range(1000):
            os.getppid()
        assert program.info().run_count >= before + 1000


def test_each_way_has_a_row_with_both_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_CALLS", 2000)
    (table,) = hooks.measure(2, lambda _line: None)
    assert tuple(row[0] for row in table.rows) == hooks.WAYS
    for _, own, added in table.rows:
        assert isinstance(own, Figure)
        assert isinstance(added, Figure)
        assert own.least > 0
        assert len(added.values) == 2
