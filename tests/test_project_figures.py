"""What the documents tell of speed is what benchmarks/results.json holds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
RESULTS = {
    "figures": [
        {
            "figure": "drain", "unit": "M events/s", "target": 8, "target_is": "least",
            "median": 7.0567, "min": 5, "max": 9, "runs": 3,
        },
        {
            "figure": "prove", "unit": "ratio", "target": None, "target_is": None,
            "median": 1.1, "min": 1.1, "max": 1.1, "runs": 1,
        },
    ],
    "tables": {
        "publish": {
            "tables": [
                {
                    "name": "one",
                    "columns": ["way", "cost", "note"],
                    "rows": [
                        {
                            "way": "a | b",
                            "cost": {"unit": "ns", "median": 54, "min": 52, "max": 60, "runs": 3},
                            "note": "",
                        }
                    ],
                }
            ]
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def tell() -> Any:
    spec = importlib.util.spec_from_file_location("tell", REPOSITORY / "benchmarks" / "tell.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documents_are_in_step(tell: Any) -> None:
    results = json.loads((REPOSITORY / "benchmarks" / "results.json").read_text())
    for path in tell.documents():
        assert tell.filled(path.read_text(), results) == path.read_text(), (
            f"{path.name}: run benchmarks/tell.py"
        )


def test_the_readme_has_figures(tell: Any) -> None:
    assert "<!-- figures: cost -->" in (REPOSITORY / "README.md").read_text()


def test_a_place_is_filled_with_what_was_measured(tell: Any) -> None:
    text = "a\n<!-- figures: cost -->\nold\n<!-- end of figures -->\nb\n"
    assert tell.filled(text, RESULTS).splitlines() == [
        "a",
        "<!-- figures: cost -->",
        "|  | measured | aimed at |",
        "| --- | --- | --- |",
        "| drain | 7.06 M events/s (5 to 9) | at least 8: missed |",
        "| prove | 1.10 |  |",
        "<!-- end of figures -->",
        "b",
    ]


def test_columns_are_chosen_and_bars_do_not_break_the_table(tell: Any) -> None:
    text = "<!-- figures: publish/one | way, cost -->\n<!-- end of figures -->"
    assert tell.filled(text, RESULTS).splitlines()[1:-1] == [
        "| way | cost |",
        "| --- | --- |",
        "| a \\| b | 54 ns (52 to 60) |",
    ]


def test_what_was_not_measured_is_not_told(tell: Any) -> None:
    with pytest.raises(KeyError):
        tell.filled("<!-- figures: publish/two -->\n<!-- end of figures -->", RESULTS)
