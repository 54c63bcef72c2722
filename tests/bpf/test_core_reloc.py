"""CO-RE relocation is a table: a type of the object, a path, a kernel's types, and the fix-up."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from linnix_rec.bpf import instruction as ins
from linnix_rec.bpf.core_reloc import POISON_HELPER, CoreKind, Fixup, apply_fixup, describe, fixup, relocate
from linnix_rec.bpf.errors import MalformedObjectError, RelocationError
from linnix_rec.bpf.spec import CoreRelocation
from tests.bpf.btf_builder import BtfBuilder

POISON = Fixup(None, None)
Make = Callable[[BtfBuilder], int]


def solve(kind: CoreKind, local: Make, access: tuple[int, ...], *targets: Make) -> Fixup:
    """The fix-up of a relocation against the type that `local` makes, in a kernel that `targets` make."""
    ours, theirs = BtfBuilder(), BtfBuilder()
    theirs.int("padding", 1)  # so that ids differ between the two
    type_id = local(ours)
    for target in targets:
        target(theirs)
    return fixup(CoreRelocation(0, type_id, access, kind), ours.btf(), theirs.btf())


def task_of_two(b: BtfBuilder) -> int:
    number = b.int()
    return b.struct("task", 8, ("pid", number, 0), ("tgid", number, 32))


def task_moved(b: BtfBuilder) -> int:
    number, wide = b.int(), b.int("long", 8)
    return b.struct("task", 32, ("new", wide, 0), ("tgid", number, 96), ("pid", number, 160))


def task_flavoured(b: BtfBuilder) -> int:
    number = b.int()
    return b.struct("task___v515", 4, ("tgid", number, 0))


def task_in_anonymous_union(b: BtfBuilder) -> int:
    number = b.int()
    inner = b.struct("", 8, ("filler", number, 0), ("tgid", number, 32))
    union = b.union("", 8, ("whole", b.int("long", 8), 0), ("", inner, 0))
    return b.struct("task", 16, ("before", b.int("long", 8), 0), ("", union, 64))


def local_anonymous(b: BtfBuilder) -> int:
    number = b.int()
    inner = b.struct("", 8, ("filler", number, 0), ("tgid", number, 32))
    return b.struct("task", 8, ("", inner, 0))


def task_without_tgid(b: BtfBuilder) -> int:
    return b.struct("task", 4, ("pid", b.int(), 0))


def task_with_pointer_tgid(b: BtfBuilder) -> int:
    return b.struct("task", 8, ("tgid", b.pointer(), 0))


def task_forward(b: BtfBuilder) -> int:
    return b.forward("task")


def task_union(b: BtfBuilder) -> int:
    return b.union("task", 8, ("tgid", b.int(), 0))


def unsigned_task(size: int, at_bits: int = 0) -> Make:
    def make(b: BtfBuilder) -> int:
        return b.struct("task", 16, ("flags", b.int(f"u{size}", size, signed=False), at_bits))

    return make


def signed_task(size: int) -> Make:
    return lambda b: b.struct("task", 16, ("flags", b.int(f"s{size}", size), 0))


def task_with_bits(first: int, bits: int, size: int = 4, signed: bool = False) -> Make:
    def make(b: BtfBuilder) -> int:
        number = b.int("bits", size, signed=signed)
        return b.struct("task", 16, ("flags", number, first, bits))

    return make


def task_with_array(count: int, at_bits: int = 0, element_size: int = 4) -> Make:
    def make(b: BtfBuilder) -> int:
        array = b.array(b.int("element", element_size), count)
        return b.struct("task", 256, ("first", b.int("long", 8), 0), ("items", array, at_bits))

    return make


BYTE_OFFSET, EXISTS, SIZE = CoreKind.FIELD_BYTE_OFFSET, CoreKind.FIELD_EXISTS, CoreKind.FIELD_BYTE_SIZE
SIGNED, LSHIFT, RSHIFT = CoreKind.FIELD_SIGNED, CoreKind.FIELD_LSHIFT_U64, CoreKind.FIELD_RSHIFT_U64

FIELDS = [
    ("same layout", BYTE_OFFSET, task_of_two, (0, 1), task_of_two, Fixup(4, 4)),
    ("moved", BYTE_OFFSET, task_of_two, (0, 1), task_moved, Fixup(4, 12)),
    ("flavour", BYTE_OFFSET, task_flavoured, (0, 0), task_moved, Fixup(0, 12)),
    ("third of an array", BYTE_OFFSET, task_of_two, (2, 1), task_moved, Fixup(20, 76)),
    ("into anonymous", BYTE_OFFSET, task_of_two, (0, 1), task_in_anonymous_union, Fixup(4, 12)),
    ("out of anonymous", BYTE_OFFSET, local_anonymous, (0, 0, 1), task_moved, Fixup(4, 12)),
    ("gone", BYTE_OFFSET, task_of_two, (0, 1), task_without_tgid, POISON),
    ("gone type", BYTE_OFFSET, task_of_two, (0, 1), signed_task(4), POISON),
    ("other kind of field", BYTE_OFFSET, task_of_two, (0, 1), task_with_pointer_tgid, POISON),
    ("only declared", BYTE_OFFSET, task_of_two, (0, 1), task_forward, POISON),
    ("union for struct", BYTE_OFFSET, task_of_two, (0, 1), task_union, POISON),
    ("there", EXISTS, task_of_two, (0, 1), task_moved, Fixup(1, 1)),
    ("not there", EXISTS, task_of_two, (0, 1), task_without_tgid, Fixup(1, 0)),
    ("size", SIZE, unsigned_task(4), (0, 0), unsigned_task(8), Fixup(4, 8)),
    ("sign", SIGNED, signed_task(4), (0, 0), unsigned_task(4), Fixup(1, 0)),
    ("wider, unsigned", BYTE_OFFSET, unsigned_task(4), (0, 0), unsigned_task(8, 64), Fixup(0, 8, 8)),
    ("narrower, unsigned", BYTE_OFFSET, unsigned_task(8), (0, 0), unsigned_task(2, 16), Fixup(0, 2, 2)),
    ("wider, signed", BYTE_OFFSET, signed_task(4), (0, 0), signed_task(8), Fixup(0, 0, -1)),
    ("element", BYTE_OFFSET, task_with_array(4, 64), (0, 1, 3), task_with_array(8, 128), Fixup(20, 28)),
    ("beyond the end", BYTE_OFFSET, task_with_array(4, 64), (0, 1, 3), task_with_array(2, 64), POISON),
    ("flexible array", BYTE_OFFSET, task_with_array(4, 64), (0, 1, 3), task_with_array(0, 64), Fixup(20, 20)),
    ("bitfield offset", BYTE_OFFSET, task_with_bits(3, 5), (0, 0), task_with_bits(40, 5), Fixup(None, 4)),
    ("bitfield size", SIZE, task_with_bits(3, 5), (0, 0), task_with_bits(40, 5), Fixup(None, 4)),
    ("left shift", LSHIFT, task_with_bits(3, 5), (0, 0), task_with_bits(40, 5), Fixup(None, 64 - 13)),
    ("right shift", RSHIFT, task_with_bits(3, 5), (0, 0), task_with_bits(40, 6), Fixup(None, 58)),
    ("across a word", SIZE, task_with_bits(3, 5), (0, 0), task_with_bits(30, 5), Fixup(None, 8)),
    ("across a word: shift", LSHIFT, task_with_bits(3, 5), (0, 0), task_with_bits(30, 5), Fixup(None, 29)),
    ("no bitfield there", LSHIFT, task_with_bits(3, 5), (0, 0), unsigned_task(4, 32), Fixup(None, 32)),
    ("no bitfield there: size", SIZE, task_with_bits(3, 5), (0, 0), unsigned_task(8), Fixup(None, 8)),
]


@pytest.mark.parametrize(
    ("kind", "local", "access", "target", "expected"),
    [row[1:] for row in FIELDS],
    ids=[row[0] for row in FIELDS],
)
def test_fields(kind: CoreKind, local: Make, access: tuple[int, ...], target: Make, expected: Fixup) -> None:
    assert solve(kind, local, access, target) == expected


def typedef_of(name: str, size: int) -> Make:
    return lambda b: b.typedef(name, b.struct("", size, ("val", b.int(), 0)))


def callback(parameters: int) -> Make:
    return lambda b: b.typedef("callback", b.pointer(b.prototype(0, *[("", b.int())] * parameters)))


def one_int(name: str, size: int, signed: bool = True) -> Make:
    return lambda b: b.int(name, size, signed)


ID, TYPE_EXISTS, TYPE_SIZE = CoreKind.TYPE_ID_TARGET, CoreKind.TYPE_EXISTS, CoreKind.TYPE_SIZE
MATCHES = CoreKind.TYPE_MATCHES

TYPES = [
    ("exists", TYPE_EXISTS, task_of_two, task_moved, Fixup(1, 1)),
    ("exists not", TYPE_EXISTS, task_of_two, typedef_of("other", 4), Fixup(1, 0)),
    ("flavour exists", TYPE_EXISTS, task_flavoured, task_moved, Fixup(1, 1)),
    ("a declaration is no struct", TYPE_EXISTS, task_of_two, task_forward, Fixup(1, 0)),
    ("size", TYPE_SIZE, task_of_two, task_moved, Fixup(8, 32)),
    ("size of nothing", TYPE_SIZE, task_of_two, task_union, POISON),
    ("id", ID, task_of_two, task_moved, Fixup(2, 4)),
    ("id of nothing", ID, task_of_two, typedef_of("task", 4), POISON),
    ("typedef", TYPE_SIZE, typedef_of("kuid_t", 4), typedef_of("kuid_t", 8), Fixup(4, 8)),
    ("same signature", TYPE_EXISTS, callback(2), callback(2), Fixup(1, 1)),
    ("other signature", TYPE_EXISTS, callback(2), callback(3), Fixup(1, 0)),
    ("a part matches", MATCHES, task_without_tgid, task_moved, Fixup(1, 1)),
    ("more does not match", MATCHES, task_of_two, task_without_tgid, Fixup(1, 0)),
    ("a width must match", MATCHES, unsigned_task(4), unsigned_task(8), Fixup(1, 0)),
    ("a sign must match", MATCHES, one_int("int", 4), one_int("int", 4, signed=False), Fixup(1, 0)),
    ("the same matches", MATCHES, callback(1), callback(1), Fixup(1, 1)),
    ("array count must match", MATCHES, task_with_array(4, 64), task_with_array(5, 64), Fixup(1, 0)),
]


@pytest.mark.parametrize(
    ("kind", "local", "target", "expected"), [row[1:] for row in TYPES], ids=[row[0] for row in TYPES]
)
def test_types(kind: CoreKind, local: Make, target: Make, expected: Fixup) -> None:
    assert solve(kind, local, (0,), target) == expected


def color(b: BtfBuilder) -> int:
    return b.enum("color", {"RED": 0, "BLUE___old": 7})


def color_wide(b: BtfBuilder) -> int:
    return b.enum64("color", {"GREEN": 1, "BLUE": 1 << 33, "RED": 5})


VALUE, VALUE_EXISTS = CoreKind.ENUMVAL_VALUE, CoreKind.ENUMVAL_EXISTS
ENUMERATORS = [
    ("renumbered", VALUE, 0, color_wide, Fixup(0, 5)),
    ("flavour, wider", VALUE, 1, color_wide, Fixup(7, 1 << 33)),
    ("exists", VALUE_EXISTS, 0, color_wide, Fixup(1, 1)),
    ("gone", VALUE, 0, lambda b: b.enum("color", {"GREEN": 1}), POISON),
    ("exists not", VALUE_EXISTS, 0, lambda b: b.enum("color", {"GREEN": 1}), Fixup(1, 0)),
    ("no enum", VALUE_EXISTS, 0, lambda b: b.struct("color", 0), Fixup(1, 0)),
]


@pytest.mark.parametrize(
    ("kind", "index", "target", "expected"),
    [row[1:] for row in ENUMERATORS],
    ids=[row[0] for row in ENUMERATORS],
)
def test_enumerators(kind: CoreKind, index: int, target: Make, expected: Fixup) -> None:
    assert solve(kind, color, (index,), target) == expected


def test_a_local_type_id_needs_no_kernel() -> None:
    assert solve(CoreKind.TYPE_ID_LOCAL, task_of_two, (0,)) == Fixup(2, 2)


def test_candidates_that_agree_are_one() -> None:
    assert solve(BYTE_OFFSET, task_of_two, (0, 1), task_moved, task_moved, task_without_tgid) == Fixup(4, 12)


def test_candidates_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(RelocationError, match=r"field task\.tgid has several meanings"):
        solve(BYTE_OFFSET, task_of_two, (0, 1), task_moved, task_in_anonymous_union, task_of_two)


@pytest.mark.parametrize(
    ("kind", "access"),
    [(BYTE_OFFSET, (0, 7)), (BYTE_OFFSET, (0, 0, 1)), (VALUE, (0,)), (99, (0,))],
)
def test_relocations_that_contradict_the_object_are_refused(kind: CoreKind, access: tuple[int, ...]) -> None:
    with pytest.raises(MalformedObjectError):
        solve(kind, task_of_two, access, task_moved)


def test_what_is_asked_for_is_said_in_words() -> None:
    b = BtfBuilder()
    task, colors = task_flavoured(b), color(b)
    btf = b.btf()
    assert describe(CoreRelocation(0, task, (0, 0), BYTE_OFFSET), btf) == "field task.tgid"
    assert describe(CoreRelocation(0, colors, (0,), VALUE), btf) == "enumerator RED of color"
    assert describe(CoreRelocation(0, task, (0,), TYPE_SIZE), btf) == "type task"


def code(*instructions: tuple[int, int, int, int]) -> bytearray:
    return bytearray(b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions))


LDX_W, LDX_DW, ST_W, ALU64_MOV, ALU64_MOV_X, ALU_SWAP, EXIT = 0x61, 0x79, 0x62, 0xB7, 0xBF, 0xD4, 0x95

APPLIED = [
    ("a load's offset", (LDX_W, 0x12, 4, 0), Fixup(4, 12), (LDX_W, 0x12, 12, 0)),
    ("a load's width", (LDX_W, 0x12, 4, 0), Fixup(4, 12, 8), (LDX_DW, 0x12, 12, 0)),
    ("a store's offset", (ST_W, 0x01, 4, -5), Fixup(4, 8), (ST_W, 0x01, 8, -5)),
    ("an operand", (ALU64_MOV, 0x01, 0, 4), Fixup(4, 70000), (ALU64_MOV, 0x01, 0, 70000)),
    ("an operand's sign", (ALU64_MOV, 0x01, 0, -1), Fixup(-1, -2), (ALU64_MOV, 0x01, 0, -2)),
    ("an unchecked operand", (ALU64_MOV, 0x01, 0, 99), Fixup(None, 51), (ALU64_MOV, 0x01, 0, 51)),
    ("poison", (LDX_W, 0x12, 4, 0), POISON, (ins.CALL, 0, 0, POISON_HELPER)),
]


@pytest.mark.parametrize(
    ("before", "change", "after"), [row[1:] for row in APPLIED], ids=[row[0] for row in APPLIED]
)
def test_a_fixup_changes_only_its_field(
    before: tuple[int, int, int, int], change: Fixup, after: tuple[int, int, int, int]
) -> None:
    patched = code(before, (EXIT, 0, 0, 0))
    apply_fixup(patched, 0, change)
    assert patched == code(after, (EXIT, 0, 0, 0))


def test_a_64_bit_load_takes_64_bits() -> None:
    patched = code((ins.LD_IMM64, 0x01, 0, -1), (0, 0, 0, 0))
    apply_fixup(patched, 0, Fixup(0xFFFFFFFF, 1 << 40 | 7))
    assert patched == code((ins.LD_IMM64, 0x01, 0, 7), (0, 0, 0, 1 << 8))
    apply_fixup(patched, 0, Fixup(None, -2))
    assert ins.read_immediate64(patched, 0) == (1 << 64) - 2
    apply_fixup(patched, 0, POISON)
    assert patched == code(*[(ins.CALL, 0, 0, POISON_HELPER)] * 2)


@pytest.mark.parametrize(
    ("instruction", "change", "why"),
    [
        ((LDX_W, 0x12, 4, 0), Fixup(8, 12), "where 8 was expected"),
        ((LDX_W, 0x12, 4, 0), Fixup(4, 1 << 15), "can't hold the offset"),
        ((LDX_W, 0x12, 4, 0), Fixup(4, 12, -1), "another width"),
        ((ALU64_MOV, 0x01, 0, 4), Fixup(4, 1 << 32), "can't hold the value"),
        ((ALU64_MOV_X, 0x12, 0, 4), Fixup(4, 5), "can't hold the value"),
        ((ALU_SWAP, 0x01, 0, 16), Fixup(16, 5), "can't hold the value"),
        ((EXIT, 0, 0, 0), Fixup(0, 5), "can't be relocated"),
        ((ins.LD_IMM64, 0, 0, 0), Fixup(0, 5), "cut short"),
    ],
)
def test_an_instruction_that_cannot_hold_its_fixup_is_refused(
    instruction: tuple[int, int, int, int], change: Fixup, why: str
) -> None:
    with pytest.raises(RelocationError, match=why):
        apply_fixup(code(instruction), 0, change)


def test_relocating_code_reports_what_it_poisoned() -> None:
    ours, theirs = BtfBuilder(), BtfBuilder()
    type_id = task_of_two(ours)
    task_without_tgid(theirs)
    program = code((LDX_W, 0x12, 0, 0), (LDX_W, 0x12, 4, 0))
    relocations = [
        CoreRelocation(0, type_id, (0, 0), BYTE_OFFSET),
        CoreRelocation(8, type_id, (0, 1), BYTE_OFFSET),
    ]
    relocated, poisoned = relocate(bytes(program), relocations, ours.btf(), theirs.btf())
    assert relocated == bytes(code((LDX_W, 0x12, 0, 0), (ins.CALL, 0, 0, POISON_HELPER)))
    assert poisoned == {8: "field task.tgid"}


@pytest.mark.parametrize("at", [-8, 4, 16])
def test_a_relocation_outside_of_the_code_is_refused(at: int) -> None:
    builder = BtfBuilder()
    type_id = task_of_two(builder)
    relocation = CoreRelocation(at, type_id, (0, 0), BYTE_OFFSET)
    with pytest.raises(RelocationError, match="no instruction"):
        relocate(bytes(16), [relocation], builder.btf(), builder.btf())
