"""Compatibility of types, by libbpf's rules; each row is one of its sentences."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linnix_rec.bpf.core_compat import (
    TypeIn,
    essential_name,
    fields_compatible,
    types_compatible,
    types_match,
)
from tests.bpf.btf_builder import BtfBuilder

Make = Callable[[BtfBuilder], int]


def pair(local: Make, target: Make) -> tuple[TypeIn, TypeIn]:
    ours, theirs = BtfBuilder(), BtfBuilder()
    ids = local(ours), target(theirs)
    return TypeIn(ours.btf(), ids[0]), TypeIn(theirs.btf(), ids[1])


def struct(name: str) -> Make:
    return lambda b: b.struct(name, 4, ("x", b.int(), 0))


def union(name: str) -> Make:
    return lambda b: b.union(name, 4, ("x", b.int(), 0))


def number(size: int, signed: bool = True, offset_bits: int = 0) -> Make:
    return lambda b: b.int("n", size, signed, offset_bits)


def enum(name: str, *values: str) -> Make:
    return lambda b: b.enum(name, dict.fromkeys(values, 1))


def enum64(name: str, *values: str) -> Make:
    return lambda b: b.enum64(name, dict.fromkeys(values, 1))


def forward(name: str, is_union: bool = False) -> Make:
    return lambda b: b.forward(name, is_union)


def pointer(to: Make) -> Make:
    return lambda b: b.pointer(to(b))


def array(of: Make, count: int = 3) -> Make:
    return lambda b: b.array(of(b), count)


def const(of: Make) -> Make:
    return lambda b: b.const(of(b))


def function(*parameters: Make) -> Make:
    return lambda b: b.prototype(0, *[("", make(b)) for make in parameters])


def endless_pointer(b: BtfBuilder) -> int:
    return b.pointer(1)


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("task___a___b", "task___a"),
        ("___old", "___old"),
        ("task___", "task___"),
        ("task____x", "task____x"),
        ("", ""),
    ],
)
def test_a_flavour_stands_behind_three_underscores(name: str, essential: str) -> None:
    assert essential_name(name) == essential


@pytest.mark.parametrize(
    ("local", "target", "compatible"),
    [
        (struct("a"), union("b"), True),
        (struct("a"), number(4), False),
        (number(4), number(8, signed=False), True),
        (number(4), number(4, offset_bits=3), False),
        (const(number(4)), number(4), True),
        (pointer(struct("a")), pointer(number(4)), True),
        (pointer(struct("a")), number(8), False),
        (array(number(4), 3), array(number(8), 9), True),
        (array(number(4)), array(struct("a")), False),
        (enum("a"), enum("a___x"), True),
        (enum("a"), enum64("a"), True),
        (enum("a"), enum("b"), False),
        (enum("a"), enum(""), True),
        (forward("a"), forward("a___x"), True),
        (forward("a"), forward("b"), False),
        (function(), function(), False),
    ],
)
def test_fields(local: Make, target: Make, compatible: bool) -> None:
    assert fields_compatible(*pair(local, target)) is compatible


@pytest.mark.parametrize(
    ("local", "target", "compatible"),
    [
        (struct("a"), struct("b"), True),
        (struct("a"), union("a"), False),
        (number(4), number(8, signed=False), True),
        (pointer(number(4)), pointer(struct("a")), False),
        (pointer(number(4)), pointer(number(8)), True),
        (array(number(4)), array(number(1), 9), True),
        (function(number(4)), function(number(8)), True),
        (function(number(4)), function(struct("a")), False),
        (function(number(4)), function(), False),
        (endless_pointer, endless_pointer, False),
    ],
)
def test_types(local: Make, target: Make, compatible: bool) -> None:
    assert types_compatible(*pair(local, target)) is compatible


@pytest.mark.parametrize(
    ("local", "target", "matches"),
    [
        (struct("a"), struct("a___x"), True),
        (struct("a"), struct("b"), False),
        (struct("a"), forward("a"), False),
        (pointer(struct("a")), pointer(forward("a")), True),
        (pointer(forward("a")), pointer(struct("a")), True),
        (pointer(forward("a")), pointer(union("a")), False),
        (pointer(forward("a", is_union=True)), pointer(union("a")), True),
        (forward("a"), forward("a", is_union=True), False),
        (number(4), number(4), True),
        (number(4), number(8), False),
        (number(4), number(4, signed=False), False),
        (enum("a", "X"), enum("a", "X", "Y"), True),
        (enum("a", "X", "Y"), enum("a", "X"), False),
        (enum("a", "X"), enum64("a", "X"), False),
        (array(number(4), 3), array(number(4), 3), True),
        (array(number(4), 3), array(number(4), 4), False),
        (function(number(4)), function(number(4)), True),
        (function(number(4)), function(number(8)), False),
        (endless_pointer, endless_pointer, False),
    ],
)
def test_matching(local: Make, target: Make, matches: bool) -> None:
    assert types_match(*pair(local, target)) is matches
