"""CO-RE: what an instruction that depends on a kernel type must say on this kernel; pure.

`fixup` maps (object's type, access path, kind; kernel's types) to the value to write. Where the kernel
lacks what is asked for, the fix-up is poison: the instruction becomes a call of a helper that does not
exist, so that the verifier refuses it if, and only if, it can be reached.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from linnix_rec.bpf import instruction as ins
from linnix_rec.bpf.btf import ENUMS, Btf, Kind
from linnix_rec.bpf.core_compat import TypeIn, essential_name, same_kind, types_compatible, types_match
from linnix_rec.bpf.core_path import Place, load_of, named_path, walk
from linnix_rec.bpf.errors import MalformedObjectError, RelocationError
from linnix_rec.bpf.spec import CoreRelocation

POISON_HELPER = 0xBAD2310  # the helper number that libbpf and the kernel use for poisoned instructions
_POISON = ins.Instruction(ins.CALL, 0, 0, POISON_HELPER)


class CoreKind(enum.IntEnum):
    """`enum bpf_core_relo_kind` of include/uapi/linux/bpf.h."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


_FIELD_KINDS = frozenset(kind for kind in CoreKind if kind <= CoreKind.FIELD_RSHIFT_U64)
_SHIFT_KINDS = frozenset({CoreKind.FIELD_LSHIFT_U64, CoreKind.FIELD_RSHIFT_U64})
_ENUM_KINDS = frozenset({CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE})
_EXISTENCE_KINDS = frozenset(
    {CoreKind.FIELD_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.ENUMVAL_EXISTS, CoreKind.TYPE_MATCHES}
)


@dataclass(frozen=True)
class Fixup:
    """The value that the compiler wrote (None: not to be checked) and the one that is right here.

    `target` None is poison. `access_bytes` is the width that a load or store must take; 0 if it may stay,
    -1 if no width would be right.
    """

    local: int | None
    target: int | None
    access_bytes: int = 0


_EXISTS = Fixup(1, 1)


def describe(relocation: CoreRelocation, local: Btf) -> str:
    """What a relocation asks for, in C's words: `field task_struct.comm`."""
    kind = _kind(relocation)
    name = essential_name(local.type(relocation.type).name) or "(anonymous)"
    if kind in _FIELD_KINDS:
        return f"field {'.'.join([name, *named_path(local, relocation)])}"
    if kind in _ENUM_KINDS:
        return f"enumerator {_enumerator(relocation, local)[0]} of {name}"
    return f"type {name}"


def fixup(relocation: CoreRelocation, local: Btf, target: Btf) -> Fixup:
    """The fix-up of one relocation.

    Raises RelocationError if the kernel's types of that name contradict each other, and
    MalformedObjectError if the relocation contradicts the object's own types.
    """
    kind = _kind(relocation)
    if kind is CoreKind.TYPE_ID_LOCAL:
        return Fixup(relocation.type, relocation.type)
    record = local.type(relocation.type)
    if not record.name:
        raise MalformedObjectError(f"can't relocate against type {record.id} of the object: it has no name")
    candidates = (
        candidate
        for candidate in target.find(essential_name(record.name))
        if same_kind(record.kind, target.type(candidate).kind)
    )
    fixups = {_fixup_against(candidate, relocation, local, target) for candidate in candidates} - {None}
    if len(fixups) > 1:
        raise RelocationError(f"{describe(relocation, local)} has several meanings in {target.origin}")
    if fixups:
        (found,) = fixups
        assert found is not None
        return found
    return Fixup(1, 0) if kind in _EXISTENCE_KINDS else Fixup(None, None)


def apply_fixup(code: bytearray, at: int, change: Fixup) -> None:
    """Write a fix-up into the instruction at byte `at`; raises RelocationError if it can't hold it."""
    instruction = ins.read_at(code, at)
    wide = instruction.opcode == ins.LD_IMM64
    if wide and at + 2 * ins.INSTRUCTION_BYTES > len(code):
        raise RelocationError(f"the 64-bit load at byte {at} is cut short")
    if change.target is None:
        for place in (at, at + ins.INSTRUCTION_BYTES) if wide else (at,):
            ins.write_at(code, place, _POISON)
    elif wide:
        _require_written(change, ins.read_immediate64(code, at), at, bits=64)
        ins.write_immediate64(code, at, change.target)
    elif instruction.operation_class in (ins.CLASS_ALU, ins.CLASS_ALU64):
        ins.write_at(code, at, _relocated_operand(instruction, change, change.target, at))
    elif instruction.operation_class in (ins.CLASS_LDX, ins.CLASS_ST, ins.CLASS_STX):
        ins.write_at(code, at, _relocated_access(instruction, change, change.target, at))
    else:
        raise RelocationError(
            f"the instruction at byte {at} (opcode {instruction.opcode:#x}) can't be relocated"
        )


def relocate(
    code: bytes, relocations: Iterable[CoreRelocation], local: Btf, target: Btf
) -> tuple[bytes, dict[int, str]]:
    """`code` as it must be for the kernel whose types are `target`, and what was poisoned, by byte."""
    relocated = bytearray(code)
    known: dict[CoreRelocation, Fixup] = {}
    poisoned = {}
    for relocation in relocations:
        if relocation.at % ins.INSTRUCTION_BYTES or not 0 <= relocation.at < len(code):
            raise RelocationError(f"there is no instruction at byte {relocation.at}")
        question = replace(relocation, at=0)
        if question not in known:
            known[question] = fixup(relocation, local, target)
        apply_fixup(relocated, relocation.at, known[question])
        if known[question].target is None:
            poisoned[relocation.at] = describe(relocation, local)
    return bytes(relocated), poisoned


def _kind(relocation: CoreRelocation) -> CoreKind:
    try:
        return CoreKind(relocation.kind)
    except ValueError:
        raise MalformedObjectError(f"CO-RE relocations of kind {relocation.kind} are not supported") from None


def _relocated_operand(instruction: ins.Instruction, change: Fixup, value: int, at: int) -> ins.Instruction:
    if (
        instruction.opcode & ins.SOURCE_REGISTER
        or instruction.opcode & ins.ALU_OPERATION == ins.ALU_SWAP
        or not -(1 << 31) <= value < 1 << 32
    ):
        raise RelocationError(f"the instruction at byte {at} can't hold the value {value}")
    _require_written(change, instruction.immediate, at, bits=32)
    return instruction._replace(immediate=value)


def _relocated_access(instruction: ins.Instruction, change: Fixup, offset: int, at: int) -> ins.Instruction:
    _require_written(change, instruction.offset, at, bits=16)
    if not 0 <= offset < 1 << 15:
        raise RelocationError(f"the instruction at byte {at} can't hold the offset {offset}")
    if not change.access_bytes:
        return instruction._replace(offset=offset)
    size = ins.ACCESS_SIZE_CODES.get(change.access_bytes)
    if size is None:
        raise RelocationError(f"the field at byte {at} has another width in this kernel, and a sign")
    return instruction._replace(opcode=instruction.opcode & ~ins.ACCESS_SIZE | size, offset=offset)


def _require_written(change: Fixup, written: int, at: int, bits: int) -> None:
    if change.local is not None and (written ^ change.local) & ((1 << bits) - 1):
        raise RelocationError(
            f"the instruction at byte {at} holds {written}, where {change.local} was expected"
        )


def _fixup_against(candidate: int, relocation: CoreRelocation, local: Btf, target: Btf) -> Fixup | None:
    """The fix-up if `candidate` is what is meant; None if it is something else of that name."""
    kind = _kind(relocation)
    if kind in _FIELD_KINDS:
        ends = walk(relocation, local, target, candidate)
        return None if ends is None else _field_fixup(kind, *ends)
    if kind in _ENUM_KINDS:
        return _enum_fixup(candidate, relocation, local, target)
    ours, theirs = TypeIn(local, relocation.type), TypeIn(target, candidate)
    if not (types_match if kind is CoreKind.TYPE_MATCHES else types_compatible)(ours, theirs):
        return None
    if kind is CoreKind.TYPE_ID_TARGET:
        return Fixup(relocation.type, candidate)
    if kind is CoreKind.TYPE_SIZE:
        return Fixup(local.size_of(ours.id), target.size_of(theirs.id))
    return _EXISTS


def _enum_fixup(candidate: int, relocation: CoreRelocation, local: Btf, target: Btf) -> Fixup | None:
    name, value = _enumerator(relocation, local)
    theirs = target.resolve(candidate)
    if theirs.kind not in ENUMS:
        return None
    for other, other_value in target.enumerators(theirs.id):
        if essential_name(other) == essential_name(name):
            return _EXISTS if relocation.kind == CoreKind.ENUMVAL_EXISTS else Fixup(value, other_value)
    return None


def _enumerator(relocation: CoreRelocation, local: Btf) -> tuple[str, int]:
    enumerators = local.enumerators(local.resolve(relocation.type).id)
    if len(relocation.access) != 1 or relocation.access[0] >= len(enumerators):
        raise MalformedObjectError(f"access path {relocation.access} leads to no enumerator")
    return enumerators[relocation.access[0]]


def _field_fixup(kind: CoreKind, ours: Place, theirs: Place) -> Fixup:
    if kind is CoreKind.FIELD_EXISTS:
        return _EXISTS
    value = _field_value(kind, theirs)
    if kind in _SHIFT_KINDS or ours.bitfield_bits:
        return Fixup(None, value)  # what compilers write there is not defined
    if kind is not CoreKind.FIELD_BYTE_OFFSET or theirs.bitfield_bits:
        return Fixup(_field_value(kind, ours), value)
    return Fixup(_field_value(kind, ours), value, _access_bytes(ours, theirs))


def _field_value(kind: CoreKind, place: Place) -> int:
    if kind is CoreKind.FIELD_SIGNED:
        record = place.record
        if record.kind is Kind.INT:
            return int(place.type.btf.integer(record.id).signed)
        return int(record.kind in ENUMS and record.flag)
    load = load_of(place)
    if kind is CoreKind.FIELD_BYTE_OFFSET:
        return load.offset_bytes
    if kind is CoreKind.FIELD_BYTE_SIZE:
        return load.size_bytes
    if kind is CoreKind.FIELD_LSHIFT_U64:
        return 64 - (place.offset_bits + load.bits - load.offset_bytes * 8)
    return 64 - load.bits


def _access_bytes(ours: Place, theirs: Place) -> int:
    """The width to load with where the field's differs: right only if its upper bits are zeros then."""
    if ours.size_bytes() == theirs.size_bytes():
        return 0
    return theirs.size_bytes() if _zero_extends(ours) and _zero_extends(theirs) else -1


def _zero_extends(place: Place) -> bool:
    record = place.record
    if record.kind is Kind.PTR:
        return True
    return record.kind is Kind.INT and not place.type.btf.integer(record.id).signed
