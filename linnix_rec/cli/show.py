"""`linnix-rec show`: options in, events out. Knows no event; `linnix_rec.replay` and `report` do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from linnix_rec.cli import reading
from linnix_rec.errors import LinnixRecError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from linnix_rec.capture.document import CaptureDocument
    from linnix_rec.capture.reader import Capture
    from linnix_rec.replay.selection import Selection

# `head -3` is to end at once, and a table to begin at once.
_BATCH_ROWS = 1 << 13
_LOOK_SECONDS = 0.25
_KINDS = ("fork", "exec", "exit", "task", "syscall", "failed-exec", "gap")


def _kinds(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    kinds = tuple(kind.strip() for kind in given.split(","))
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(_KINDS)}")
    return kinds


@click.command(
    short_help="Print a capture's events.",
    epilog=f"""\b
Times (T):
  1234                   a seq, the number in the first column
  2026-09-21T14:16:40Z   wall-clock time, RFC 3339, UTC if it names no zone
  14:16:40.5             that time on the day of the recording, UTC
  +1.5s   -2s            from the recording's start, from its end; also ms, us, m, h

\b
Exit status:
  0  done    1  failed, or with --follow the recorder died    2  wrong usage
  3  CAPTURE can't be read, or a segment of it is missing; what is there is shown

\b
Examples:
  linnix-rec show build.lrec                       every event, in order
  linnix-rec show --summary build.lrec             how many, how fast, which commands, what was lost
  linnix-rec show --kind exec --comm 'cc*'         what the compiler was started with
  linnix-rec show --pid 1234 --since +2s           a process, from two seconds on
  linnix-rec show --follow --kind exec build.lrec  commands, while they are recorded
  linnix-rec show --format jsonl | jq .argv        for other programs
  linnix-rec show --format csv --kind exec >a.csv  for a spreadsheet

{reading.CAPTURE_HELP}
""",
)
@click.argument("capture", required=False, type=reading.CAPTURE_PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv", "arrow"]),
    default="table",
    show_default=True,
    help="A table for people; JSON, one object a line; CSV; an Arrow IPC stream.",
)
@click.option(
    "--kind", "kinds", metavar="K,..", callback=_kinds, help=f"Only these kinds: {', '.join(_KINDS)}."
)
@click.option("--pid", type=int, metavar="N", help="Only this process: all its threads, and its fork.")
@click.option("--tid", type=int, metavar="N", help="Only this thread, and its fork.")
@click.option("--comm", metavar="GLOB", help="Only tasks of this name; *, ? and [...] are wildcards.")
@click.option(
    "--seq", "seqs", metavar="A:B", help="Only tickets A (included) to B (not); either may be left out."
)
@click.option("--since", metavar="T", help="Only from this moment on.")
@click.option("--until", metavar="T", help="Only before this moment.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Stop after N events.")
@click.option("--summary", is_flag=True, help="Print figures instead of the events.")
@click.option(
    "--follow", is_flag=True, help="Go on with new segments until the recording stops, or its recorder dies."
)
def command(
    capture: Path | None, form: str, limit: int | None, summary: bool, follow: bool, **wanted: Any
) -> int:
    """Print the events of CAPTURE in the order in which the kernel numbered them; those of a source without
    tickets (record --source) as they arrived.

    Events lost from the capture stand at their place as gaps, whichever process is asked for, since a gap
    may hide any event. A capture that is being recorded shows what its closed segments hold.

    In JSON, CSV and Arrow, bytes of a name or an argument that are not UTF-8 appear as the characters
    U+EF80 to U+EFFF, one a byte (0x80 to 0xFF).
    """
    if summary and form != "table":
        raise UsageError(f"--summary is for people: it has no --format {form}")
    if summary and follow:
        raise UsageError("--summary needs the end, --follow waits for it: choose one")
    if form == "arrow" and reading.width_for(reading.stdout()) is not None:
        raise UsageError("an Arrow stream is no text for a terminal: redirect it to a file or a program")
    opened = reading.open_chosen(capture)
    selection, first_seq, end_seq = _selection(opened, wanted)
    columns = _columns(form, summary)
    batches = _batches(opened, columns, follow, first_seq=first_seq, end_seq=end_seq, batch_rows=_BATCH_ROWS)
    selected = _limited(_selected(batches, selection), limit)
    if summary:
        whole = limit is None and not any(value is not None for value in wanted.values())
        _write_summary(selected, opened, whole=whole)
    else:
        _write_events(selected, form, opened, live=follow)
    return reading.status_of_reading(opened)


def _selection(capture: Capture, wanted: dict[str, Any]) -> tuple[Selection, int | None, int | None]:
    from linnix_rec.replay.selection import Selection
    from linnix_rec.report.times import moment, seq_range

    timeline = reading.timeline_of(capture)
    since, until = (moment(wanted[name], timeline) if wanted[name] else None for name in ("since", "until"))
    first_seq, end_seq = seq_range(wanted["seqs"]) if wanted["seqs"] else (None, None)
    told = {name: wanted[name] for name in ("kinds", "pid", "tid", "comm")}
    return Selection(since=since, until=until, **told), first_seq, end_seq


def _columns(form: str, summary: bool) -> list[str] | None:
    """Name the columns to read; all of them for other programs."""
    if form != "table":
        return None
    from linnix_rec.capture.schema import WIDE_SCHEMA
    from linnix_rec.replay import selection
    from linnix_rec.replay import summary as figures
    from linnix_rec.report import table

    shown = {*selection.COLUMNS, *(figures.COLUMNS if summary else table.COLUMNS)}
    return [name for name in WIDE_SCHEMA.names if name in shown]


def _batches(
    capture: Capture, columns: list[str] | None, follow: bool, **limits: Any
) -> Iterator[pa.RecordBatch]:
    if not follow:
        return capture.batches(columns, **limits)
    from linnix_rec.replay import follow as following

    return following.follow(
        capture.path,
        columns,
        wait=lambda: time.sleep(_LOOK_SECONDS),
        passed_over=_say_passed_over,
        abandoned=lambda document: _give_up(capture.path, document),
        **limits,
    )


def _say_passed_over(first_seq: int, end_seq: int) -> None:
    reading.say(f"tickets {first_seq} to {end_seq - 1} are not shown: retention removed them in the meantime")


def _give_up(path: Path, document: CaptureDocument) -> NoReturn:
    from linnix_rec.report.words import quoted

    rest = (
        "what came after is missing"
        if document.pin is None
        else f"what came after may still be in the ring: linnix-rec record --resume {quoted(str(path))}"
    )
    raise LinnixRecError(
        f"nobody records to {path} any more: its recorder died; its closed segments are shown, {rest}"
    )


def _selected(batches: Iterator[pa.RecordBatch], selection: Selection) -> Iterator[pa.RecordBatch]:
    from linnix_rec.replay.selection import Selector

    selector = Selector(selection)
    return (selected for batch in batches if (selected := selector.select(batch)).num_rows)


def _limited(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        if not left:
            return
        kept = batch.slice(0, min(left, batch.num_rows))
        left -= kept.num_rows
        yield kept


def _write_summary(batches: Iterator[pa.RecordBatch], capture: Capture, *, whole: bool) -> None:
    from linnix_rec.replay.summary import summarise
    from linnix_rec.report.summary import summary_lines

    stream = reading.stdout()
    ink, width = reading.ink_for(stream), reading.width_for(stream)
    lines = summary_lines(
        summarise(batches),
        capture.document,
        missing_tickets=capture.missing_tickets,
        selected=not whole,
        width=width,
        ink=ink,
    )
    reading.write_lines(lines)


def _write_events(batches: Iterator[pa.RecordBatch], form: str, capture: Capture, *, live: bool) -> None:
    if form == "arrow":
        _write_arrow(batches, capture)
        return
    if form == "csv":
        from linnix_rec.report.events import csv_event_lines

        reading.write_lines(csv_event_lines(batches), line_end="\r\n", live=live)
        return
    first = next(batches, None)
    if first is None:
        reading.say("no event matches")
        return
    batches = chain([first], batches)
    if form == "jsonl":
        from linnix_rec.report.events import json_event_lines

        reading.write_lines(json_event_lines(batches), live=live)
        return
    from linnix_rec.report.table import TableStyle, table_lines

    stream = reading.stdout()
    style = TableStyle(capture.document.started.boot_ns, reading.width_for(stream), reading.ink_for(stream))
    reading.write_lines(table_lines(batches, style), live=live)


def _write_arrow(batches: Iterator[pa.RecordBatch], capture: Capture) -> None:
    import pyarrow as pa

    sink = pa.PythonFile(reading.stdout().buffer, "w")
    with reading.writing_stdout(), pa.ipc.new_stream(sink, capture.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
