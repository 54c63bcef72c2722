"""What the user prefers to see and what the terminal can show. Knows nothing of captures or events."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import IO

import click

COLORS = ("auto", "always", "never")

_PREFERENCES = "linnix_rec.preferences"
# Where a pipe or a file has no width, a table is laid out for this many columns.
_DEFAULT_WIDTH_COLUMNS = 100


@dataclass(frozen=True)
class Preferences:
    """The common options as given: how much to say (0, 1, 2), tracebacks, and when to colour."""

    verbosity: int = 0
    debug: bool = False
    color: str = "auto"


def preferences(context: click.Context | None = None) -> Preferences:
    """The common options in force in `context`, or in the command that runs now."""
    context = context or click.get_current_context(silent=True)
    found = context.meta.get(_PREFERENCES) if context else None
    return found if isinstance(found, Preferences) else Preferences()


def prefer(context: click.Context, chosen: Preferences) -> None:
    """Put `chosen` in force for `context` and all its parents and children."""
    context.meta[_PREFERENCES] = chosen


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether `stream` is open and a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def wants_color(stream: IO[str] | None) -> bool:
    """Whether to colour what goes to `stream`: `--color`, then NO_COLOR (no-color.org), then the terminal."""
    color = preferences().color
    if color != "auto":
        return color == "always"
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(stream)


def click_color(chosen: Preferences) -> bool | None:
    """`chosen` in click's terms: always, never, or (None) let `click.echo` look at the stream."""
    if chosen.color == "auto":
        return False if os.environ.get("NO_COLOR") else None
    return chosen.color == "always"


def width_columns() -> int:
    """Columns to lay out text for: COLUMNS, the terminal's width, or 100 where there is no terminal."""
    return shutil.get_terminal_size((_DEFAULT_WIDTH_COLUMNS, 24)).columns
