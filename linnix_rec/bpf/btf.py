"""Reads BTF (the kernel's type format) lazily and finds types by name; knows no program and no kernel.

A vmlinux BTF has some 100,000 types. Only their positions, kinds and name offsets are tabulated, as
numpy columns; a type becomes an object when somebody asks for it. Layout as in
Documentation/bpf/btf.rst; little-endian only. Whatever the bytes are, reading them raises nothing but
`MalformedObjectError`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnix_rec.bpf.errors import MalformedObjectError

VMLINUX_PATH = Path("/sys/kernel/btf/vmlinux")
MAGIC = 0xEB9F
VOID = 0
_HEADER = struct.Struct("<HBBIIIII")
_RECORD_WORDS = 3
_NAME_BYTES_MAX = 1 << 10  # the kernel takes names of 511 (KSYM_NAME_LEN)
_RESOLVE_DEPTH_MAX = 32  # MAX_RESOLVE_DEPTH of kernel/bpf/btf.c


class Kind(enum.IntEnum):
    """`BTF_KIND_*` of include/uapi/linux/btf.h."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


COMPOSITES = frozenset({Kind.STRUCT, Kind.UNION})
ENUMS = frozenset({Kind.ENUM, Kind.ENUM64})
MODIFIERS = frozenset({Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_SIZED = frozenset({Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.DATASEC, Kind.FLOAT, Kind.ENUM64})

# Words that follow a record's three: a fixed number, and a number for each of its `vlen` elements.
_EXTRA_WORDS = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_ELEMENT_WORDS = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
    Kind.ENUM64: 3,
}
# By the top byte of a record's second word: the kind, and in bit 7 the kind flag.
_UNKNOWN_STEP = 1 << 30
_fixed_words = np.full(256, _UNKNOWN_STEP, np.int32)
_element_words = np.zeros(256, np.int32)
for _kind in Kind:
    if _kind is not Kind.VOID:
        for _flagged in (_kind, _kind | 0x80):
            _fixed_words[_flagged] = _RECORD_WORDS + _EXTRA_WORDS.get(_kind, 0)
            _element_words[_flagged] = _ELEMENT_WORDS.get(_kind, 0)


class Type(NamedTuple):
    """One type record's head; `size_or_type` is a size in bytes or a type id, as the kind says."""

    id: int
    kind: Kind
    name: str
    elements: int
    flag: bool
    size_or_type: int


class Member(NamedTuple):
    """A member of a struct or union; `bitfield_bits` is 0 for what is no bitfield."""

    name: str
    type: int
    offset_bits: int
    bitfield_bits: int


@dataclass(frozen=True)
class Array:
    """An array's element type and how many of them."""

    element: int
    count: int


class Variable(NamedTuple):
    """A variable of a DATASEC: `type` is the id of its VAR; offset and size in bytes."""

    name: str
    type: int
    offset: int
    size: int


class Integer(NamedTuple):
    """How an INT is to be read."""

    signed: bool
    char: bool
    bool: bool
    bits: int
    offset_bits: int


class Parameter(NamedTuple):
    """A parameter of a FUNC_PROTO; a last one of name "" and type 0 stands for `...`."""

    name: str
    type: int


class Btf:
    """The types of one object or kernel, by id and by name; never changes.

    Id 0 is `void`. Raises MalformedObjectError for bytes that are no BTF, here or on a later access.
    """

    def __init__(self, content: bytes, origin: str = "BTF") -> None:
        self.content = content
        self.origin = origin
        self._words, self._strings = _sections(content, origin)
        self._starts = _record_starts(self._words, origin)
        self._name_offsets = self._words[self._starts]
        self._found: dict[str, tuple[int, ...]] = {}  # searches cost a millisecond each in a vmlinux
        self._kinds = ((self._words[self._starts + 1] >> 24) & 0x1F).astype(np.uint8)
        self._members: dict[int, tuple[Member, ...]] = {}  # task_struct has 230, and is asked for often

    def __len__(self) -> int:
        """How many types, `void` included: ids are below it."""
        return len(self._starts) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Btf) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)

    def text(self, offset: int) -> str:
        """The string at `offset` of the string section."""
        if not 0 <= offset < len(self._strings):
            raise self._malformed(f"string offset {offset} is outside of the strings")
        end = self._strings.find(b"\0", offset, offset + _NAME_BYTES_MAX)
        if end < 0:
            raise self._malformed(f"the string at {offset} has more than {_NAME_BYTES_MAX} bytes")
        return self._strings[offset:end].decode("utf-8", "backslashreplace")

    def type(self, type_id: int) -> Type:
        """The record of `type_id`."""
        if type_id == VOID:
            return Type(VOID, Kind.VOID, "void", 0, False, 0)
        start = self._start(type_id)
        name_offset, info, size_or_type = self._words[start : start + _RECORD_WORDS].tolist()
        kind = Kind((info >> 24) & 0x1F)
        name = self.text(name_offset) if name_offset else ""
        return Type(type_id, kind, name, info & 0xFFFF, bool(info >> 31), size_or_type)

    def find(self, name: str, *kinds: Kind) -> tuple[int, ...]:
        """Ids, ascending, of all types called `name`; of any of `kinds` if there are some."""
        if name not in self._found:
            wanted = np.isin(self._name_offsets, self._string_offsets(name))
            self._found[name] = tuple((np.flatnonzero(wanted) + 1).tolist())
        return tuple(i for i in self._found[name] if not kinds or self._kinds[i - 1] in kinds)

    def of_kind(self, *kinds: Kind) -> tuple[int, ...]:
        """Ids, ascending, of all types of `kinds`."""
        return tuple((np.flatnonzero(np.isin(self._kinds, kinds)) + 1).tolist())

    def resolve(self, type_id: int) -> Type:
        """`type_id` without its typedefs and modifiers."""
        for _ in range(_RESOLVE_DEPTH_MAX):
            record = self.type(type_id)
            if record.kind is not Kind.TYPEDEF and record.kind not in MODIFIERS:
                return record
            type_id = record.size_or_type
        raise self._malformed(f"type {type_id} is a chain of more than {_RESOLVE_DEPTH_MAX} names")

    def size_of(self, type_id: int) -> int:
        """Size in bytes; raises for types that have none (functions, `void`, forward declarations)."""
        count = 1
        for _ in range(_RESOLVE_DEPTH_MAX):
            record = self.resolve(type_id)
            if record.kind is Kind.PTR:
                return count * 8
            if record.kind in _SIZED:
                return count * record.size_or_type
            if record.kind is not Kind.ARRAY:
                break
            array = self.array(record.id)
            count *= array.count
            type_id = array.element
        raise self._malformed(f"type {type_id} has no size")

    def members(self, type_id: int) -> tuple[Member, ...]:
        """Members of a struct or union, in their order."""
        if type_id not in self._members:
            self._members[type_id] = self._read_members(type_id)
        return self._members[type_id]

    def _read_members(self, type_id: int) -> tuple[Member, ...]:
        record = self.type(type_id)
        if record.kind not in COMPOSITES:
            raise self._malformed(f"type {type_id} ({record.name}) has no members")
        return tuple(
            Member(self.text(name), member, offset & 0xFFFFFF, offset >> 24)
            if record.flag
            else Member(self.text(name), member, offset, 0)
            for name, member, offset in self._elements(record, 3)
        )

    def array(self, type_id: int) -> Array:
        """Element and count of an ARRAY."""
        self._require(type_id, Kind.ARRAY)
        element, _, count = self._extra(type_id, 3)
        return Array(element, count)

    def integer(self, type_id: int) -> Integer:
        """The encoding of an INT."""
        self._require(type_id, Kind.INT)
        (word,) = self._extra(type_id, 1)
        encoding = word >> 24
        return Integer(
            bool(encoding & 1), bool(encoding & 2), bool(encoding & 4), word & 0xFF, (word >> 16) & 0xFF
        )

    def enumerators(self, type_id: int) -> tuple[tuple[str, int], ...]:
        """Names and values of an ENUM or ENUM64."""
        record = self.type(type_id)
        if record.kind is Kind.ENUM:
            return tuple(
                (self.text(name), value - (1 << 32) if record.flag and value >> 31 else value)
                for name, value in self._elements(record, 2)
            )
        if record.kind is Kind.ENUM64:
            return tuple(
                (self.text(name), _signed64(low | high << 32) if record.flag else low | high << 32)
                for name, low, high in self._elements(record, 3)
            )
        raise self._malformed(f"type {type_id} ({record.name}) is no enum")

    def parameters(self, type_id: int) -> tuple[Parameter, ...]:
        """Parameters of a FUNC_PROTO."""
        record = self._require(type_id, Kind.FUNC_PROTO)
        return tuple(Parameter(self.text(name), kind) for name, kind in self._elements(record, 2))

    def variables(self, type_id: int) -> tuple[Variable, ...]:
        """Variables of a DATASEC."""
        record = self._require(type_id, Kind.DATASEC)
        return tuple(
            Variable(self.type(var).name, var, offset, size)
            for var, offset, size in self._elements(record, 3)
        )

    def offset_of_record(self, type_id: int) -> int:
        """Bytes from the start of the type section to the record of `type_id`."""
        return self._start(type_id) * 4

    def _start(self, type_id: int) -> int:
        if not 0 < type_id <= len(self._starts):
            raise self._malformed(f"there is no type {type_id}")
        return int(self._starts[type_id - 1])

    def _extra(self, type_id: int, words: int) -> list[int]:
        start = self._start(type_id) + _RECORD_WORDS
        extra: list[int] = self._words[start : start + words].tolist()
        return extra

    def _elements(self, record: Type, words: int) -> Iterator[tuple[int, ...]]:
        flat = iter(self._extra(record.id, record.elements * words))
        return zip(*([flat] * words), strict=True)

    def _require(self, type_id: int, kind: Kind) -> Type:
        record = self.type(type_id)
        if record.kind is not kind:
            raise self._malformed(f"type {type_id} ({record.name}) is {record.kind.name}, not {kind.name}")
        return record

    def _string_offsets(self, name: str) -> list[int]:
        """Where a name may be: strings can share their ends, so a hit need not begin after a NUL."""
        wanted = name.encode("utf-8") + b"\0"
        offsets = []
        at = self._strings.find(wanted) if name else -1
        while at >= 0:
            offsets.append(at)
            at = self._strings.find(wanted, at + 1)
        return offsets

    def _malformed(self, why: str) -> MalformedObjectError:
        return MalformedObjectError(f"{self.origin} is damaged: {why}")


def read_vmlinux(path: Path = VMLINUX_PATH) -> Btf:
    """The running kernel's types; raises MalformedObjectError if the kernel has none to show."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MalformedObjectError(
            f"can't read the kernel's types from {path}: {error.strerror};"
            " a kernel built with CONFIG_DEBUG_INFO_BTF=y is needed"
        ) from error
    return Btf(content, str(path))


def tracepoint_prototype(btf: Btf, tracepoint: str) -> tuple[int, int]:
    """Ids of the typedef `btf_trace_NAME` and of the function prototype behind it.

    Raises MalformedObjectError if the kernel has no such tracepoint.
    """
    for typedef in btf.find(f"btf_trace_{tracepoint}", Kind.TYPEDEF):
        pointer = btf.resolve(typedef)
        if pointer.kind is Kind.PTR:
            prototype = btf.resolve(pointer.size_or_type)
            if prototype.kind is Kind.FUNC_PROTO:
                return typedef, prototype.id
    raise MalformedObjectError(f"{btf.origin} knows no tracepoint {tracepoint}")


def tracepoint_parameters(btf: Btf, tracepoint: str) -> int:
    """How many arguments a tracepoint hands to a program: without the leading `void *` of the prototype."""
    return len(btf.parameters(tracepoint_prototype(btf, tracepoint)[1])) - 1


def _sections(content: bytes, origin: str) -> tuple[npt.NDArray[np.uint32], bytes]:
    """The type section, in words, and the string section."""
    if len(content) < _HEADER.size:
        raise MalformedObjectError(f"{origin} is no BTF: only {len(content)} bytes")
    magic, version, _, header, type_at, type_bytes, text_at, text_bytes = _HEADER.unpack_from(content)
    if magic == MAGIC >> 8 | (MAGIC & 0xFF) << 8:
        raise MalformedObjectError(f"{origin} is big-endian BTF, which is not supported")
    if magic != MAGIC or version != 1:
        raise MalformedObjectError(f"{origin} is no BTF of version 1 (magic {magic:#x}, version {version})")
    type_end, text_end = header + type_at + type_bytes, header + text_at + text_bytes
    if header < _HEADER.size or max(type_end, text_end) > len(content) or type_bytes % 4 or type_at % 4:
        raise MalformedObjectError(
            f"{origin} is cut short or damaged: its sections do not fit {len(content)} bytes"
        )
    strings = content[header + text_at : text_end]
    if strings[:1] != b"\0" or strings[-1:] != b"\0":
        raise MalformedObjectError(f"{origin} is damaged: its strings do not begin and end with NUL")
    return np.frombuffer(content, "<u4", type_bytes // 4, header + type_at), strings


def _record_starts(words: npt.NDArray[np.uint32], origin: str) -> npt.NDArray[np.int64]:
    """Where each record begins, in words.

    The length that a record would have is worked out for every word at once; following the chain from
    the first record is then one look-up a type.
    """
    end = len(words)
    following = np.arange(max(end - 1, 0), dtype=np.int32)
    kinds = words.view(np.uint8)[7::4]
    following += _fixed_words.take(kinds)
    following += _element_words.take(kinds) * words.view(np.uint16)[2::2]
    chain = memoryview(following.data)
    starts: list[int] = []
    append = starts.append
    at = 0
    last = len(chain)
    while at < last:
        append(at)
        at = chain[at]
    if at != end:
        raise MalformedObjectError(
            f"{origin} is damaged: type {len(starts)} is cut short or of an unknown kind"
        )
    return np.array(starts, np.int64)


def _signed64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
