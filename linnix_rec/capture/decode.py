"""From parsed JSON to frozen dataclasses, by their annotations; knows no capture.

Accepts int (0 to 2^64 - 1), bool, str (valid Unicode), None, unions with None, tuples of one type,
mappings from str, and dataclasses of these. Unknown keys are ignored, missing ones take their default.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from linnix_rec.capture import limits
from linnix_rec.capture.text import shown

T = TypeVar("T")

_UINT64_END = 1 << 64


class MalformedError(ValueError):
    """A value is not of the annotated type; the message names the field."""


def decode(type_: type[T], value: object, where: str = "") -> T:
    """Give `value` as a `type_`; raises MalformedError naming the place below `where`."""
    return typing.cast(T, _decode(type_, value, where))


def _decode(type_: Any, value: object, where: str) -> object:
    if isinstance(type_, type) and dataclasses.is_dataclass(type_):
        return _decode_dataclass(type_, value, where)
    origin = typing.get_origin(type_)
    if origin is types.UnionType:
        return None if value is None else _decode(typing.get_args(type_)[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise MalformedError(f"{where} is not a list")
        inner = typing.get_args(type_)[0]
        return tuple(_decode(inner, item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping:
        inner = typing.get_args(type_)[1]
        return {
            _text(key, where): _decode(inner, item, f"{where}.{shown(key)}")
            for key, item in _object(value, where)
        }
    return _decode_scalar(type_, value, where)


def _decode_scalar(type_: Any, value: object, where: str) -> object:
    if type_ is str:
        return _text(value, where)
    if type(value) is not type_:  # a bool is no int here
        raise MalformedError(f"{where} is not {'a whole number' if type_ is int else 'true or false'}")
    if isinstance(value, int) and not 0 <= value < _UINT64_END:
        raise MalformedError(f"{where} is out of range")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"{where} is not a string")
    if len(value) > limits.DOCUMENT_STRING_CHARACTERS:
        raise MalformedError(f"{where} has {len(value)} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedError(f"{where} is not valid Unicode") from None
    return value


def _object(value: object, where: str) -> list[tuple[Any, Any]]:
    if not isinstance(value, dict):
        raise MalformedError(f"{where or 'the document'} is not an object")
    return list(value.items())


@lru_cache
def _fields(type_: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(type_)
    return tuple(
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(type_)
    )


def _decode_dataclass(type_: type, value: object, where: str) -> object:
    given = dict(_object(value, where))
    decoded: dict[str, object] = {}
    for name, hint, required in _fields(type_):
        place = f"{where}.{name}" if where else name
        if name in given:
            decoded[name] = _decode(hint, given[name], place)
        elif required:
            raise MalformedError(f"{place} is missing")
    return type_(**decoded)
