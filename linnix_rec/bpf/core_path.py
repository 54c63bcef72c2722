"""Follows a CO-RE access path through the object's types by index and the kernel's by name; pure."""

from __future__ import annotations

from dataclasses import dataclass

from linnix_rec.bpf.btf import COMPOSITES, Btf, Kind, Member, Type
from linnix_rec.bpf.core_compat import TypeIn, fields_compatible
from linnix_rec.bpf.errors import MalformedObjectError, RelocationError
from linnix_rec.bpf.spec import CoreRelocation

_DEPTH_MAX = 32
_LOAD_BYTES_MAX = 8


@dataclass(frozen=True)
class Place:
    """A field, counted in bits from the start of the outermost type.

    `last` says that it is the last member of its struct, where an array of 0 elements has no end.
    """

    type: TypeIn
    offset_bits: int = 0
    bitfield_bits: int = 0
    last: bool = False

    @property
    def record(self) -> Type:
        """The field's type without typedefs and modifiers."""
        return self.type.resolved()

    def size_bytes(self) -> int:
        return self.type.btf.size_of(self.type.id)

    def nth(self, index: int) -> Place:
        """The field's neighbour, `index` times its size further on."""
        if not index:
            return self
        return Place(self.type, self.offset_bits + index * self.size_bytes() * 8)


@dataclass(frozen=True)
class Load:
    """How to read a field with one load: where, how many bytes, and how many bits of them are the field."""

    offset_bytes: int
    size_bytes: int
    bits: int


def walk(relocation: CoreRelocation, local: Btf, target: Btf, candidate: int) -> tuple[Place, Place] | None:
    """Where the path ends in the object's type and in the kernel's; None if the kernel's has no such end."""
    first, *steps = relocation.access
    ours, theirs = TypeIn(local, relocation.type), TypeIn(target, candidate)
    if not fields_compatible(ours, theirs):
        return None
    ends: tuple[Place, Place] | None = (Place(ours).nth(first), Place(theirs).nth(first))
    for step in steps:
        if ends is None:
            break
        ends = _step(*ends, step)
    return ends


def named_path(local: Btf, relocation: CoreRelocation) -> list[str]:
    """The names of the members along the path, as far as it can be followed."""
    names = []
    place = Place(TypeIn(local, relocation.type))
    for step in relocation.access[1:]:
        record = place.record
        if record.kind in COMPOSITES and step < len(members := local.members(record.id)):
            names += [members[step].name] if members[step].name else []
            place = Place(TypeIn(local, members[step].type))
        elif record.kind is Kind.ARRAY:
            place = Place(TypeIn(local, local.array(record.id).element))
        else:
            break
    return names


def load_of(place: Place) -> Load:
    """How to read the field: a bitfield in units of its type, widened until they hold it."""
    size = place.size_bytes()
    if not place.bitfield_bits:
        return Load(place.offset_bits // 8, size, size * 8)
    size = max(size, 1)
    end_bits = place.offset_bits + place.bitfield_bits
    while end_bits - (begin := place.offset_bits // 8 // size * size) * 8 > size * 8:
        if size >= _LOAD_BYTES_MAX:
            raise RelocationError(f"a bitfield at bit {place.offset_bits} can't be read with one load")
        size *= 2
    return Load(begin, size, place.bitfield_bits)


def _step(ours: Place, theirs: Place, step: int) -> tuple[Place, Place] | None:
    record = ours.record
    if record.kind is Kind.ARRAY:
        ends = _into_array(ours, theirs, step)
    elif record.kind in COMPOSITES:
        mine = _member_by_index(ours, record, step)
        if mine is None:
            raise MalformedObjectError(f"{record.kind.name.lower()} {record.name} has no member {step}")
        name, member = mine
        if not name:
            return member, theirs  # the kernel's members are found through anonymous ones by name
        other = _member_by_name(theirs, name)
        ends = None if other is None else (member, other)
    else:
        raise MalformedObjectError(f"an access path leads through {record.kind.name.lower()} {record.name}")
    return ends if ends is not None and fields_compatible(ends[0].type, ends[1].type) else None


def _into_array(ours: Place, theirs: Place, step: int) -> tuple[Place, Place] | None:
    if theirs.record.kind is not Kind.ARRAY:
        return None
    mine, other = _element(ours, step), _element(theirs, step)
    if mine is None:
        raise MalformedObjectError(f"an access path leads to element {step} of a shorter array")
    return None if other is None else (mine, other)


def _element(place: Place, step: int) -> Place | None:
    btf = place.type.btf
    array = btf.array(place.record.id)
    if step >= array.count and not (place.last and array.count == 0):
        return None
    return Place(TypeIn(btf, array.element), place.offset_bits).nth(step)


def _member_by_index(place: Place, record: Type, index: int) -> tuple[str, Place] | None:
    members = place.type.btf.members(record.id)
    if index >= len(members):
        return None
    return members[index].name, _placed(place, members[index], last=index == len(members) - 1)


def _member_by_name(place: Place, name: str, depth: int = _DEPTH_MAX) -> Place | None:
    """A member, also of anonymous structs and unions; their depth is bounded against damaged BTF."""
    record = place.record
    if record.kind not in COMPOSITES or depth < 0:
        return None
    members = place.type.btf.members(record.id)
    for member in members:
        if member.name == name:
            return _placed(place, member, last=member is members[-1])
        if not member.name:
            inner = _member_by_name(_placed(place, member, last=False), name, depth - 1)
            if inner is not None:
                return inner
    return None


def _placed(place: Place, member: Member, last: bool) -> Place:
    offset_bits = place.offset_bits + member.offset_bits
    return Place(place.type.other(member.type), offset_bits, member.bitfield_bits, last)
