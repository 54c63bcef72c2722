"""The measurements by name, and the form in which one is told. Measures nothing itself.

Each is a module of this package, imported only when it is asked for, with one function:

    measure(runs: int, tell: Tell, **options) -> Iterator[Table]

It yields each table when its figures are complete, `runs` values each; `tell` takes a line about what goes
on. What it can't measure here is a word in the cell; that it can't measure at all is a LinnixRecError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

from linnix_rec.bench.machine import describe
from linnix_rec.bench.tables import Table, Tell, as_object

#: By name; of each the runs that its medians are of, unless somebody says otherwise.
DEFAULT_RUNS: Final = {
    "publish": 7,
    "capture": 3,
    "drain": 7,
    "write": 5,
    "verify": 3,
    "latency": 3,
    "overhead": 3,
    "hugepages": 5,
    "dynamic": 1,
}


def measure(what: str, runs: int | None, tell: Tell, **options: Any) -> Iterator[Table]:
    """Yield the tables of the measurement `what`, a key of DEFAULT_RUNS."""
    module = import_module(f"linnix_rec.bench.{what}")
    yield from module.measure(runs or DEFAULT_RUNS[what], tell, **options)


def document(what: str, tables: Sequence[Table]) -> dict[str, Any]:
    """Give what JSON has of one measurement: its name, the machine, its tables."""
    return {"bench": what, "machine": describe(), "tables": [as_object(table) for table in tables]}
