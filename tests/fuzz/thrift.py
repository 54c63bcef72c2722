"""Thrift's compact protocol as a tree that can be changed and written again; knows no Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


@dataclass
class Field:
    """A field of a struct: its id, its wire type, and what it holds."""

    id: int
    type: int
    value: Any


@dataclass
class Items:
    """A list: the wire type of its elements, and these."""

    type: int
    values: list[Any]


Struct = list[Field]


def read_struct(raw: bytes, at: int = 0) -> tuple[Struct, int]:
    """Give the struct at `at`, and where it ends."""
    fields: Struct = []
    number = 0
    while head := raw[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _read_zigzag(raw, at)
        value, at = _read(raw, at, head & 15)
        fields.append(Field(number, head & 15, value))
    return fields, at + 1


def write_struct(fields: Struct) -> bytes:
    """Write a struct as the reader found it, or as it was changed."""
    out = bytearray()
    last = 0
    for field in fields:
        if 0 < field.id - last < 16:
            out.append(field.id - last << 4 | field.type)
        else:
            out.append(field.type)
            out += _varint(_zigzag(field.id) & 0xFFFF)
        out += _write(field.value, field.type)
        last = field.id
    return bytes(out) + b"\0"


def get(fields: Struct, number: int) -> Any:
    """The value of a field; raises KeyError."""
    for field in fields:
        if field.id == number:
            return field.value
    raise KeyError(number)


def put(fields: Struct, number: int, value: Any) -> None:
    """Change a field, if it is there."""
    for field in fields:
        if field.id == number:
            field.value = value


def _read(raw: bytes, at: int, type_: int) -> tuple[Any, int]:
    if type_ in (TRUE, FALSE):
        return type_ == TRUE, at
    if type_ == BYTE:
        return raw[at], at + 1
    if type_ in (I16, I32, I64):
        return _read_zigzag(raw, at)
    if type_ == BINARY:
        length, at = _read_varint(raw, at)
        if length > len(raw) - at:
            raise IndexError(length)
        return raw[at : at + length], at + length
    if type_ == LIST:
        return _read_list(raw, at)
    if type_ == STRUCT:
        return read_struct(raw, at)
    raise ValueError(f"type {type_}")


def _read_list(raw: bytes, at: int) -> tuple[Items, int]:
    head, at = raw[at], at + 1
    count = head >> 4
    if count == 15:
        count, at = _read_varint(raw, at)
    values = []
    for _ in range(min(count, len(raw))):
        if head & 15 in (TRUE, FALSE):
            value, at = raw[at], at + 1
        else:
            value, at = _read(raw, at, head & 15)
        values.append(value)
    return Items(head & 15, values), at


def _write(value: Any, type_: int) -> bytes:
    if type_ in (TRUE, FALSE):
        return b""
    if type_ == BYTE:
        return bytes([value & 0xFF])
    if type_ in (I16, I32, I64):
        return _varint(_zigzag(value) & (1 << 64) - 1)
    if type_ == BINARY:
        return _varint(len(value)) + value
    if type_ == LIST:
        count = len(value.values)
        head = bytes([count << 4 | value.type]) if count < 15 else bytes([0xF0 | value.type]) + _varint(count)
        if value.type in (TRUE, FALSE):
            return head + bytes(item & 0xFF for item in value.values)
        return head + b"".join(_write(item, value.type) for item in value.values)
    return write_struct(value)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint")


def _read_zigzag(raw: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(raw, at)
    return (value >> 1) ^ -(value & 1), at
