"""The rows that lineage keeps of each kind, packed; knows the schema, and nothing of processes.

An event of a storm costs some 70 bytes here, an exec its arguments besides. Text is kept once and
referred to by number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EVENT_SCHEMA, EXEC, EXIT, FORK, GAP, NAME, TASK

Rows = NDArray[np.void]

#: Number of a text that is null.
NO_TEXT: Final = -1

_WHEN: Final = [("seq", "u8"), ("boot_ns", "i8")]
_ACTOR: Final = [
    ("start_ns", "u8"),
    ("parent_start_ns", "u8"),
    ("tid", "i4"),
    ("tgid", "i4"),
    ("parent_tgid", "i4"),
    ("uid", "u4"),
    ("comm", "i4"),
]
#: What stands for null, where that is not 0.
_NULLS: Final = {"comm": NO_TEXT, "filename": NO_TEXT}

#: Fields are named as the schema's columns; `comm` and `filename` are numbers of texts.
ROW_TYPES: Final[Mapping[int, np.dtype[np.void]]] = {
    FORK: np.dtype(
        [
            *_WHEN,
            *_ACTOR,
            ("child_start_ns", "u8"),
            ("clone_flags", "u8"),
            ("child_tid", "i4"),
            ("child_tgid", "i4"),
        ]
    ),
    EXEC: np.dtype([*_WHEN, *_ACTOR, ("filename", "i4"), ("old_tid", "i4"), ("argv_truncated", "?")]),
    EXIT: np.dtype(
        [
            *_WHEN,
            *_ACTOR,
            ("cpu_ns", "u8"),
            ("max_rss_bytes", "u8"),
            ("exit_code", "i4"),
            ("exit_signal", "u1"),
            ("core_dumped", "?"),
            ("last_thread", "?"),
        ]
    ),
    TASK: np.dtype([*_WHEN, *_ACTOR, ("exit_state", "u4"), ("task_flags", "u4")]),
    GAP: np.dtype([("seq", "u8"), ("lost", "u8")]),
}

#: What to ask of a reader for lineage.
COLUMNS: Final = tuple(
    name
    for name in EVENT_SCHEMA.names
    if name in {"kind", "argv"} or any(name in (type_.names or ()) for type_ in ROW_TYPES.values())
)

_VIEWS: Final[Mapping[pa.DataType, Any]] = {
    pa.uint64(): columns.uint64,
    pa.int64(): columns.int64,
    pa.uint32(): columns.uint32,
    pa.int32(): columns.int32,
    pa.uint8(): columns.uint8,
    pa.bool_(): columns.boolean,
}


class Texts:
    """Gives each distinct text a number, over all batches (each has a dictionary of its own)."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number_all(self, dictionary: Sequence[str | None]) -> NDArray[np.int32]:
        """Give the numbers of a dictionary's texts, (at least 1,) int32."""
        numbers = self._numbers
        found = [NO_TEXT if text is None else numbers.setdefault(text, len(numbers)) for text in dictionary]
        return np.array(found or [NO_TEXT], np.int32)

    def listed(self) -> list[str]:
        """Give all texts, each at its number."""
        return list(self._numbers)


class RowStore:
    """Takes batches in order of seq and keeps, per kind, what lineage needs of them."""

    def __init__(self) -> None:
        self.texts = Texts()
        self._parts: dict[int, list[Rows]] = {kind: [] for kind in ROW_TYPES}
        self._argv: list[pa.Array] = []

    def feed(self, batch: pa.RecordBatch) -> None:
        """Keep what `COLUMNS` name of a batch; kinds of a newer recorder are passed over."""
        if not batch.num_rows:
            return
        kinds = columns.kind_codes(batch)
        for kind in ROW_TYPES:
            at = np.flatnonzero(kinds == kind)
            if at.size:
                self._parts[kind].append(self._packed(batch, kind, at))
                if kind == EXEC:
                    self._argv.append(batch.column("argv").take(pa.array(at)))

    def _packed(self, batch: pa.RecordBatch, kind: int, at: NDArray[np.intp]) -> Rows:
        packed = np.empty(at.size, ROW_TYPES[kind])
        for name in packed.dtype.names or ():
            values = self._column(batch, name)[at]
            packed[name] = np.where(
                columns.valid(batch, name)[at], values, values.dtype.type(_NULLS.get(name, 0))
            )
        return packed

    def _column(self, batch: pa.RecordBatch, name: str) -> NDArray[Any]:
        type_ = EVENT_SCHEMA.field(name).type
        if type_ != NAME:
            values: NDArray[Any] = _VIEWS[type_](batch, name)
            return values
        indices, dictionary = columns.names(batch, name)
        numbers = self.texts.number_all(dictionary)
        texts: NDArray[np.int32] = numbers[np.clip(indices, 0, numbers.size - 1)]
        return texts

    def take(self, kind: int) -> Rows:
        """Give a kind's rows in order of seq, and keep them no longer."""
        parts = self._parts.pop(kind)
        return np.concatenate(parts) if parts else np.empty(0, ROW_TYPES[kind])

    def take_argv(self) -> pa.ChunkedArray:
        """Give the arguments of the exec rows, in the same order."""
        argv, self._argv = self._argv, []
        return pa.chunked_array(argv, type=pa.list_(pa.string()))
