"""numpy sees a C struct as C lays it out."""

from __future__ import annotations

import numpy as np
import pytest

from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import MalformedObjectError
from tests.bpf.btf_builder import BtfBuilder
from tests.bpf.given import sequencer


def test_members_have_the_offsets_and_widths_of_c() -> None:
    b = BtfBuilder()
    u64 = b.int("u64", 8, signed=False)
    u8 = b.typedef("u8", b.int("unsigned char", 1, signed=False))
    inner = b.struct("fork_event", 8, ("flags", b.int("u32", 4, signed=False), 32))
    b.struct(
        "slot",
        64,
        ("stamp", u64, 0),
        ("tid", b.int(), 64),
        ("comm", b.array(u8, 16), 96),
        ("fork", inner, 256),
        ("owner", b.pointer(), 320),
        ("kind", b.enum("kind", {"A": 0}), 384),
        ("grid", b.array(b.array(b.int("short", 2), 2), 3), 416),
    )
    dtype = struct_dtype(b.btf(), "slot")
    assert dtype.itemsize == 64
    assert {name: (field[0], field[1]) for name, field in dtype.fields.items()} == {
        "stamp": (np.dtype("<u8"), 0),
        "tid": (np.dtype("<i4"), 8),
        "comm": (np.dtype(("u1", (16,))), 12),
        "fork": (np.dtype({"names": ["flags"], "formats": ["<u4"], "offsets": [4], "itemsize": 8}), 32),
        "owner": (np.dtype("<u8"), 40),
        "kind": (np.dtype("<u4"), 48),
        "grid": (np.dtype(("<i2", (3, 2))), 52),
    }


def test_anonymous_members_overlap_as_in_c() -> None:
    b = BtfBuilder()
    number = b.int()
    common = b.struct("", 8, ("a", number, 0), ("b", number, 32))
    union = b.union("", 8, ("", common, 0), ("whole", b.int("long", 8), 0))
    b.struct("outer", 16, ("before", number, 0), ("", union, 64))
    dtype = struct_dtype(b.btf(), "outer")
    assert {name: field[1] for name, field in dtype.fields.items()} == {
        "before": 0,
        "a": 8,
        "b": 12,
        "whole": 8,
    }
    row = np.zeros(1, dtype)
    row["whole"] = 7 << 32 | 5
    assert (row["a"][0], row["b"][0]) == (5, 7)


def test_the_shipped_slot_is_two_cache_lines() -> None:
    dtype = struct_dtype(sequencer().btf, "slot")
    assert dtype.itemsize == 128
    assert dtype.fields["stamp"][1] == 0
    assert dtype["exec"]["text"].shape == (32,)
    assert dtype["comm"] == np.dtype(("u1", (16,)))


def test_a_struct_that_is_not_there_is_named() -> None:
    with pytest.raises(MalformedObjectError, match="has no struct slot"):
        struct_dtype(BtfBuilder().btf(), "slot")


def test_what_numpy_cannot_say_is_refused() -> None:
    b = BtfBuilder()
    number, wide = b.int(), b.int("__int128", 16)
    b.struct("bits", 4, ("low", number, 0, 3))
    b.struct("wide", 16, ("x", wide, 0))
    b.struct("twice", 8, ("x", number, 0), ("x", number, 32))
    b.struct("calls", 8, ("x", b.prototype(0), 0))
    b.struct("short", 2, ("x", number, 0))
    b.struct("endless", 8, ("again", b.next_id(), 0))
    b.struct("huge", 8, ("x", b.array(b.array(number, 1 << 31), 1 << 31), 0))
    btf = b.btf()
    for name in ("bits", "wide", "twice", "calls", "short", "endless", "huge"):
        with pytest.raises(MalformedObjectError):
            struct_dtype(btf, name)
