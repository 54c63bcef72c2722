"""Draws benchmarks/results.json into PNGs: `python -m linnix_rec.bench.plots`. Measures nothing.

Capture rate by workers, cost of an event by CPUs, loss by memory; a line a channel, with the spread of its
runs. Needs matplotlib (the extra `plots`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from linnix_rec.errors import LinnixRecError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS: Final = Path("benchmarks/results.json")
PLOTS: Final = Path("benchmarks/plots")

# Told apart also by those who see few colours (Okabe and Ito), and by their marks in grey.
_STYLES: Final = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#000000", "x"),
)
_PUBLISHED: Final = (
    "limit: fetch-and-add, and 128 bytes written",
    "sequencer",
    "ring buffer, reserve and submit",
    "ring buffer, output",
    "perf buffer, output",
)


@dataclass(frozen=True)
class Point:
    """A median at `x`, with the least and the greatest of its runs."""

    x: float
    median: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Plot:
    """One drawing: lines by name, over an axis that has a step for each doubling."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Point, ...]]
    y_greatest: float | None = None


def plots(tables: Mapping[str, Any]) -> Iterator[Plot]:
    """Give what can be drawn of the tables that results.json holds; of one not measured, nothing."""
    found = {
        (what, table["name"]): table for what, measured in tables.items() for table in measured["tables"]
    }
    for (what, name), table in found.items():
        if what == "capture" and name != "sweep":
            yield Plot(
                f"capture-{name}",
                table["title"],
                "workers that fork at once",
                "events captured (%)",
                captured_by_workers(table),
                105,
            )
    if ("capture", "sweep") in found:
        sweep = found["capture", "sweep"]
        lines = missing_by_memory(sweep)
        yield Plot("loss", sweep["title"], "memory of the channel (MiB)", "events missing (%)", lines, 105)
    if ("publish", "publish") in found:
        lines = cost_by_cpus(found["publish", "publish"])
        title = "Cost of handing over an event"
        yield Plot("publish", title, "CPUs at once", "time an event and CPU (ns)", lines)


def captured_by_workers(table: Mapping[str, Any]) -> dict[str, tuple[Point, ...]]:
    """Give each channel's captured share by its number of workers; of our own workers only."""
    lines: dict[str, list[Point]] = {}
    for row in table["rows"]:
        workers = re.fullmatch(r"(\d+) workers?", row["load"])
        if workers and isinstance(row["captured"], dict):
            lines.setdefault(row["channel"], []).append(_point(int(workers[1]), row["captured"]))
    return _sorted(lines)


def missing_by_memory(table: Mapping[str, Any]) -> dict[str, tuple[Point, ...]]:
    """Give each channel's missing share by its memory in MiB."""
    lines: dict[str, list[Point]] = {}
    for row in table["rows"]:
        for channel in table["columns"][1:]:
            if isinstance(row[channel], dict):
                lines.setdefault(channel, []).append(_point(row["memory"]["median"], row[channel]))
    return _sorted(lines)


def cost_by_cpus(table: Mapping[str, Any]) -> dict[str, tuple[Point, ...]]:
    """Give the cost of an event of one slot by the number of CPUs."""
    lines: dict[str, list[Point]] = {}
    for row in table["rows"]:
        if row["channel"] in _PUBLISHED:
            for column in table["columns"][1:]:
                if isinstance(row[column], dict):
                    lines.setdefault(row["channel"], []).append(_point(int(column.split()[0]), row[column]))
    return _sorted(lines)


def draw(plot: Plot, directory: Path) -> Path:
    """Draw one plot into a PNG; raises UsageError without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError("matplotlib is not installed: pip install 'linnix-rec[plots]'") from None
    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=110, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for (name, points), (color, mark) in zip(plot.lines.items(), _styles(), strict=False):
        _line(axes, name, points, color, mark)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({point.x for points in plot.lines.values() for point in points}))
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes.minorticks_off()
    axes.set_ylim(bottom=0, top=plot.y_greatest)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.set_title(plot.title, fontsize=11)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=True)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{plot.name}.png"
    # Without the version in it, the same figures make the same file.
    figure.savefig(path, metadata={"Software": None})
    return path


def _line(axes: Axes, name: str, points: Sequence[Point], color: str, mark: str) -> None:
    axes.errorbar(
        [point.x for point in points],
        [point.median for point in points],
        yerr=[
            [point.median - point.least for point in points],
            [point.greatest - point.median for point in points],
        ],
        label=name,
        color=color,
        marker=mark,
        markersize=5,
        linewidth=1.4,
        capsize=3,
    )


def _styles() -> Iterator[tuple[str, str]]:
    while True:
        yield from _STYLES


def _point(x: float, cell: Mapping[str, Any]) -> Point:
    return Point(x, cell["median"], cell["min"], cell["max"])


def _sorted(lines: Mapping[str, Sequence[Point]]) -> dict[str, tuple[Point, ...]]:
    return {name: tuple(sorted(points, key=attrgetter("x"))) for name, points in lines.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw all that can be drawn; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m linnix_rec.bench.plots")
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS)
    parser.add_argument("directory", nargs="?", type=Path, default=PLOTS)
    given = parser.parse_args(arguments)
    try:
        found = list(plots(_tables(given.results)))
        if not found:
            raise UsageError(f"{given.results} holds no table to draw: make bench WHAT='capture publish'")
        for plot in found:
            sys.stdout.write(f"{draw(plot, given.directory)}\n")
    except LinnixRecError as error:
        sys.stderr.write(f"plots: error: {error}\n")
        return error.exit_status
    return 0


def _tables(path: Path) -> Mapping[str, Any]:
    try:
        tables: Mapping[str, Any] = json.loads(path.read_text()).get("tables", {})
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
    return tables


if __name__ == "__main__":
    sys.exit(main())
