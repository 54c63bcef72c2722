"""numpy views of an event batch's columns; knows the schema's types, and nothing of what they mean.

All views are zero-copy and can not be written to. Where a row's value is null, its number is
arbitrary: ask `valid`.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from linnix_rec.capture.schema import KIND_CODES

#: Code of a kind that this version does not know (a newer recorder's).
UNKNOWN_KIND = 255


def _values(array: pa.Array, dtype: DTypeLike) -> NDArray[Any]:
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array), dtype)
    values = np.frombuffer(buffer, dtype, len(array), array.offset * np.dtype(dtype).itemsize)
    values.flags.writeable = False
    return values


def _bits(buffer: pa.Buffer, offset: int, count: int) -> NDArray[np.bool_]:
    first_byte = offset // 8
    bits_wanted = offset % 8 + count
    packed = np.frombuffer(buffer, np.uint8, (bits_wanted + 7) // 8, first_byte)
    return np.unpackbits(packed, count=bits_wanted, bitorder="little")[offset % 8 :].view(np.bool_)


def uint64(batch: pa.RecordBatch, name: str) -> NDArray[np.uint64]:
    """Give a uint64 column's values, (n,) uint64."""
    return _values(_column(batch, name, pa.uint64()), np.uint64)


def int64(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    """Give an int64 column's values, (n,) int64."""
    return _values(_column(batch, name, pa.int64()), np.int64)


def uint32(batch: pa.RecordBatch, name: str) -> NDArray[np.uint32]:
    """Give a uint32 column's values, (n,) uint32."""
    return _values(_column(batch, name, pa.uint32()), np.uint32)


def int32(batch: pa.RecordBatch, name: str) -> NDArray[np.int32]:
    """Give an int32 column's values, (n,) int32."""
    return _values(_column(batch, name, pa.int32()), np.int32)


def uint16(batch: pa.RecordBatch, name: str) -> NDArray[np.uint16]:
    """Give a uint16 column's values, (n,) uint16."""
    return _values(_column(batch, name, pa.uint16()), np.uint16)


def uint8(batch: pa.RecordBatch, name: str) -> NDArray[np.uint8]:
    """Give a uint8 column's values, (n,) uint8."""
    return _values(_column(batch, name, pa.uint8()), np.uint8)


def boolean(batch: pa.RecordBatch, name: str) -> NDArray[np.bool_]:
    """Give a bool column's values, (n,) bool; unpacked from bits, so a copy."""
    array = _column(batch, name, pa.bool_())
    return _bits(array.buffers()[1], array.offset, len(array))


def microseconds(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    """Give a timestamp column's values, (n,) int64, microseconds since 1970 (UTC)."""
    return _values(_column(batch, name, pa.timestamp("us", tz="UTC")), np.int64)


def valid(batch: pa.RecordBatch, name: str) -> NDArray[np.bool_]:
    """Say which rows of a column hold a value, (n,) bool."""
    array = batch.column(name)
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return _bits(array.buffers()[0], array.offset, len(array))


def names(batch: pa.RecordBatch, name: str) -> tuple[NDArray[np.int32], list[str]]:
    """Give a dictionary column's (n,) int32 indices and its dictionary."""
    array = batch.column(name)
    return _values(array.indices, np.int32), array.dictionary.to_pylist()


def kind_codes(batch: pa.RecordBatch) -> NDArray[np.uint8]:
    """Give each row's kind as its code in `KIND_CODES`, (n,) uint8; `UNKNOWN_KIND` for any other."""
    indices, dictionary = names(batch, "kind")
    codes = [KIND_CODES.get(kind, UNKNOWN_KIND) for kind in dictionary]
    return np.array(codes or [UNKNOWN_KIND], np.uint8)[indices]


def _column(batch: pa.RecordBatch, name: str, type_: pa.DataType) -> pa.Array:
    array = batch.column(name)
    if array.type != type_:
        raise TypeError(f"column {name} is {array.type}, not {type_}")
    return array
