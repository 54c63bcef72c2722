"""An object file becomes a spec that is the same on every machine; a damaged one is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.bpf import instruction as ins
from linnix_rec.bpf.btf import Kind
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.errors import MalformedObjectError
from linnix_rec.bpf.spec import MapSpec, MapType, ProgramKind
from tests.bpf.given import FEATURES, features, sequencer


def test_programs_say_what_they_hang_on() -> None:
    assert {name: (p.kind, p.target) for name, p in features().programs.items()} == {
        "on_exec": (ProgramKind.TRACEPOINT_BTF, "sched_process_exec"),
        "on_exit": (ProgramKind.RAW_TRACEPOINT, "sched_process_exit"),
        "looping": (ProgramKind.TRACEPOINT_BTF, "sched_process_exec"),
        "guarded": (ProgramKind.TRACEPOINT_BTF, "task_newtask"),
        "poisoned": (ProgramKind.TRACEPOINT_BTF, "task_newtask"),
        "each_task": (ProgramKind.ITERATOR, "task"),
    }
    assert features().license == "Dual BSD/GPL"


def test_maps_are_defined_by_sizes_or_by_types() -> None:
    numbers, marks = features().maps["numbers"], features().maps["marks"]
    assert numbers == MapSpec("numbers", MapType.ARRAY, 4, 12, 4, 1 << 10)
    assert (marks.type, marks.key_bytes, marks.value_bytes, marks.flags) == (MapType.TASK_STORAGE, 4, 8, 1)
    btf = features().btf
    assert btf.resolve(marks.key_type).name == "int"
    assert btf.size_of(marks.value_type) == 8


def test_variables_are_found_in_their_sections() -> None:
    data = features().data
    assert set(data) == {".rodata", ".data", ".bss"}
    assert {name: (v.offset, v.size) for name, v in data[".rodata"].variables.items()} == {
        "factor": (0, 4),
        "limit": (8, 8),
    }
    assert data[".rodata"].content == struct.pack("<IxxxxQ", 3, 0)
    assert data[".data"].content == struct.pack("<Q", 41)
    assert data[".bss"].content == bytes(24)
    assert data[".rodata"].constant
    assert not data[".bss"].constant


def test_sections_sizes_and_offsets_stand_in_the_btf_for_the_kernel() -> None:
    btf = features().btf
    (section,) = btf.find(".bss", Kind.DATASEC)
    assert btf.type(section).size_or_type == 24
    assert [(v.name, v.offset) for v in btf.variables(section)] == [("runs", 0), ("tasks", 8), ("hidden", 16)]


def calls_of(code: bytes) -> dict[int, int]:
    """Which byte each call between functions leads to, by the byte of the call."""
    found = {}
    for at in range(0, len(code), ins.INSTRUCTION_BYTES):
        instruction = ins.read_at(code, at)
        if instruction.opcode == ins.CALL and instruction.source == ins.PSEUDO_CALL:
            found[at] = at + (instruction.immediate + 1) * ins.INSTRUCTION_BYTES
    return found


def test_a_program_carries_the_functions_that_it_calls() -> None:
    program = features().programs["on_exec"]
    own, scaled, twice = 14 * 8, 6 * 8, 8 * 8  # as clang made them
    assert len(program.instructions) == own + scaled + twice
    assert calls_of(program.instructions) == {8 * 8: own, own: own + scaled}
    assert [record.at for record in program.function_info] == [0, own, own + scaled]
    assert [(r.at, r.map, r.offset) for r in program.map_references] == [
        (2 * 8, ".bss", 0),
        (9 * 8, ".data", 0),
        (own + 8, ".rodata", 0),
        (own + scaled + 8, ".bss", 16),
    ]


def test_the_address_of_a_function_is_relative_too() -> None:
    program = features().programs["looping"]
    (own, callback) = [record.at for record in program.function_info]
    loads = [
        (at, ins.read_at(program.instructions, at))
        for at in range(0, callback, ins.INSTRUCTION_BYTES)
        if program.instructions[at] == ins.LD_IMM64
    ]
    assert own == 0
    assert [(load.source, at + (load.immediate + 1) * 8) for at, load in loads] == [
        (ins.PSEUDO_FUNC, callback)
    ]


def test_two_programs_of_one_section_are_cut_apart() -> None:
    guarded, poisoned = features().programs["guarded"], features().programs["poisoned"]
    assert (len(guarded.instructions), len(poisoned.instructions)) == (16 * 8, 3 * 8)
    assert [relocation.at for relocation in poisoned.core_relocations] == [8]
    assert poisoned.line_info[0].at == 0


def test_the_shipped_object_has_what_the_sequencer_needs() -> None:
    spec = sequencer()
    assert {"ring", "accounts", "tree"} <= set(spec.maps)
    assert {"on_newtask", "on_exec", "on_exit", "on_exit_group_dead", "list_task"} <= set(spec.programs)
    assert spec.maps["ring"].value_bytes == 128
    assert {"ring_mask", "tree_only"} <= set(spec.data[".rodata"].variables)
    assert "next_ticket" in spec.data[".bss"].variables


def test_reading_twice_gives_the_same() -> None:
    assert read_object_spec(FEATURES.read_bytes(), "features") == features()


def renamed(old: bytes, new: bytes) -> bytes:
    """The object with a name replaced by one of the same length, wherever it stands."""
    assert len(old) == len(new)
    return FEATURES.read_bytes().replace(old, new)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no ELF object"),
        (b"#!/bin/sh\n", "no ELF object"),
        (renamed(b".BTF.ext\0", b".BTF.txe\0"), "has no .BTF and .BTF.ext"),
        (renamed(b"raw_tp/", b"kprobe/"), "programs of section kprobe/sched_process_exit are not supported"),
        (renamed(b"map_flags\0", b"map_flagz\0"), "map_flagz is not supported"),
        (renamed(b"iter/task\0", b"iter/\0\0\0\0\0"), "what its program hangs on"),
    ],
)
def test_what_is_not_supported_is_named(content: bytes, why: str) -> None:
    with pytest.raises(MalformedObjectError, match=why):
        read_object_spec(content, "x")


def header(at: int, layout: str, value: int) -> Callable[[], bytes]:
    def change() -> bytes:
        content = bytearray(FEATURES.read_bytes())
        struct.pack_into(layout, content, at, value)
        return bytes(content)

    return change


@pytest.mark.parametrize(
    "change",
    [header(4, "<B", 1), header(5, "<B", 2), header(16, "<H", 2), header(18, "<H", 62)],
    ids=["32 bits", "big-endian", "executable", "x86-64"],
)
def test_other_kinds_of_elf_are_refused(change: Callable[[], bytes]) -> None:
    with pytest.raises(MalformedObjectError):
        read_object_spec(change(), "x")


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(MalformedObjectError):
        read_object_spec(b"\x7fELF\x02\x01\x01" + content, "x")


@given(st.integers(0, len(FEATURES.read_bytes()) - 1))
def test_a_file_cut_short_is_refused(length: int) -> None:
    with pytest.raises(MalformedObjectError):
        read_object_spec(FEATURES.read_bytes()[:length], "x")


@given(st.data())
def test_a_garbled_file_is_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(FEATURES.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedObjectError):
        assert read_object_spec(bytes(content), "x").name == "x"
