"""What a measurement tells: tables of figures with their spread, as text and as JSON. Measures nothing.

A `Figure` holds what each run gave, in the order of the runs; told are its median, least and greatest. A
cell that is no figure is a word, such as "not installed".
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: Takes a line that says what is being measured now.
Tell = Callable[[str], None]

_GAP_COLUMNS = 3  # between two columns, as they are drawn
_PLAIN_COLUMNS = 250  # of a pipe or a file: nothing is cut there


@dataclass(frozen=True)
class Figure:
    """The values that the runs of one measurement gave, at least one; `unit` as in "ns" or "events/s"."""

    values: tuple[float, ...]
    unit: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def greatest(self) -> float:
        return max(self.values)


Cell = Figure | str


@dataclass(frozen=True)
class Table:
    """One table. Each row has as many cells as there are columns; its first one names it.

    name: what JSON and the plots know it by; unique among the tables of one measurement
    notes: sentences below the table: what was done, and what the figures do not say
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.name}: a row of {len(row)} cells in {len(self.columns)} columns")


def lines(table: Table, *, width: int | None = None, colored: bool = False) -> Iterator[str]:
    """Give the table's lines; `width` is the terminal's in columns, None for a pipe or a file."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawing
    from rich.text import Text

    drawing = Drawing(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, column in enumerate(table.columns):
        drawing.add_column(Text(column), justify="right" if _is_of_figures(table, place) else "left")
    # Where a row is too wide for the terminal, each spread stands below its median.
    between = "\n" if width and _natural_columns(table) > width else " "
    for row in table.rows:
        drawing.add_row(*(Text(told(cell, between)) for cell in row))
    console = Console(
        file=io.StringIO(),
        width=width or _PLAIN_COLUMNS,
        force_terminal=colored,
        color_system="standard" if colored else None,
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(Text(table.title, style="bold"))
        console.print(drawing)
        for note in (*_spread(table), *table.notes):
            console.print(Text(note))
    yield from (line.rstrip() for line in captured.get().splitlines())


def told(cell: Cell, between: str = " ") -> str:
    """Give a cell as text: `54 ns (52 to 60)`, or `54 ns` if all values are one."""
    if isinstance(cell, str):
        return cell
    text = _joined(number(cell.median), cell.unit)
    if cell.least == cell.greatest:
        return text
    return f"{text}{between}({number(cell.least)} to {number(cell.greatest)})"


def number(value: float) -> str:
    """Give a number with three significant digits, or all before the point."""
    size = abs(value)
    if value == int(value) or size >= 100:
        return f"{value:,.0f}"
    if size < 1:
        return f"{value:.3g}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def as_object(table: Table) -> dict[str, Any]:
    """Give what JSON has of the table; a row is an object of its cells by their column."""
    return {
        "name": table.name,
        "title": table.title,
        "columns": list(table.columns),
        "rows": [
            {column: _cell_object(cell) for column, cell in zip(table.columns, row, strict=True)}
            for row in table.rows
        ],
        "notes": list(table.notes),
    }


def figure_object(figure: Figure) -> dict[str, Any]:
    """Give what JSON has of a figure."""
    return {
        "unit": figure.unit,
        "median": round(figure.median, 4),
        "min": round(figure.least, 4),
        "max": round(figure.greatest, 4),
        "runs": len(figure.values),
    }


def _cell_object(cell: Cell) -> dict[str, Any] | str:
    return cell if isinstance(cell, str) else figure_object(cell)


def _joined(text: str, unit: str) -> str:
    if not unit:
        return text
    return f"{text}%" if unit == "%" else f"{text} {unit}"


def _natural_columns(table: Table) -> int:
    """How wide the table is if no cell is broken."""
    widths = (
        max(len(text) for text in (table.columns[place], *(told(row[place]) for row in table.rows)))
        for place in range(len(table.columns))
    )
    return sum(width + _GAP_COLUMNS for width in widths) - _GAP_COLUMNS


def _is_of_figures(table: Table, place: int) -> bool:
    return any(isinstance(row[place], Figure) for row in table.rows)


def _spread(table: Table) -> Iterator[str]:
    runs = {len(cell.values) for row in table.rows for cell in row if isinstance(cell, Figure)} - {1}
    if runs:
        counted = f"{min(runs)}" if len(runs) == 1 else f"{min(runs)} to {max(runs)}"
        yield f"Medians of {counted} runs, in parentheses the least and the greatest."
