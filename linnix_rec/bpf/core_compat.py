"""Which types of an object and of a kernel stand for the same thing, by the rules of CO-RE; pure.

The rules are those of libbpf (src/relo_core.c), which kernel and compilers take for granted. Names are
compared without their flavour: `task_struct___old` is `task_struct`.
"""

from __future__ import annotations

from linnix_rec.bpf.btf import COMPOSITES, ENUMS, Btf, Kind, Type

_DEPTH_MAX = 32
_FLAVOUR = "___"


def essential_name(name: str) -> str:
    """`name` without its flavour; a name that is nothing but a flavour stays."""
    essential, separator, flavour = name.rpartition(_FLAVOUR)
    return essential if separator and essential and flavour else name


def same_kind(local: Kind, target: Kind) -> bool:
    """Whether two kinds are one; the two widths of an enum are."""
    return local is target or (local in ENUMS and target in ENUMS)


def fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether a field of type `local_id` may be read where the kernel has `target_id`."""
    for _ in range(_DEPTH_MAX):
        ours, theirs = local.resolve(local_id), target.resolve(target_id)
        if ours.kind in COMPOSITES and theirs.kind in COMPOSITES:
            return True
        if not same_kind(ours.kind, theirs.kind):
            return False
        if ours.kind in (Kind.PTR, Kind.FLOAT):
            return True
        if ours.kind in ENUMS or ours.kind is Kind.FWD:
            return not (ours.name and theirs.name) or essential_name(ours.name) == essential_name(theirs.name)
        if ours.kind is Kind.INT:
            return not (local.integer(ours.id).offset_bits or target.integer(theirs.id).offset_bits)
        if ours.kind is not Kind.ARRAY:
            return False
        local_id, target_id = local.array(ours.id).element, target.array(theirs.id).element
    return False


def types_compatible(local: Btf, local_id: int, target: Btf, target_id: int, depth: int = _DEPTH_MAX) -> bool:
    """Whether two types whose names already agree are of the same make; names further down do not count."""
    ours, theirs = local.resolve(local_id), target.resolve(target_id)
    if depth < 0 or not same_kind(ours.kind, theirs.kind):
        return False
    match ours.kind:
        case Kind.VOID | Kind.STRUCT | Kind.UNION | Kind.ENUM | Kind.ENUM64 | Kind.FWD:
            return True
        case Kind.INT:
            return not (local.integer(ours.id).offset_bits or target.integer(theirs.id).offset_bits)
        case Kind.PTR:
            return types_compatible(local, ours.size_or_type, target, theirs.size_or_type, depth - 1)
        case Kind.ARRAY:
            element, other = local.array(ours.id).element, target.array(theirs.id).element
            return types_compatible(local, element, target, other, depth - 1)
        case Kind.FUNC_PROTO:
            pairs = _signature_pairs(local, ours, target, theirs)
            return pairs is not None and all(types_compatible(local, a, target, b, depth - 1) for a, b in pairs)
    return False


def types_match(
    local: Btf, local_id: int, target: Btf, target_id: int, behind_pointer: bool = False, depth: int = _DEPTH_MAX
) -> bool:
    """Whether the kernel's type has all that the object's has, member by member and by name."""
    ours, theirs = local.resolve(local_id), target.resolve(target_id)
    if depth < 0 or essential_name(ours.name) != essential_name(theirs.name):
        return False
    if not same_kind(ours.kind, theirs.kind):
        return behind_pointer and _forward_of(ours, theirs)
    match ours.kind:
        case Kind.VOID:
            return True
        case Kind.FWD:
            return ours.flag == theirs.flag
        case Kind.ENUM | Kind.ENUM64:
            return _enums_match(local, ours, target, theirs)
        case Kind.STRUCT | Kind.UNION:
            return behind_pointer or _members_match(local, ours, target, theirs, depth)
        case Kind.INT:
            same_sign = local.integer(ours.id).signed == target.integer(theirs.id).signed
            return ours.size_or_type == theirs.size_or_type and same_sign
        case Kind.PTR:
            return types_match(local, ours.size_or_type, target, theirs.size_or_type, True, depth - 1)
        case Kind.ARRAY:
            array, other = local.array(ours.id), target.array(theirs.id)
            return array.count == other.count and types_match(
                local, array.element, target, other.element, behind_pointer, depth - 1
            )
        case Kind.FUNC_PROTO:
            pairs = _signature_pairs(local, ours, target, theirs)
            return pairs is not None and all(types_match(local, a, target, b, False, depth - 1) for a, b in pairs)
    return False


def _forward_of(ours: Type, theirs: Type) -> bool:
    kinds = {ours.kind: ours, theirs.kind: theirs}
    forward = kinds.get(Kind.FWD)
    return forward is not None and (Kind.UNION if forward.flag else Kind.STRUCT) in kinds


def _enums_match(local: Btf, ours: Type, target: Btf, theirs: Type) -> bool:
    names = {essential_name(name) for name, _ in target.enumerators(theirs.id)}
    return ours.size_or_type == theirs.size_or_type and all(
        essential_name(name) in names for name, _ in local.enumerators(ours.id)
    )


def _members_match(local: Btf, ours: Type, target: Btf, theirs: Type, depth: int) -> bool:
    members = {member.name: member for member in target.members(theirs.id)}
    return all(
        member.name in members
        and types_match(local, member.type, target, members[member.name].type, False, depth - 1)
        for member in local.members(ours.id)
    )


def _signature_pairs(local: Btf, ours: Type, target: Btf, theirs: Type) -> list[tuple[int, int]] | None:
    parameters, others = local.parameters(ours.id), target.parameters(theirs.id)
    if len(parameters) != len(others):
        return None
    return [
        (ours.size_or_type, theirs.size_or_type),
        *((a.type, b.type) for a, b in zip(parameters, others, strict=True)),
    ]
