"""Writes small BTFs by hand, for tests that need types no compiler was asked for."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from linnix_rec.bpf.btf import MAGIC, Btf, Kind

FieldOf = tuple[str, int, int] | tuple[str, int, int, int]


class BtfBuilder:
    """Each method adds a type and gives its id; `btf()` reads what was written."""

    def __init__(self) -> None:
        self._types: list[bytes] = []
        self._strings = bytearray(b"\0")

    def content(self) -> bytes:
        types = b"".join(self._types)
        header = struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(self._strings))
        return header + types + bytes(self._strings)

    def btf(self) -> Btf:
        return Btf(self.content(), "test BTF")

    def text(self, text: str) -> int:
        """The offset of a string in the string section."""
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text.encode()) - 1

    def add(
        self,
        kind: Kind,
        name: str = "",
        size_or_type: int = 0,
        words: Sequence[int] = (),
        elements: int = 0,
        flag: bool = False,
    ) -> int:
        info = kind << 24 | elements | flag << 31
        packed = [word & 0xFFFFFFFF for word in (self.text(name), info, size_or_type, *words)]
        self._types.append(struct.pack(f"<{len(packed)}I", *packed))
        return len(self._types)

    def next_id(self) -> int:
        """The id of the type that comes next, for types that hold themselves."""
        return len(self._types) + 1

    def int(self, name: str = "int", size: int = 4, signed: bool = True, offset_bits: int = 0) -> int:
        return self.add(Kind.INT, name, size, [signed << 24 | offset_bits << 16 | size * 8])

    def pointer(self, to: int = 0) -> int:
        return self.add(Kind.PTR, size_or_type=to)

    def array(self, element: int, count: int, index: int = 0) -> int:
        return self.add(Kind.ARRAY, words=[element, index, count])

    def struct(self, name: str, size: int, *members: FieldOf, kind: Kind = Kind.STRUCT) -> int:
        """Members are (name, type, offset in bits[, bits of a bitfield])."""
        flag = any(len(member) == 4 for member in members)
        words = []
        for member in members:
            bits = member[3] if len(member) == 4 else 0
            words += [self.text(member[0]), member[1], member[2] | bits << 24]
        return self.add(kind, name, size, words, len(members), flag)

    def union(self, name: str, size: int, *members: FieldOf) -> int:
        return self.struct(name, size, *members, kind=Kind.UNION)

    def enum(self, name: str, values: dict[str, int], size: int = 4, signed: bool = False) -> int:
        words = [word for text, value in values.items() for word in (self.text(text), value)]
        return self.add(Kind.ENUM, name, size, words, len(values), signed)

    def enum64(self, name: str, values: dict[str, int], signed: bool = False) -> int:
        words = [w for text, value in values.items() for w in (self.text(text), value, value >> 32)]
        return self.add(Kind.ENUM64, name, 8, words, len(values), signed)

    def forward(self, name: str, union: bool = False) -> int:
        return self.add(Kind.FWD, name, flag=union)

    def typedef(self, name: str, to: int) -> int:
        return self.add(Kind.TYPEDEF, name, to)

    def const(self, to: int) -> int:
        return self.add(Kind.CONST, size_or_type=to)

    def prototype(self, returns: int, *parameters: tuple[str, int]) -> int:
        words = [word for name, kind in parameters for word in (self.text(name), kind)]
        return self.add(Kind.FUNC_PROTO, "", returns, words, len(parameters))

    def function(self, name: str, prototype: int) -> int:
        return self.add(Kind.FUNC, name, prototype)

    def variable(self, name: str, kind: int, linkage: int = 1) -> int:
        return self.add(Kind.VAR, name, kind, [linkage])

    def section(self, name: str, size: int, *variables: tuple[int, int, int]) -> int:
        """Variables are (id of the VAR, offset in bytes, size in bytes)."""
        return self.add(Kind.DATASEC, name, size, [word for v in variables for word in v], len(variables))

    def tracepoint(self, name: str, arguments: int) -> int:
        """`btf_trace_NAME` with as many arguments; the prototype begins with a `void *` of its own."""
        pointer = self.pointer()
        parameters = [("", pointer)] * (arguments + 1)
        return self.typedef(f"btf_trace_{name}", self.pointer(self.prototype(0, *parameters)))
