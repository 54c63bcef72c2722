"""Writes the figures of results.json into README.md and docs/*.md, so that no document tells another number.

A place for figures stands between two comments:

    <!-- figures: cost -->                           the rows that have targets
    <!-- figures: publish/publish -->                a table: measurement/name, all columns
    <!-- figures: capture/equal | channel, lost -->  of these columns
    <!-- end of figures -->

`--check` writes nothing and fails unless all are in step.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from linnix_rec.bench.tables import number

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results.json"

_PLACE = re.compile(r"(<!-- figures: (?P<what>[^>]+?) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def documents() -> list[Path]:
    """Where figures may stand."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def filled(text: str, results: dict[str, Any]) -> str:
    """Give the document with each place filled anew; raises KeyError for what was not measured."""

    def fill(place: re.Match[str]) -> str:
        return place[1] + "".join(f"{line}\n" for line in _lines(place["what"], results)) + place[3]

    return _PLACE.sub(fill, text)


def _lines(what: str, results: dict[str, Any]) -> Iterator[str]:
    name, _, columns = (part.strip() for part in what.partition("|"))
    if name == "cost":
        yield from _markdown(("", "measured", "aimed at"), map(_cost, results["figures"]))
        return
    measurement, _, table_name = name.partition("/")
    tables = {table["name"]: table for table in results["tables"][measurement]["tables"]}
    table = tables[table_name]
    wanted = [column.strip() for column in columns.split(",")] if columns else table["columns"]
    yield from _markdown(wanted, ([_told(row[column]) for column in wanted] for row in table["rows"]))


def _cost(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["target"] is None:
        return row["figure"], _told(row), ""
    least = row["target_is"] == "least"
    met = row["median"] >= row["target"] if least else row["median"] <= row["target"]
    aim = f"at {'least' if least else 'most'} {number(row['target'])}"
    return row["figure"], _told(row), aim if met else f"{aim}: missed"


def _told(cell: dict[str, Any] | str) -> str:
    """`54 ns (52 to 60)`"""
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    unit = "" if cell["unit"] == "ratio" else cell["unit"]
    text = f"{number(cell['median'])}{'%' if unit == '%' else f' {unit}' if unit else ''}"
    if cell["min"] == cell["max"]:
        return text
    return f"{text} ({number(cell['min'])} to {number(cell['max'])})"


def _markdown(columns: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def main(arguments: Sequence[str]) -> int:
    """Write, or check; gives the exit status."""
    results = json.loads(RESULTS.read_text())
    stale = []
    for path in documents():
        before = path.read_text()
        after = filled(before, results)
        if after != before:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(after)
    if stale and "--check" in arguments:
        sys.stderr.write(f"error: {', '.join(stale)} tell other figures: python benchmarks/tell.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
