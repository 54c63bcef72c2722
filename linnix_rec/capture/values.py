"""Are decoded events such as a recorder writes? Knows the schema, no rule about events and no file."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from linnix_rec.capture import limits
from linnix_rec.capture.schema import WIDE_SCHEMA

_NEVER_NULL: Final = frozenset(field.name for field in WIDE_SCHEMA if not field.nullable)


def check_values(batch: pa.RecordBatch) -> None:
    """Raise ValueError for nulls where none may be, text that is no UTF-8 or too long, too many arguments."""
    batch.validate(full=True)  # UTF-8, offsets, indices outside of their dictionary
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in _NEVER_NULL and column.null_count:
            raise ValueError(f"its column {name} has nulls")
        texts = _texts(column)
        if texts is not None and _largest(pc.binary_length(texts)) > limits.TEXT_BYTES:
            raise ValueError(f"its column {name} has text of more than {limits.TEXT_BYTES} bytes")
        if pa.types.is_list(column.type) and _largest(pc.list_value_length(column)) > limits.ARGUMENTS:
            raise ValueError(f"its column {name} has lists of more than {limits.ARGUMENTS}")


def _texts(column: pa.Array) -> pa.Array | None:
    """All strings that a column can show."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary
    return column.flatten() if pa.types.is_list(column.type) else None


def _largest(lengths: pa.Array) -> int:
    return pc.max(lengths).as_py() or 0
