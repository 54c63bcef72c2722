"""`python -m linnix_rec.bench [WHAT...]`: measures, prints, and writes benchmarks/results.json.

WHAT is `figures` (the rows that have targets) or a measurement of `linnix-rec bench`; without one, all.
What is not measured keeps its place in the file.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from linnix_rec.bench import figures, targets
from linnix_rec.bench.machine import describe, require_recording
from linnix_rec.bench.measurements import DEFAULT_RUNS, document, measure
from linnix_rec.bench.tables import Table, lines
from linnix_rec.errors import LinnixRecError

RESULTS: Final = Path("benchmarks/results.json")
FIGURES: Final = "figures"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; gives the exit status. A missed target is no failure: its line says so."""
    parser = argparse.ArgumentParser(prog="python -m linnix_rec.bench")
    parser.add_argument("what", nargs="*", choices=[FIGURES, *DEFAULT_RUNS, []])
    parser.add_argument("--runs", type=int, help="of each measurement's tables; else as it has by default")
    given = parser.parse_args(arguments)
    wanted = given.what or [FIGURES, *DEFAULT_RUNS]
    try:
        require_recording()
        for what in wanted:
            write_results(_figures() if what == FIGURES else {"tables": {what: _tables(what, given.runs)}})
    except LinnixRecError as error:
        sys.stderr.write(f"bench: error: {error}\n")
        return error.exit_status
    return 0


def write_results(measured: dict[str, Any], path: Path = RESULTS) -> None:
    """Put what was measured into the file, among what it holds of other measurements."""
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    tables = {**before.get("tables", {}), **measured.get("tables", {})}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**before, **measured, "tables": tables}, indent=2) + "\n")


def _figures() -> dict[str, Any]:
    results = []
    for result in targets.measure():
        results.append(figures.as_object(result))
        _say(figures.line(result))
    return {**describe(), FIGURES: results}


def _tables(what: str, runs: int | None) -> dict[str, Any]:
    tables: list[Table] = []
    for table in measure(what, runs, _say):
        tables.append(table)
        for line in lines(table):
            _say(line)
    return document(what, tables)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
