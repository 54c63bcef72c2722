"""Gives numpy's view of a C struct that BTF describes, so that no layout is written down twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linnix_rec.bpf.btf import COMPOSITES, ENUMS, Btf, Kind, Member
from linnix_rec.bpf.errors import MalformedObjectError

_DEPTH_MAX = 32
_TYPES_MAX = 1 << 12  # structs that each hold the next one twice are 2^32 at that depth
_WIDTHS = frozenset({1, 2, 4, 8})
_ARRAY_BYTES_MAX = 1 << 31


def struct_dtype(btf: Btf, name: str) -> np.dtype[Any]:
    """The dtype of struct or union `name`: C's offsets, and C's size as its `itemsize`.

    Members of anonymous structs and unions stand in it like the others (they overlap, as in C), named
    ones are nested dtypes, arrays are sub-arrays, characters and pointers are unsigned integers.
    Raises MalformedObjectError for what BTF lacks, for bitfields, and for names used twice.
    """
    found = btf.find(name, *COMPOSITES)
    if not found:
        raise MalformedObjectError(f"{btf.origin} has no struct {name}")
    return _dtype(btf, found[0], _DEPTH_MAX, iter(range(_TYPES_MAX)))


def _dtype(btf: Btf, type_id: int, depth: int, left: Iterator[int]) -> np.dtype[Any]:
    record = btf.resolve(type_id)
    if depth < 0 or next(left, None) is None:
        raise MalformedObjectError(f"{btf.origin} is damaged: {record.name or 'a type'} holds itself")
    if record.kind in COMPOSITES:
        return _struct(btf, record.id, depth, left)
    if record.kind is Kind.ARRAY:
        array = btf.array(record.id)
        return _array(btf, _dtype(btf, array.element, depth - 1, left), array.count)
    if record.kind is Kind.PTR:
        return np.dtype("<u8")
    if record.size_or_type not in _WIDTHS:
        raise MalformedObjectError(f"{btf.origin}: numpy has no type like {record.kind.name} {record.name}")
    if record.kind is Kind.INT:
        return np.dtype(f"<{'i' if btf.integer(record.id).signed else 'u'}{record.size_or_type}")
    if record.kind in ENUMS:
        return np.dtype(f"<{'i' if record.flag else 'u'}{record.size_or_type}")
    if record.kind is Kind.FLOAT and record.size_or_type > 1:
        return np.dtype(f"<f{record.size_or_type}")
    raise MalformedObjectError(f"{btf.origin}: numpy has no type like {record.kind.name} {record.name}")


def _array(btf: Btf, element: np.dtype[Any], count: int) -> np.dtype[Any]:
    if element.itemsize * count > _ARRAY_BYTES_MAX:
        raise MalformedObjectError(f"{btf.origin}: an array of {count} elements is too large")
    base, shape = element.subdtype or (element, ())
    try:
        return np.dtype((base, (count, *shape)))
    except ValueError as error:  # more dimensions than numpy has
        raise MalformedObjectError(f"{btf.origin}: {error}") from error


def _struct(btf: Btf, type_id: int, depth: int, left: Iterator[int]) -> np.dtype[Any]:
    size = btf.type(type_id).size_or_type
    members = list(_flattened(btf, type_id, 0, depth, left))
    names = [member.name for member in members]
    formats = [_dtype(btf, member.type, depth - 1, left) for member in members]
    offsets = [member.offset_bits // 8 for member in members]
    try:
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    except (ValueError, OverflowError) as error:
        raise MalformedObjectError(f"{btf.origin}: struct {btf.type(type_id).name}: {error}") from error


def _flattened(btf: Btf, type_id: int, offset_bits: int, depth: int, left: Iterator[int]) -> Iterator[Member]:
    """Named members, those of anonymous members included; offsets from the outermost struct."""
    if depth < 0 or next(left, None) is None:
        raise MalformedObjectError(f"{btf.origin} is damaged: anonymous members without end")
    for member in btf.members(type_id):
        at = offset_bits + member.offset_bits
        inner = btf.resolve(member.type)
        if not member.name and inner.kind in COMPOSITES:
            yield from _flattened(btf, inner.id, at, depth - 1, left)
        elif member.bitfield_bits or at % 8:
            raise MalformedObjectError(f"{btf.origin}: bitfield {member.name} can't be read with numpy")
        elif member.name:
            yield member._replace(offset_bits=at)
