"""The rows that have a target: what is measured, what it should be, and whether it is. Measures nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from linnix_rec.bench.tables import Figure, figure_object


@dataclass(frozen=True)
class Row:
    """One figure of the table. `target` is a least value if `at_least`, else a greatest; None is to know."""

    name: str
    unit: str
    target: float | None = None
    at_least: bool = False


ROWS: Final[Mapping[str, Row]] = {
    "drain fork": Row("drain and decode, ring full of forks and exits", "M events/s of a core", 8, True),
    "drain exec": Row("drain and decode, ring full of execs", "M events/s of a core", 8, True),
    "write rate": Row("write to Parquet, fork storm repeated", "M events/s of a core", 3, True),
    "write size": Row("Parquet of a fork storm", "bytes an event", 12),
    "verify rate": Row("verify, 5 M events", "M events/s of a core", 5, True),
    "verify memory": Row("verify, peak memory of 5 M events against 1 M", "ratio", 1.1),
    "record true": Row("record -- true, start to end", "s", 0.8),
    "storm tree": Row("fork storm, record -- stress-ng against unrecorded", "ratio", 1.05),
    "storm host": Row("fork storm, record -a beside it against unrecorded", "ratio", 1.05),
    "prove": Row("fork storm, record --prove against record", "ratio"),
    "witness perf": Row("fork storm, record --witness perf against record", "ratio"),
    "witness connector": Row("fork storm, record --witness connector against record", "ratio"),
    "dump raw": Row("dump --raw of 1,048,576 slots, start to end", "s", 1),
    "dump capture": Row("dump of 1,048,576 slots to a capture, start to end", "s", 3),
    "memory": Row("recorder's private memory, ring aside, --buffer included", "MB", 150 + (64 << 20) / 1e6),
}


@dataclass(frozen=True)
class Result:
    """What the runs of one row gave; `row` is a key of ROWS."""

    row: str
    figure: Figure

    @property
    def met(self) -> bool:
        """Whether the median is what it should be."""
        row = ROWS[self.row]
        if row.target is None:
            return True
        median = self.figure.median
        return median >= row.target if row.at_least else median <= row.target


def result(row: str, values: Iterable[float]) -> Result:
    """Give the row's result from the values of its runs."""
    return Result(row, Figure(tuple(values), ROWS[row].unit))


def line(result: Result) -> str:
    """Give one line about a result, its target beside it."""
    row, figure = ROWS[result.row], result.figure
    aim = ""
    if row.target is not None:
        sign = ">=" if row.at_least else "<="
        aim = f"{sign} {row.target:<6g} {'met' if result.met else 'MISSED'}"
    spread = f"({figure.least:.2f} to {figure.greatest:.2f}, {len(figure.values)} runs)"
    return f"{row.name:56} {figure.median:8.2f} {aim:16} {row.unit} {spread}"


def as_object(result: Result) -> dict[str, Any]:
    """Give what results.json has of a result."""
    row = ROWS[result.row]
    return {
        "figure": row.name,
        "target": row.target,
        "target_is": None if row.target is None else "least" if row.at_least else "greatest",
        **figure_object(result.figure),
    }
