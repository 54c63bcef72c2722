"""Plots show the figures of results.json, and only those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.bench.plots import (
    Point,
    captured_by_workers,
    cost_by_cpus,
    draw,
    main,
    missing_by_memory,
    plots,
)

Cell = dict[str, Any]


def cell(median: float, least: float | None = None, greatest: float | None = None) -> Cell:
    return {"median": median, "min": least or median, "max": greatest or median, "runs": 3, "unit": ""}


PAPER = {
    "name": "paper",
    "title": "Capture of a fork storm",
    "columns": ["load", "channel", "captured"],
    "rows": [
        {"load": "8 workers", "channel": "perf", "captured": cell(60, 55, 61)},
        {"load": "1 worker", "channel": "perf", "captured": cell(90)},
        {"load": "8 workers", "channel": "connector", "captured": ""},
        {"load": "8 of stress-ng", "channel": "perf", "captured": cell(1)},
    ],
    "notes": [],
}
SWEEP = {
    "name": "sweep",
    "title": "Events missing",
    "columns": ["memory", "sequencer", "perf"],
    "rows": [
        {"memory": cell(8), "sequencer": cell(0), "perf": cell(0)},
        {"memory": cell(0.125), "sequencer": cell(43, 30, 50), "perf": "failed"},
    ],
    "notes": [],
}
PUBLISH = {
    "name": "publish",
    "title": "ns",
    "columns": ["channel", "1 CPU", "2 CPUs"],
    "rows": [
        {"channel": "sequencer", "1 CPU": cell(14), "2 CPUs": cell(373, 281, 381)},
        {"channel": "sequencer, 4 slots", "1 CPU": cell(34), "2 CPUs": cell(969)},
    ],
    "notes": [],
}
TABLES = {"capture": {"tables": [PAPER, SWEEP]}, "publish": {"tables": [PUBLISH]}, "drain": {"tables": []}}


def test_captured_shares_are_by_workers_of_our_own_and_in_their_order() -> None:
    assert captured_by_workers(PAPER) == {"perf": (Point(1, 90, 90, 90), Point(8, 60, 55, 61))}


def test_missing_shares_are_by_memory_and_a_channel_that_failed_has_no_point() -> None:
    assert missing_by_memory(SWEEP) == {
        "sequencer": (Point(0.125, 43, 30, 50), Point(8, 0, 0, 0)),
        "perf": (Point(8, 0, 0, 0),),
    }


def test_costs_are_of_events_of_one_slot_by_cpus() -> None:
    assert cost_by_cpus(PUBLISH) == {"sequencer": (Point(1, 14, 14, 14), Point(2, 373, 281, 381))}


def test_axes_say_what_they_are_and_in_which_unit() -> None:
    assert {(plot.name, plot.x_label, plot.y_label) for plot in plots(TABLES)} == {
        ("capture-paper", "workers that fork at once", "events captured (%)"),
        ("loss", "memory of the channel (MiB)", "events missing (%)"),
        ("publish", "CPUs at once", "time an event and CPU (ns)"),
    }
    assert list(plots({})) == []


def test_the_same_figures_make_the_same_png(tmp_path: Path) -> None:
    for plot in plots(TABLES):
        first = draw(plot, tmp_path / "first").read_bytes()
        assert first[:8] == b"\x89PNG\r\n\x1a\n"
        assert draw(plot, tmp_path / "second").read_bytes() == first


def test_all_are_drawn_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"tables": TABLES}))
    assert main([str(results), str(tmp_path / "plots")]) == 0
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "capture-paper.png",
        "loss.png",
        "publish.png",
    ]
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("{", "is no JSON"), ("{}", "holds no table to draw: make bench WHAT=")],
)
def test_results_without_a_table_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    results = tmp_path / "results.json"
    if content is not None:
        results.write_text(content)
    assert main([str(results), str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
