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
from linnix_rec.bpf.btf import COMPOSITES, ENUMS, Btf, Kind, Type
from linnix_rec.bpf.core_compat import essential_name, fields_compatible, same_kind, types_compatible, types_match
from linnix_rec.bpf.errors import MalformedObjectError, RelocationError
from linnix_rec.bpf.spec import CoreRelocation

POISON_HELPER = 0xBAD2310  # the helper number that libbpf and the kernel use for poisoned instructions
_LOAD_BYTES_MAX = 8
_DEPTH_MAX = 32


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


_FIELD_KINDS = frozenset(k for k in CoreKind if k <= CoreKind.FIELD_RSHIFT_U64)
_ENUM_KINDS = frozenset({CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE})
_EXISTENCE_KINDS = frozenset(
    {CoreKind.FIELD_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.ENUMVAL_EXISTS, CoreKind.TYPE_MATCHES}
)


@dataclass(frozen=True)
class Fixup:
    """The value that the compiler wrote (`None`: not to be checked) and the one that is right here.

    `target` None is poison. `access_bytes` is the width that a load or store must take, 0 if it may stay;
    a negative one means that no width would be right.
    """

    local: int | None
    target: int | None
    access_bytes: int = 0


@dataclass(frozen=True)
class Field:
    """Where an access path ends: bits from the start of the outermost type."""

    type: int
    offset_bits: int
    bitfield_bits: int = 0


def describe(relocation: CoreRelocation, local: Btf) -> str:
    """What a relocation asks for, in C's words: `field task_struct.comm`."""
    kind = _kind(relocation)
    name = local.type(relocation.type).name or "(anonymous)"
    if kind in _FIELD_KINDS:
        return f"field {'.'.join([name, *_named_path(local, relocation)])}"
    if kind in _ENUM_KINDS:
        return f"enumerator {_enumerator(local, relocation)[0]} of {name}"
    return f"type {name}"


def fixup(relocation: CoreRelocation, local: Btf, target: Btf) -> Fixup:
    """The fix-up of one relocation. Raises RelocationError if candidates contradict each other."""
    kind = _kind(relocation)
    if kind is CoreKind.TYPE_ID_LOCAL:
        return Fixup(relocation.type, relocation.type)
    record = local.type(relocation.type)
    if not record.name:
        raise RelocationError(f"can't relocate against type {record.id} of the object: it has no name")
    found = {
        candidate_fixup
        for candidate in target.find(essential_name(record.name))
        if same_kind(record.kind, target.type(candidate).kind)
        if (candidate_fixup := _fixup_against(relocation, kind, local, target, candidate)) is not None
    }
    if len(found) > 1:
        raise RelocationError(f"{describe(relocation, local)} has several meanings in {target.origin}")
    if found:
        return found.pop()
    return Fixup(1, 0) if kind in _EXISTENCE_KINDS else Fixup(None, None)


def apply_fixup(code: bytearray, at: int, change: Fixup) -> None:
    """Write a fix-up into the instruction at byte `at`; raises RelocationError if it can't hold it."""
    instruction = ins.read_at(code, at)
    wide = instruction.opcode == ins.LD_IMM64
    if wide and at + 2 * ins.INSTRUCTION_BYTES > len(code):
        raise RelocationError(f"the 64-bit load at byte {at} is cut short")
    if change.target is None:
        for place in (at, at + ins.INSTRUCTION_BYTES) if wide else (at,):
            ins.write_at(code, place, ins.Instruction(ins.CALL, 0, 0, POISON_HELPER))
        return
    if wide:
        written = instruction.immediate & 0xFFFFFFFF
        written |= (ins.read_at(code, at + ins.INSTRUCTION_BYTES).immediate & 0xFFFFFFFF) << 32
        _require_written(change, written, at, mask=(1 << 64) - 1)
        ins.write_immediate64(code, at, change.target & (1 << 64) - 1)
    elif instruction.operation_class in (ins.CLASS_ALU, ins.CLASS_ALU64):
        if instruction.opcode & ins.SOURCE_REGISTER or instruction.opcode & ins.ALU_OPERATION == ins.ALU_SWAP:
            raise RelocationError(f"the instruction at byte {at} has no immediate to relocate")
        _require_written(change, instruction.immediate, at, mask=0xFFFFFFFF)
        if not -(1 << 31) <= change.target < 1 << 32:
            raise RelocationError(f"{change.target} does not fit the instruction at byte {at}")
        ins.write_at(code, at, instruction._replace(immediate=change.target))
    elif instruction.operation_class in (ins.CLASS_LDX, ins.CLASS_ST, ins.CLASS_STX):
        ins.write_at(code, at, _relocated_access(instruction, change, change.target, at))
    else:
        raise RelocationError(f"the instruction at byte {at} (opcode {instruction.opcode:#x}) can't be relocated")


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
        raise RelocationError(f"CO-RE relocations of kind {relocation.kind} are not supported") from None


def _relocated_access(instruction: ins.Instruction, change: Fixup, offset: int, at: int) -> ins.Instruction:
    _require_written(change, instruction.offset, at, mask=0xFFFF)
    if not 0 <= offset < 1 << 15:
        raise RelocationError(f"offset {offset} does not fit the instruction at byte {at}")
    opcode = instruction.opcode
    if change.access_bytes:
        sizes = {size: code for code, size in ins.ACCESS_BYTES.items()}
        if change.access_bytes not in sizes:
            raise RelocationError(f"the field read at byte {at} has a width of its own on this kernel")
        opcode = opcode & ~ins.ACCESS_SIZE | sizes[change.access_bytes]
    return instruction._replace(opcode=opcode, offset=offset)


def _require_written(change: Fixup, written: int, at: int, mask: int) -> None:
    if change.local is not None and (written ^ change.local) & mask:
        raise RelocationError(f"the instruction at byte {at} holds {written}, where {change.local} was expected")


def _fixup_against(
    relocation: CoreRelocation, kind: CoreKind, local: Btf, target: Btf, candidate: int
) -> Fixup | None:
    """The fix-up if `candidate` is what is meant; None if it is something else of that name."""
    if kind in _FIELD_KINDS:
        ends = _walk(relocation, local, target, candidate)
        return None if ends is None else _field_fixup(kind, local, ends[0], target, ends[1])
    if kind in _ENUM_KINDS:
        return _enum_fixup(relocation, kind, local, target, candidate)
    if kind is CoreKind.TYPE_MATCHES:
        return Fixup(1, 1) if types_match(local, relocation.type, target, candidate) else None
    if not types_compatible(local, relocation.type, target, candidate):
        return None
    if kind is CoreKind.TYPE_EXISTS:
        return Fixup(1, 1)
    if kind is CoreKind.TYPE_ID_TARGET:
        return Fixup(relocation.type, candidate)
    return Fixup(local.size_of(relocation.type), target.size_of(candidate))


def _enum_fixup(relocation: CoreRelocation, kind: CoreKind, local: Btf, target: Btf, candidate: int) -> Fixup | None:
    theirs = target.resolve(candidate)
    if theirs.kind not in ENUMS:
        return None
    name, value = _enumerator(local, relocation)
    for other, other_value in target.enumerators(theirs.id):
        if essential_name(other) == essential_name(name):
            return Fixup(1, 1) if kind is CoreKind.ENUMVAL_EXISTS else Fixup(value, other_value)
    return None


def _enumerator(local: Btf, relocation: CoreRelocation) -> tuple[str, int]:
    enumerators = local.enumerators(local.resolve(relocation.type).id)
    if len(relocation.access) != 1 or relocation.access[0] >= len(enumerators):
        raise MalformedObjectError(f"access path {relocation.access} leads to no enumerator")
    return enumerators[relocation.access[0]]


def _walk(relocation: CoreRelocation, local: Btf, target: Btf, candidate: int) -> tuple[Field, Field] | None:
    """Follow the path by index in the object's type and by name in the kernel's; None where they part."""
    if not fields_compatible(local, relocation.type, target, candidate):
        return None
    ours = _nth(local, Field(relocation.type, 0), relocation.access[0])
    theirs = _nth(target, Field(candidate, 0), relocation.access[0])
    flexible = theirs_flexible = False
    for step in relocation.access[1:]:
        record = local.resolve(ours.type)
        if record.kind in COMPOSITES:
            members = local.members(record.id)
            if step >= len(members):
                raise MalformedObjectError(f"{describe_type(record)} has no member {step}")
            member = members[step]
            ours = Field(member.type, ours.offset_bits + member.offset_bits, member.bitfield_bits)
            flexible = step == len(members) - 1
            if not member.name:
                continue  # the kernel's members are found through anonymous ones by their names
            found = _member(target, theirs, member.name)
            if found is None:
                return None
            theirs, theirs_flexible = found
        elif record.kind is Kind.ARRAY:
            ends = _array_step(local, record, ours, flexible, target, theirs, theirs_flexible, step)
            if ends is None:
                return None
            ours, theirs = ends
            flexible = theirs_flexible = False
        else:
            raise MalformedObjectError(f"access path {relocation.access} goes through {describe_type(record)}")
        if not fields_compatible(local, ours.type, target, theirs.type):
            return None
    return ours, theirs


def _array_step(
    local: Btf, record: Type, ours: Field, flexible: bool, target: Btf, theirs: Field, theirs_flexible: bool, step: int
) -> tuple[Field, Field] | None:
    array = local.array(record.id)
    other_record = target.resolve(theirs.type)
    if other_record.kind is not Kind.ARRAY:
        return None
    other = target.array(other_record.id)
    if step >= array.count and not (flexible and array.count == 0):
        raise MalformedObjectError(f"an array of {array.count} has no element {step}")
    if step >= other.count and not (theirs_flexible and other.count == 0):
        return None
    return (
        _nth(local, Field(array.element, ours.offset_bits), step),
        _nth(target, Field(other.element, theirs.offset_bits), step),
    )


def _nth(btf: Btf, field: Field, index: int) -> Field:
    if not index:
        return field
    return Field(field.type, field.offset_bits + index * btf.size_of(field.type) * 8)


def _member(btf: Btf, field: Field, name: str, depth: int = _DEPTH_MAX) -> tuple[Field, bool] | None:
    """A member by name, through anonymous structs and unions, and whether it is the last of its struct."""
    record = btf.resolve(field.type)
    if record.kind not in COMPOSITES or depth < 0:
        return None
    members = btf.members(record.id)
    for index, member in enumerate(members):
        inner = Field(member.type, field.offset_bits + member.offset_bits, member.bitfield_bits)
        if member.name == name:
            return inner, index == len(members) - 1
        if not member.name and (found := _member(btf, inner, name, depth - 1)) is not None:
            return found
    return None


def _field_fixup(kind: CoreKind, local: Btf, ours: Field, target: Btf, theirs: Field) -> Fixup:
    if kind is CoreKind.FIELD_EXISTS:
        return Fixup(1, 1)
    mine, other = _field_value(kind, local, ours), _field_value(kind, target, theirs)
    if kind in (CoreKind.FIELD_LSHIFT_U64, CoreKind.FIELD_RSHIFT_U64) or ours.bitfield_bits:
        return Fixup(None, other)  # compilers put no value there that could be checked
    if kind is not CoreKind.FIELD_BYTE_OFFSET or theirs.bitfield_bits:
        return Fixup(mine, other)
    return Fixup(mine, other, _access_bytes(local, ours, target, theirs))


def _field_value(kind: CoreKind, btf: Btf, field: Field) -> int:
    byte_offset, byte_size, bits = _load(btf, field)
    if kind is CoreKind.FIELD_BYTE_OFFSET:
        return byte_offset
    if kind is CoreKind.FIELD_BYTE_SIZE:
        return byte_size
    if kind is CoreKind.FIELD_LSHIFT_U64:
        return 64 - (field.offset_bits + bits - byte_offset * 8)
    if kind is CoreKind.FIELD_RSHIFT_U64:
        return 64 - bits
    record = btf.resolve(field.type)
    if record.kind is Kind.INT:
        return int(btf.integer(record.id).signed)
    return int(record.kind in ENUMS and record.flag)


def _load(btf: Btf, field: Field) -> tuple[int, int, int]:
    """Where to load a field from, how many bytes, and how many bits of them it is.

    A bitfield is loaded in units of its type, widened until they hold it.
    """
    byte_size = btf.size_of(field.type)
    if not field.bitfield_bits:
        return field.offset_bits // 8, byte_size, byte_size * 8
    byte_size = max(byte_size, 1)
    byte_offset = field.offset_bits // 8 // byte_size * byte_size
    while field.offset_bits + field.bitfield_bits - byte_offset * 8 > byte_size * 8:
        if byte_size >= _LOAD_BYTES_MAX:
            raise RelocationError(f"a bitfield at bit {field.offset_bits} can't be read with one load")
        byte_size *= 2
        byte_offset = field.offset_bits // 8 // byte_size * byte_size
    return byte_offset, byte_size, field.bitfield_bits


def _access_bytes(local: Btf, ours: Field, target: Btf, theirs: Field) -> int:
    """The width of a load if the field's differs: right only where zero-extending is (libbpf's rule)."""
    mine, other = local.size_of(ours.type), target.size_of(theirs.type)
    if mine == other:
        return 0
    record, other_record = local.resolve(ours.type), target.resolve(theirs.type)
    if record.kind is Kind.PTR and other_record.kind is Kind.PTR:
        return other
    if record.kind is Kind.INT and other_record.kind is Kind.INT:
        if not local.integer(record.id).signed and not target.integer(other_record.id).signed:
            return other
    return -1


def describe_type(record: Type) -> str:
    """A type for a message."""
    return f"{record.kind.name.lower()} {record.name or record.id}"


def _named_path(local: Btf, relocation: CoreRelocation) -> list[str]:
    names = []
    type_id = relocation.type
    for step in relocation.access[1:]:
        record = local.resolve(type_id)
        if record.kind in COMPOSITES and step < len(members := local.members(record.id)):
            names.extend([members[step].name] if members[step].name else [])
            type_id = members[step].type
        elif record.kind is Kind.ARRAY:
            type_id = local.array(record.id).element
        else:
            break
    return names
