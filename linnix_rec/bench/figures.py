"""What is measured, what it should be, and how that is told: as a table and as JSON. Measures nothing."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


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
class Figure:
    """The values that the runs of one row gave, in their order; `row` is a key of ROWS."""

    row: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median is what it should be."""
        row = ROWS[self.row]
        if row.target is None:
            return True
        return self.median >= row.target if row.at_least else self.median <= row.target


def document(figures: Sequence[Figure], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Give what results.json holds: the machine's keys and one object a figure."""
    return {**machine, "figures": [_object(figure) for figure in figures]}


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """Give the lines of the table."""
    for figure in figures:
        row = ROWS[figure.row]
        aim = ""
        if row.target is not None:
            sign = ">=" if row.at_least else "<="
            aim = f"{sign} {row.target:<6g} {'met' if figure.met else 'MISSED'}"
        spread = f"({min(figure.values):.2f} to {max(figure.values):.2f}, {len(figure.values)} runs)"
        yield f"{row.name:56} {figure.median:8.2f} {aim:16} {row.unit} {spread}"


def _object(figure: Figure) -> dict[str, Any]:
    row = ROWS[figure.row]
    return {
        "figure": row.name,
        "unit": row.unit,
        "target": row.target,
        "target_is": None if row.target is None else "least" if row.at_least else "greatest",
        "median": round(figure.median, 4),
        "min": round(min(figure.values), 4),
        "max": round(max(figure.values), 4),
        "runs": len(figure.values),
    }
