"""The cost of recording is told as measured, with the claim beside it, whichever way it falls."""

from __future__ import annotations

import pytest

from linnix_rec.bench.claims import CLAIMS, Claim, claims_table, ratios
from linnix_rec.bench.overhead import (
    ProgramTime,
    Runs,
    births_table,
    kernel_percent,
    measured_claims,
    ns_an_event,
    programs_table,
    recorder_table,
    tracers_table,
)
from linnix_rec.bench.peers import OURS, PERF
from linnix_rec.bench.storm import Storm
from linnix_rec.bench.tables import Figure, told
from linnix_rec.bench.usage import Share
from linnix_rec.bench.watching import Plan, Stormed, Work

PLAN = Plan(5, 10, 2, 1000)
LOAD = Storm({"fork": 1000, "exec": 1000, "exit": 1000}, True, 0, 10_000_000_000)
PROGRAMS = [{"on_exit": ProgramTime(100, 50_000), "on_newtask": ProgramTime(100, 150_000)}]


def storm(seconds: float) -> Storm:
    return Storm({"fork": 1000, "exec": 0, "exit": 1000}, True, 0, int(seconds * 1e9))


def runs(*, typical: float, seconds: float, output_bytes: int) -> Runs:
    work = Work(Share(0.25, 0.5), Share(typical, 2 * typical), LOAD, 140_000_000, 12_000_000)
    return Runs([work], [Stormed(storm(seconds), Share(50, 60), 1001, 2000, output_bytes)])


def test_a_tracer_s_row_has_its_slowdown_and_its_bytes_an_event() -> None:
    table = tracers_table(
        {
            OURS: runs(typical=0.5, seconds=2.2, output_bytes=20_000),
            "bpftrace": Runs(problem="not installed"),
            "trace-cmd": Runs(problem="Can't enable ftrace"),
        },
        [storm(2.0)],
        PLAN,
    )
    ours, absent, failed = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert [told(ours[each]) for each in table.columns] == [
        OURS, "0.25%", "0.5%", "1%", "12 MB", "1.10", "50%", "10 B",
    ]  # fmt: skip
    assert (absent["idle"], failed["idle"]) == ("not installed", "failed")
    assert table.notes[-1] == "trace-cmd failed: Can't enable ftrace"


def test_the_recorder_s_phases_are_told_with_its_programs_time() -> None:
    table = recorder_table(runs(typical=0.5, seconds=2.0, output_bytes=1), [storm(1.0)], PROGRAMS)
    rows = {row[0]: [told(cell) for cell in row[1:]] for row in table.rows}
    assert rows["idle"] == ["0.25%", "0.5%", "", "", ""]
    assert rows["typical load"] == ["0.5%", "1%", "300 /s", "0.03%", ""]
    assert rows["fork storm"] == ["50%", "60%", "1,000 /s", "0.1%", "2"]
    assert rows["memory, without"][0] == "12 MB"


def test_a_program_s_time_is_the_mean_of_its_runs() -> None:
    table = programs_table(PROGRAMS)
    assert [tuple(told(cell) for cell in row) for row in table.rows] == [
        ("on_exit", "100", "500 ns"),
        ("on_newtask", "100", "1,500 ns"),
    ]
    assert ns_an_event(PROGRAMS[0]) == 1000.0
    assert kernel_percent(LOAD, 1000.0) == pytest.approx(0.03)


def test_what_ps_misses_is_counted_against_the_kernel_s_count() -> None:
    (row,) = births_table([(40, 1000)]).rows
    assert [told(cell) for cell in row[1:]] == ["1,000", "40", "96%"]


def test_claims_are_held_against_the_figures_of_the_same_run() -> None:
    found = {
        OURS: runs(typical=0.5, seconds=2.2, output_bytes=20_000),
        PERF: runs(typical=0.1, seconds=2.0, output_bytes=500_000),
    }
    measured = measured_claims(found, [storm(2.0)], PROGRAMS)
    assert measured["against perf"].values == pytest.approx((1.1,))
    assert measured["bytes against perf"].values == pytest.approx((0.04,))
    assert "strace slowdown" not in measured
    verdicts = {(row[0], row[1]): row[3] for row in claims_table(measured).rows}
    assert verdicts["typical load: under 1% of a core", "the reference document"] == "confirmed"
    assert verdicts["idle: no CPU (under 0.05% of a core)", "the reference document"] == "refuted"
    assert verdicts["a fork storm is no slower than under perf record", "our target"] == "missed"
    assert verdicts["at most 1/20 of perf record's bytes an event", "our target"] == "met"
    assert verdicts["strace slows its load 2 to 5 times", "the reference document"] == "not measured"


@pytest.mark.parametrize(("value", "holds"), [(1.9, False), (2.0, True), (5.0, True), (5.1, False)])
def test_a_claim_s_bounds_are_part_of_it(value: float, holds: bool) -> None:
    assert Claim("", "", "", least=2, greatest=5).holds(Figure((value,))) is holds


def test_every_claim_is_of_a_figure_that_is_measured() -> None:
    full = {
        name: runs(typical=1, seconds=1, output_bytes=1)
        for name in (OURS, PERF, "strace -f", "ps aux, each second")
    }
    assert {claim.figure for claim in CLAIMS} == set(measured_claims(full, [storm(1)], PROGRAMS))


def test_ratios_need_both_of_every_run() -> None:
    assert ratios([2, 3], [1, 2]) == Figure((2.0, 1.5))
    assert ratios([2], []) is None
    assert ratios([], []) is None
