"""The paper's experiment on guests of many CPUs: what each channel captures and misorders there.

Reads what `linnix-rec bench capture --format json` says in each guest, and knows no channel.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.guest import Ending, Order, run_guests
from tests.lab.kernels import Kernel
from tests.lab.results import aligned, took
from tests.lab.suite import CHECKOUT

TABLE = "paper"
COLUMNS = ("CPUs", "channel", "memory", "made", "captured", "missing", "said lost", "inversions")
NOTES = (
    "One worker a CPU; sizes as the paper has them. Made, captured, missing: events of the storm's time.",
    "Emulation says nothing about speed, so slowdowns are left out; and everything about order: these CPUs",
    "are threads that really run at once, and are stopped anywhere, which no scheduler does to a real CPU.",
)


@dataclass(frozen=True)
class Scaled:
    """A guest's part of the table: cells as `COLUMNS` has them, or why there are none."""

    cpus: int
    rows: tuple[tuple[str, ...], ...]
    seconds: float
    complaint: str = ""


def bench_command(cpus: int, forks: int) -> str:
    """The experiment as a shell command for a guest, with as many workers as it has CPUs."""
    bench = [
        *(sys.executable, "-m", "linnix_rec", "bench", "capture", "--workers", str(cpus)),
        *("--forks", str(forks), "--sizes", TABLE, "--runs", "1", "--format", "json"),
    ]
    # The experiment would do it all again with stress-ng, which says the same and takes as long.
    return f"""\
cd {shlex.quote(str(CHECKOUT))}
rm -f "$(command -v stress-ng)"
exec {shlex.join(bench)} >/run/lab/bench.json 2>/run/lab/bench.err
"""


def run_scaled(
    kernel: Kernel, cpus: int, forks: int, room: Path, virtme: Path, limit_seconds: float
) -> Scaled:
    """Boot a guest of so many CPUs and repeat the experiment in it."""
    # Many CPUs are slow to come up: the boot has no limit of its own.
    order = Order(kernel, cpus, bench_command(cpus, forks), room, limit_seconds, boot_seconds=limit_seconds)
    (ended,) = run_guests([order], virtme)
    return judge(ended, room, cpus)


def judge(ended: Ending, room: Path, cpus: int) -> Scaled:
    """Read the guest's tables, or say why there are none."""
    if ended.status is None:
        return Scaled(cpus, (), ended.seconds, f"the guest {ended.complaint}; its last lines:\n{ended.tail}")
    if ended.status != 0:
        said = (room / "bench.err").read_text(errors="replace").strip().splitlines()
        return Scaled(cpus, (), ended.seconds, said[-1] if said else f"exit status {ended.status}")
    return Scaled(cpus, rows_of(json.loads((room / "bench.json").read_text()), cpus), ended.seconds)


def rows_of(document: dict[str, Any], cpus: int) -> tuple[tuple[str, ...], ...]:
    """The rows of the paper's sizes, from a document of `bench capture`."""
    (table,) = (table for table in document["tables"] if table["name"] == TABLE)
    return tuple(
        (str(cpus), *(_cell(row.get(column, "")) for column in COLUMNS[1:])) for row in table["rows"]
    )


def _cell(cell: dict[str, Any] | str) -> str:
    if isinstance(cell, str):
        return cell
    value, unit = cell["median"], cell["unit"]
    text = f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    return f"{text}%" if unit == "%" else f"{text} {unit}".rstrip()


def scale_table(guests: Sequence[Scaled]) -> str:
    """All guests' rows below each other, and how long each took."""
    rows = [COLUMNS, *(row for guest in guests for row in guest.rows)]
    times = ", ".join(f"{guest.cpus} CPUs {took(guest.seconds)}" for guest in guests)
    complaints = [f"{guest.cpus} CPUs: {guest.complaint}" for guest in guests if guest.complaint]
    return "\n".join([aligned(rows), *NOTES, f"took: {times}", *complaints])
