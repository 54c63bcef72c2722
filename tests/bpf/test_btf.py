"""BTF is read lazily, by name and by id, and damaged BTF raises nothing but MalformedObjectError."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.bpf.btf import (
    MAGIC,
    Array,
    Btf,
    Kind,
    Member,
    Parameter,
    Variable,
    read_vmlinux,
    tracepoint_parameters,
)
from linnix_rec.bpf.errors import MalformedObjectError
from tests.bpf.btf_builder import BtfBuilder


def one_of_each_kind() -> tuple[BtfBuilder, dict[str, int]]:
    b = BtfBuilder()
    ids = {"int": b.int(), "u64": b.int("unsigned long", 8, signed=False)}
    ids["ptr"] = b.pointer(ids["int"])
    ids["array"] = b.array(ids["int"], 5)
    ids["struct"] = b.struct("pair", 16, ("a", ids["int"], 0), ("b", ids["u64"], 64))
    ids["bits"] = b.struct("bits", 4, ("low", ids["int"], 0, 3), ("high", ids["int"], 3, 29))
    ids["union"] = b.union("either", 8, ("a", ids["int"], 0), ("b", ids["u64"], 0))
    ids["enum"] = b.enum("color", {"RED": 0, "BLUE": 0xFFFFFFFF})
    ids["signed"] = b.enum("level", {"LOW": -1}, signed=True)
    ids["enum64"] = b.enum64("wide", {"BIG": 1 << 40, "TOP": (1 << 64) - 1})
    ids["signed64"] = b.enum64("deep", {"MINUS": -1}, signed=True)
    ids["fwd"] = b.forward("later", union=True)
    ids["typedef"] = b.typedef("pair_t", b.const(ids["struct"]))
    ids["proto"] = b.prototype(ids["int"], ("x", ids["int"]), ("", ids["ptr"]))
    ids["func"] = b.function("twice", ids["proto"])
    ids["var"] = b.variable("counter", ids["u64"])
    ids["section"] = b.section(".bss", 8, (ids["var"], 0, 8))
    ids["float"] = b.add(Kind.FLOAT, "double", 8)
    ids["decl_tag"] = b.add(Kind.DECL_TAG, "user", ids["struct"], [0xFFFFFFFF])
    ids["type_tag"] = b.add(Kind.TYPE_TAG, "rcu", ids["int"])
    ids["last"] = b.struct("last", 0)
    return b, ids


def read_everything(btf: Btf) -> int:
    """Touch all that can be asked of each type; gives how many could be read."""
    read = 0
    for type_id in range(len(btf)):
        record = btf.type(type_id)
        for question in (
            btf.resolve,
            btf.size_of,
            btf.members,
            btf.array,
            btf.integer,
            btf.enumerators,
            btf.parameters,
            btf.variables,
        ):
            try:
                question(type_id)
            except MalformedObjectError:
                continue
            read += 1
        assert btf.find(record.name) == () or type_id in btf.find(record.name) or type_id == 0
    return read


def test_each_kind_is_found_by_name_behind_all_others() -> None:
    builder, ids = one_of_each_kind()
    btf = builder.btf()
    assert len(btf) == ids["last"] + 1
    for name in ("int", "struct", "union", "enum", "enum64", "fwd", "func", "var", "float", "last"):
        assert btf.find(btf.type(ids[name]).name) == (ids[name],)
    assert btf.type(ids["typedef"]).name == "pair_t"
    assert btf.find("pair", Kind.UNION) == ()
    assert btf.of_kind(Kind.ENUM, Kind.ENUM64) == tuple(
        sorted(ids[name] for name in ("enum", "signed", "enum64", "signed64"))
    )


def test_parts_of_types_are_read_as_written() -> None:
    builder, ids = one_of_each_kind()
    btf = builder.btf()
    assert btf.members(ids["struct"]) == (Member("a", ids["int"], 0, 0), Member("b", ids["u64"], 64, 0))
    assert btf.members(ids["bits"]) == (Member("low", ids["int"], 0, 3), Member("high", ids["int"], 3, 29))
    assert btf.array(ids["array"]) == Array(ids["int"], 5)
    assert btf.enumerators(ids["enum"]) == (("RED", 0), ("BLUE", 0xFFFFFFFF))
    assert btf.enumerators(ids["signed"]) == (("LOW", -1),)
    assert btf.enumerators(ids["enum64"]) == (("BIG", 1 << 40), ("TOP", (1 << 64) - 1))
    assert btf.enumerators(ids["signed64"]) == (("MINUS", -1),)
    assert btf.parameters(ids["proto"]) == (Parameter("x", ids["int"]), Parameter("", ids["ptr"]))
    assert btf.variables(ids["section"]) == (Variable("counter", ids["var"], 0, 8),)
    assert btf.integer(ids["int"]).signed
    assert not btf.integer(ids["u64"]).signed


def test_sizes_see_through_names_and_arrays() -> None:
    builder, ids = one_of_each_kind()
    nested = builder.array(builder.array(ids["typedef"], 3), 2)
    btf = builder.btf()
    assert btf.size_of(nested) == 2 * 3 * 16
    assert btf.size_of(ids["ptr"]) == 8
    assert btf.size_of(ids["float"]) == 8
    assert btf.resolve(ids["typedef"]).id == ids["struct"]
    for without_size in ("proto", "fwd", "func"):
        with pytest.raises(MalformedObjectError, match="has no size"):
            btf.size_of(ids[without_size])


def test_a_name_may_be_the_end_of_another_name() -> None:
    builder = BtfBuilder()
    longer = builder.int("unsigned int")
    shared = builder.int("")
    content = bytearray(builder.content())
    text_at = 24 + 2 * 16
    struct.pack_into("<I", content, 24 + 16, content.index(b"int\0") - text_at)
    btf = Btf(bytes(content))
    assert btf.find("int") == (shared,)
    assert btf.find("unsigned int") == (longer,)


def test_types_that_never_end_are_refused() -> None:
    builder = BtfBuilder()
    loop = builder.typedef("loop", 1)
    array = builder.array(2, 7)
    btf = builder.btf()
    for question in (btf.resolve, btf.size_of):
        with pytest.raises(MalformedObjectError, match="damaged"):
            question(loop)
    with pytest.raises(MalformedObjectError, match="has no size"):
        btf.size_of(array)


def test_a_tracepoint_has_the_arguments_behind_the_prototypes_own_pointer() -> None:
    builder = BtfBuilder()
    builder.tracepoint("sched_process_exit", 1)
    builder.tracepoint("sched_process_exec", 3)
    btf = builder.btf()
    assert tracepoint_parameters(btf, "sched_process_exit") == 1
    assert tracepoint_parameters(btf, "sched_process_exec") == 3
    with pytest.raises(MalformedObjectError, match="knows no tracepoint nothing"):
        tracepoint_parameters(btf, "nothing")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "only 0 bytes"),
        (b"\x7fELF" + bytes(60), "no BTF of version 1"),
        (struct.pack(">HBBIIIII", MAGIC, 1, 0, 24, 0, 0, 0, 1) + b"\0", "big-endian"),
        (struct.pack("<HBBIIIII", MAGIC, 2, 0, 24, 0, 0, 0, 1) + b"\0", "version 2"),
        (struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, 12, 12, 1), "cut short"),
        (struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, 0, 0, 1) + b"x", "NUL"),
        (
            struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, 12, 12, 1)
            + struct.pack("<III", 0, 31 << 24, 0)
            + b"\0",
            "unknown kind",
        ),
        (
            struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, 12, 12, 1)
            + struct.pack("<III", 0, 4 << 24 | 1, 0)
            + b"\0",
            "cut short",
        ),
    ],
)
def test_what_is_no_btf_says_why(content: bytes, why: str) -> None:
    with pytest.raises(MalformedObjectError, match=why):
        Btf(content)


def test_btf_without_types_is_empty() -> None:
    btf = BtfBuilder().btf()
    assert len(btf) == 1
    assert btf.find("int") == ()
    with pytest.raises(MalformedObjectError, match="there is no type 1"):
        btf.type(1)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(content: bytes) -> None:
    with suppress(MalformedObjectError):
        read_everything(Btf(content))


@given(st.data())
def test_garbled_btf_is_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(one_of_each_kind()[0].content())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        with suppress(MalformedObjectError):
            read_everything(Btf(damaged))


def test_intact_btf_is_read_wholly() -> None:
    assert read_everything(one_of_each_kind()[0].btf()) > 30


@pytest.mark.kernel
def test_the_running_kernels_types_are_found() -> None:
    btf = read_vmlinux()
    (task,) = btf.find("task_struct", Kind.STRUCT)
    members = {member.name: member for member in btf.members(task)}
    assert btf.size_of(members["comm"].type) == 16
    assert btf.resolve(btf.resolve(members["real_parent"].type).size_or_type).id == task
    assert tracepoint_parameters(btf, "sched_process_exit") in (1, 2)
    assert tracepoint_parameters(btf, "task_newtask") == 2
