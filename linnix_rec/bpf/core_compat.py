"""Which types of an object and of a kernel stand for the same thing, by the rules of CO-RE; pure.

The rules are those of libbpf (src/relo_core.c), which kernel and compilers take for granted. Names are
compared without their flavour: `task_struct___old` is `task_struct`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from linnix_rec.bpf.btf import COMPOSITES, ENUMS, Btf, Kind, Type

_DEPTH_MAX = 32
_FLAVOURED = re.compile(r"(.*[^_])___[^_].*", re.DOTALL)
_NAMES_IGNORED = frozenset({Kind.VOID, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FWD})


class TypeIn(NamedTuple):
    """A type and the BTF that its id belongs to."""

    btf: Btf
    id: int

    def resolved(self) -> Type:
        return self.btf.resolve(self.id)

    def other(self, type_id: int) -> TypeIn:
        """Another type of the same BTF."""
        return TypeIn(self.btf, type_id)


_Compare = Callable[[TypeIn, TypeIn], bool]


def essential_name(name: str) -> str:
    """`name` without its flavour (`___` between two characters that are no underscores, and what follows)."""
    flavoured = _FLAVOURED.fullmatch(name)
    return flavoured[1] if flavoured else name


def same_kind(local: Kind, target: Kind) -> bool:
    """Whether two kinds are one; the two widths of an enum are."""
    return local is target or (local in ENUMS and target in ENUMS)


def fields_compatible(local: TypeIn, target: TypeIn) -> bool:
    """Whether a field of type `local` may be read where the kernel has one of type `target`."""
    for _ in range(_DEPTH_MAX):
        ours, theirs = local.resolved(), target.resolved()
        if ours.kind in COMPOSITES and theirs.kind in COMPOSITES:
            return True
        if not same_kind(ours.kind, theirs.kind):
            return False
        if ours.kind is not Kind.ARRAY:
            return _scalars_compatible(local.btf, ours, target.btf, theirs)
        local, target = _elements(local, ours, target, theirs)
    return False


def types_compatible(local: TypeIn, target: TypeIn, depth: int = _DEPTH_MAX) -> bool:
    """Whether two types whose names already agree are of the same make; names further down do not count."""
    ours, theirs = local.resolved(), target.resolved()
    if depth < 0 or not same_kind(ours.kind, theirs.kind):
        return False
    if ours.kind in _NAMES_IGNORED:
        return True
    if ours.kind is Kind.INT:
        return _scalars_compatible(local.btf, ours, target.btf, theirs)

    def deeper(a: TypeIn, b: TypeIn) -> bool:
        return types_compatible(a, b, depth - 1)

    if ours.kind is Kind.PTR:
        return deeper(local.other(ours.size_or_type), target.other(theirs.size_or_type))
    if ours.kind is Kind.ARRAY:
        return deeper(*_elements(local, ours, target, theirs))
    return ours.kind is Kind.FUNC_PROTO and _signatures(local, ours, target, theirs, deeper)


def types_match(local: TypeIn, target: TypeIn, behind_pointer: bool = False, depth: int = _DEPTH_MAX) -> bool:
    """Whether the kernel's type has all that the object's has, member by member and by name."""
    ours, theirs = local.resolved(), target.resolved()
    if depth < 0 or essential_name(ours.name) != essential_name(theirs.name):
        return False
    if not same_kind(ours.kind, theirs.kind):
        return behind_pointer and (_is_forward_of(ours, theirs) or _is_forward_of(theirs, ours))

    def deeper(a: TypeIn, b: TypeIn) -> bool:
        return types_match(a, b, behind_pointer, depth - 1)

    if ours.kind in COMPOSITES:
        return behind_pointer or _members_match(local, ours, target, theirs, depth)
    if ours.kind is Kind.PTR:
        return types_match(local.other(ours.size_or_type), target.other(theirs.size_or_type), True, depth - 1)
    if ours.kind is Kind.ARRAY:
        same_count = local.btf.array(ours.id).count == target.btf.array(theirs.id).count
        return same_count and deeper(*_elements(local, ours, target, theirs))
    if ours.kind is Kind.FUNC_PROTO:
        return _signatures(local, ours, target, theirs, deeper)
    return _scalars_match(local.btf, ours, target.btf, theirs)


def _scalars_compatible(local: Btf, ours: Type, target: Btf, theirs: Type) -> bool:
    if ours.kind in (Kind.PTR, Kind.FLOAT):
        return True
    if ours.kind is Kind.INT:
        return not (local.integer(ours.id).offset_bits or target.integer(theirs.id).offset_bits)
    if ours.kind in ENUMS or ours.kind is Kind.FWD:
        anonymous = not (ours.name and theirs.name)
        return anonymous or essential_name(ours.name) == essential_name(theirs.name)
    return False


def _scalars_match(local: Btf, ours: Type, target: Btf, theirs: Type) -> bool:
    if ours.kind is Kind.INT:
        same_sign = local.integer(ours.id).signed == target.integer(theirs.id).signed
        return same_sign and ours.size_or_type == theirs.size_or_type
    if ours.kind in ENUMS:
        names = {essential_name(name) for name, _ in target.enumerators(theirs.id)}
        mine = {essential_name(name) for name, _ in local.enumerators(ours.id)}
        return mine <= names and ours.size_or_type == theirs.size_or_type
    return ours.kind is Kind.VOID or (ours.kind is Kind.FWD and ours.flag == theirs.flag)


def _is_forward_of(forward: Type, whole: Type) -> bool:
    """A forward declaration's flag says that it stands for a union."""
    return forward.kind is Kind.FWD and whole.kind is (Kind.UNION if forward.flag else Kind.STRUCT)


def _members_match(local: TypeIn, ours: Type, target: TypeIn, theirs: Type, depth: int) -> bool:
    members = {member.name: member for member in target.btf.members(theirs.id)}
    return all(
        member.name in members
        and types_match(local.other(member.type), target.other(members[member.name].type), depth=depth - 1)
        for member in local.btf.members(ours.id)
    )


def _signatures(local: TypeIn, ours: Type, target: TypeIn, theirs: Type, same: _Compare) -> bool:
    parameters, others = local.btf.parameters(ours.id), target.btf.parameters(theirs.id)
    return (
        len(parameters) == len(others)
        and same(local.other(ours.size_or_type), target.other(theirs.size_or_type))
        and all(
            same(local.other(a.type), target.other(b.type)) for a, b in zip(parameters, others, strict=True)
        )
    )


def _elements(local: TypeIn, ours: Type, target: TypeIn, theirs: Type) -> tuple[TypeIn, TypeIn]:
    return (
        local.other(local.btf.array(ours.id).element),
        target.other(target.btf.array(theirs.id).element),
    )
