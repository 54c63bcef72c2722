"""BTF for older kernels says the same in older words: ids and sizes stay."""

from __future__ import annotations

import pytest

from linnix_rec.bpf.btf import Btf, Kind
from linnix_rec.bpf.btf_load import load_btf, plainer
from linnix_rec.bpf.errors import KernelRefusedError
from tests.bpf.btf_builder import BtfBuilder
from tests.bpf.given import features


def newer_kinds() -> Btf:
    b = BtfBuilder()
    number = b.int()
    b.add(Kind.FLOAT, "double", 8)
    task = b.struct("task", 4, ("pid", number, 0))
    b.add(Kind.DECL_TAG, "user", task, [0xFFFFFFFF])
    b.pointer(b.add(Kind.TYPE_TAG, "rcu", task))
    b.enum64("wide", {"BIG": 1 << 40, "TOP": 1})
    b.function("call", b.prototype(number))
    return b.btf()


def test_newer_kinds_become_older_ones_of_the_same_size() -> None:
    newer = newer_kinds()
    older = Btf(plainer(newer))
    kinds = [older.type(i).kind for i in range(1, len(older))]
    assert len(older) == len(newer)
    assert kinds == [
        Kind.INT,
        Kind.STRUCT,
        Kind.STRUCT,
        Kind.INT,
        Kind.CONST,
        Kind.PTR,
        Kind.UNION,
        Kind.FUNC_PROTO,
        Kind.FUNC,
    ]
    assert older.size_of(2) == 8
    assert older.resolve(5).name == "task"
    assert [(m.name, m.offset_bits) for m in older.members(7)] == [("BIG", 0), ("TOP", 0)]
    assert older.type(4).name == "int"


def test_older_kinds_stay_as_they_are() -> None:
    assert plainer(features().btf) == features().btf.content


@pytest.mark.kernel
def test_the_kernel_takes_an_objects_btf() -> None:
    with load_btf(features().btf) as loaded:
        assert loaded.fd > 2
    assert loaded.closed


@pytest.mark.kernel
def test_the_kernel_takes_btf_in_older_words_too() -> None:
    with load_btf(Btf(plainer(newer_kinds()))) as loaded:
        assert not loaded.closed


@pytest.mark.kernel
def test_refused_btf_says_what_the_kernel_said() -> None:
    b = BtfBuilder()
    b.struct("no-identifier", 4, ("x", b.int(), 0))
    with pytest.raises(KernelRefusedError, match="Invalid name"):
        load_btf(b.btf())
