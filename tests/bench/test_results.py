"""benchmarks/results.json keeps what is not measured again."""

import json
from pathlib import Path

from linnix_rec.bench.__main__ import write_results


def test_one_measurement_replaces_its_own_tables_only(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results({"cpus": 2, "figures": [1]}, path)
    write_results({"tables": {"publish": {"tables": ["old"]}}}, path)
    write_results({"tables": {"capture": {"tables": ["kept"]}}}, path)
    write_results({"tables": {"publish": {"tables": ["new"]}}}, path)
    assert json.loads(path.read_text()) == {
        "cpus": 2,
        "figures": [1],
        "tables": {"publish": {"tables": ["new"]}, "capture": {"tables": ["kept"]}},
    }


def test_new_figures_leave_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results({"tables": {"drain": {"tables": []}}}, path)
    write_results({"cpus": 4, "figures": [2]}, path)
    assert json.loads(path.read_text()) == {"tables": {"drain": {"tables": []}}, "cpus": 4, "figures": [2]}
