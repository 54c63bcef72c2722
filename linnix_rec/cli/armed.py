"""`linnix-rec armed`: what is pinned, as lines. Knows no ring; `linnix_rec.session.armed` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from linnix_rec.cli import reading

if TYPE_CHECKING:
    from linnix_rec.session.armed import Armed


@click.command(
    short_help="List what is pinned.",
    epilog="""\b
Exit status:
  0  listed, be it nothing    1  something pinned can't be opened    125  bpffs can't be looked into
""",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Lines for people, or one JSON document.",
)  # fmt: skip
def command(form: str) -> int:
    """List what the kernel records into a pinned ring: armed, or by `record --pin`."""
    import json
    from dataclasses import asdict

    from linnix_rec.session.armed import armed

    found = armed()
    if form == "json":
        reading.write_lines([json.dumps({"armed": list(map(asdict, found))}, indent=2)])
    elif found:
        reading.write_lines(_table(found))
    else:
        reading.say("nothing is armed, and nothing pinned")
    return 1 if any(what.problem for what in found) else 0


def _table(found: list[Armed]) -> list[str]:
    rows = [("NAME", "SINCE", "WHAT", "SLOTS", "TICKETS", "LAPS", "STATE")]
    for what in found:
        if what.problem:
            rows.append((what.name, "", "", "", "", "", what.problem))
        else:
            laps = what.issued // what.ring_slots
            numbers = (f"{what.ring_slots:,}", f"{what.issued:,}", f"{laps:,}")
            rows.append((what.name, what.since[:19] + "Z", what.mode, *numbers, _state(what)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]])
        for row in rows
    ]


def _state(what: Armed) -> str:
    from linnix_rec.capture.text import printable

    if what.capture is None:
        return "armed"
    capture = printable(what.capture)
    if what.recorded:
        return "being recorded" if what.lost_sight else f"being recorded to {capture}"
    died = "its recorder has died" if what.attached else "it has ended, and its recorder died"
    if what.lost_sight:
        return f"{died}, {capture} is not there: `dump {what.name}` saves the last lap"
    overwritten = f", {what.overwritten:,} of them overwritten" if what.overwritten else ""
    return f"{died}: `record --resume {capture}`, {what.unread:,} tickets to read{overwritten}"
