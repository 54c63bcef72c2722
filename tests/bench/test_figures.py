"""A figure is held against its target, and told with its spread."""

import json
from pathlib import Path

import pytest

from linnix_rec.bench.figures import ROWS, as_object, line, result


@pytest.mark.parametrize(
    ("row", "values", "met"),
    [
        ("drain fork", (7.0, 8.0, 9.0), True),
        ("drain fork", (7.0, 7.9, 9.0), False),
        ("storm tree", (1.0, 1.05, 2.0), True),
        ("storm tree", (1.0, 1.06, 1.0, 1.07, 1.08), False),
    ],
)
def test_the_median_is_held_against_the_target(row: str, values: tuple[float, ...], met: bool) -> None:
    measured = result(row, values)
    assert measured.met is met
    assert ("MISSED" not in line(measured)) is met


def test_an_object_has_the_spread_and_the_number_of_runs() -> None:
    figure = as_object(result("record true", (0.5, 0.9, 0.6)))
    assert (figure["median"], figure["min"], figure["max"], figure["runs"]) == (0.6, 0.5, 0.9, 3)
    assert (figure["target"], figure["target_is"]) == (0.8, "greatest")


def test_the_results_that_are_committed_are_of_the_rows_that_are_measured() -> None:
    results = json.loads((Path(__file__).parents[2] / "benchmarks" / "results.json").read_text())
    told = [(each["figure"], each["unit"], each["target"]) for each in results["figures"]]
    assert sorted(told) == sorted((row.name, row.unit, row.target) for row in ROWS.values())
    for each in results["figures"]:
        assert each["min"] <= each["median"] <= each["max"]
