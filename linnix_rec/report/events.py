"""Events as plain Python values, and as JSON and CSV rows, for other programs. Knows no terminal.

JSON: one object a line, only what is known, numbers as numbers, times as RFC 3339. CSV: RFC 4180 with a
header, every column; text that a spreadsheet would take for a formula has a `'` before it, and `argv` is
JSON text.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from linnix_rec.capture.schema import EVENT_SCHEMA, NAME, WIDE_SCHEMA
from linnix_rec.capture.text import printable
from linnix_rec.report.graph import json_text
from linnix_rec.report.times import rfc_3339

_TEXT_COLUMNS: Final = tuple(field.name for field in WIDE_SCHEMA if field.type == NAME)

#: What a spreadsheet takes for the beginning of a formula.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def event_objects(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Give each event as a dict of its known values, `time` as µs since 1970."""
    known = [name for name in batch.schema.names if batch.column(name).null_count < batch.num_rows]
    values = [_plain(batch, name) for name in known]
    for row in zip(*values, strict=True):
        yield {name: value for name, value in zip(known, row, strict=True) if value is not None}


def json_event_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """Give each event as one JSON object in printable ASCII."""
    for batch in batches:
        for event in event_objects(batch):
            if "time" in event:
                event["time"] = rfc_3339(event["time"])
            yield json_text(event)


def csv_event_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """Give a header and each event as a record, without their line ends (which are to be CR LF)."""
    rest = iter(batches)
    first = next(rest, None)
    names = (EVENT_SCHEMA if first is None else first.schema).names
    yield _record(names)
    for batch in [] if first is None else chain([first], rest):
        for event in event_objects(batch):
            yield _record([_cell(name, event.get(name)) for name in names])


def _plain(batch: pa.RecordBatch, name: str) -> list[Any]:
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if column.null_count or not pa.types.is_integer(column.type):
        listed: list[Any] = column.to_pylist()
        return listed
    return column.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def _record(cells: list[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(cells)
    return written.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if name == "argv":
        return json_text(value)
    if name == "time":
        return rfc_3339(value)
    if name in _TEXT_COLUMNS:
        text = printable(value)
        return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return str(value)
