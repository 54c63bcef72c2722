"""Reads structs of Thrift's compact protocol, as Parquet's footers and page headers are; knows no Parquet.

Strict, so that pyarrow can't see another content in the same bytes: fields come in the order of their ids, as
every writer has them, so none comes twice, and a value counts only with the wire type that was asked for.
A list's elements have the type that is expected there, as Thrift's generated readers take it for granted.
"""

from typing import Any, Final, TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

#: By field id: of a list its elements' wire type, or their shape if they are structs; of a struct its shape.
Shape: TypeAlias = dict[int, Any]
#: Values by field id and wire type: see `key`.
Fields: TypeAlias = dict[int, Any]

_TYPE_BITS: Final = 4
_DOUBLE_BYTES: Final = 8
_LONG_LIST: Final = 15
_VARINT_BYTES: Final = 10


def key(field: int, type_: int) -> int:
    """Where `read_struct` puts a field of that id and wire type."""
    return field << _TYPE_BITS | type_


def read_struct(raw: bytes, at: int, shape: Shape) -> tuple[Fields, int]:
    """Give the struct at byte `at`, and where it ends; raises ValueError, IndexError if it is cut short."""
    fields: Fields = {}
    place = 0
    while head := raw[at]:
        at += 1
        if head < 1 << _TYPE_BITS:
            raise ValueError("fields out of order")
        place += head & 0xF0
        type_ = head & 0x0F
        if type_ in (I32, I64, I16):
            number = raw[at]
            at += 1
            if number & 0x80:
                number, at = _read_varint(raw, at - 1)
            fields[place | type_] = (number >> 1) ^ -(number & 1)
        elif type_ == LIST:
            fields[place | type_], at = _read_list(raw, at, shape.get(place >> _TYPE_BITS))
        else:
            fields[place | type_], at = _read_other(raw, at, type_, shape.get(place >> _TYPE_BITS))
    return fields, at + 1


def _read_other(raw: bytes, at: int, type_: int, shape: Any) -> tuple[Any, int]:
    if type_ == BINARY:
        length, begin = _read_varint(raw, at)
        if begin + length > len(raw):
            raise IndexError(length)
        return raw[begin : begin + length], begin + length
    if type_ == STRUCT:
        return read_struct(raw, at, shape if isinstance(shape, dict) else {})
    if type_ in (TRUE, FALSE):
        return type_ == TRUE, at
    if type_ == BYTE:
        return raw[at], at + 1
    if type_ == DOUBLE:
        return None, at + _DOUBLE_BYTES
    raise ValueError(f"a field of type {type_}")


def _read_list(raw: bytes, at: int, shape: Any) -> tuple[list[Any], int]:
    head = raw[at]
    at += 1
    type_, count = head & 0x0F, head >> _TYPE_BITS
    if count == _LONG_LIST:
        count, at = _read_varint(raw, at)
    if count > len(raw) - at:
        raise IndexError(count)
    if shape is not None and type_ != (STRUCT if isinstance(shape, dict) else shape):
        raise ValueError(f"a list of type {type_}")
    values: list[Any] = []
    value: Any
    for _ in range(count):
        if type_ == STRUCT:
            value, at = read_struct(raw, at, shape or {})
        elif type_ in (I16, I32, I64):
            number, at = _read_varint(raw, at)
            value = (number >> 1) ^ -(number & 1)
        elif type_ == LIST:
            value, at = _read_list(raw, at, None)
        else:
            value, at = _read_other(raw, at, BYTE if type_ in (TRUE, FALSE) else type_, None)
        values.append(value)
    return values, at


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in raw[at : at + _VARINT_BYTES]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise IndexError(at) if len(raw) - at < _VARINT_BYTES else ValueError("a number without end")
