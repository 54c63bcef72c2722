"""The paper's table, gathered from what the experiment says in each guest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab.guest import Ending
from tests.lab.scale import Scaled, judge, rows_of, scale_table


def figure(value: float, unit: str = "") -> dict[str, Any]:
    return {"unit": unit, "median": value, "min": value, "max": value, "runs": 1}


def row(channel: str, captured: float, inversions: float) -> dict[str, Any]:
    return {
        "load": "64 workers",
        "channel": channel,
        "memory": figure(128.0, "MiB"),
        "made": figure(10000),
        "captured": figure(captured, "%"),
        "missing": figure(10000 - 100 * captured),
        "said lost": figure(0),
        "inversions": figure(inversions),
        "slowdown": figure(3.4),
    }


REFUSED = {
    "load": "64 workers",
    "channel": "connector",
    "memory": "no netlink here",
    "made": "",
    "captured": "",
}
DOCUMENT = {
    "tables": [
        {"name": "paper", "rows": [row("sequencer", 100.0, 0), row("perf", 23.25, 17), REFUSED]},
        {"name": "sweep", "rows": []},
    ]
}


def test_a_guest_s_rows_are_the_experiment_s_without_its_speed() -> None:
    assert rows_of(DOCUMENT, 64) == (
        ("64", "sequencer", "128 MiB", "10,000", "100%", "0", "0", "0"),
        ("64", "perf", "128 MiB", "10,000", "23.25%", "7,675", "0", "17"),
        ("64", "connector", "no netlink here", "", "", "", "", ""),
    )


def test_a_guest_that_measured_is_its_document(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(DOCUMENT))
    assert judge(Ending(0, 5.0), tmp_path, 64) == Scaled(64, rows_of(DOCUMENT, 64), 5.0)


def test_a_guest_that_could_not_measure_says_why(tmp_path: Path) -> None:
    (tmp_path / "bench.err").write_text("warming up\nlinnix-rec: error: no BTF\n")
    assert judge(Ending(125, 5.0), tmp_path, 64).complaint == "linnix-rec: error: no BTF"
    assert "did not boot" in judge(Ending(None, 5.0, "did not boot", "panic"), tmp_path, 64).complaint


def test_the_table_tells_what_emulation_can_and_cannot_say() -> None:
    text = scale_table([Scaled(64, rows_of(DOCUMENT, 64), 200.0), Scaled(128, (), 3600.0, "the guest died")])
    assert "64    sequencer  " in text
    assert "Emulation says nothing about speed" in text
    assert text.splitlines()[-2:] == ["took: 64 CPUs 3:20, 128 CPUs 60:00", "128 CPUs: the guest died"]
