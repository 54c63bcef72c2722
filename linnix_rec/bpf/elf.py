"""Takes an ELF file of BPF code apart, with pyelftools; does not know what its sections mean to BPF.

What is malformed or not supported raises `MalformedObjectError`; `definitions` makes sense of the rest.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from linnix_rec.bpf.btf import Btf
from linnix_rec.bpf.btf_ext import BtfExt, read_btf_ext
from linnix_rec.bpf.errors import MalformedObjectError

DATA_PREFIXES = (".bss", ".data", ".rodata")
_MACHINE = "EM_BPF"
_FLAG_ALLOCATED, _FLAG_EXECUTABLE = 0x2, 0x4  # SHF_ALLOC, SHF_EXECINSTR

# What a compiler makes of a BPF program is some 50 KB. pyelftools takes 20 us a symbol, a relocation or a
# section, and reads a name as far as the next NUL: so few of each, and short names, bound its time.
_OBJECT_BYTES_MAX = 1 << 20
_SECTIONS_MAX = 1 << 8
_RECORDS_MAX = 1 << 14
_NAME_BYTES_MAX = 1 << 10
_ZEROS_MAX = 1 << 24  # bytes of all `.bss`, which the file does not have
_HEADER = struct.Struct("<4s36xQ10xHHH")  # magic, e_shoff, e_shentsize, e_shnum, e_shstrndx
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<I20x")
_NULL, _CODE_OR_DATA, _SYMBOLS, _STRINGS, _ZEROS, _RELOCATIONS, _ADDRESSES = 0, 1, 2, 3, 8, 9, 0x6FFF4C03
_RECORD_BYTES = {_SYMBOLS: 24, _RELOCATIONS: 16}
_PLAIN_KINDS = frozenset({_NULL, _CODE_OR_DATA, _STRINGS, _ZEROS, _ADDRESSES})


@dataclass(frozen=True)
class Symbol:
    """A symbol: its section's index, and its offset and size there in bytes."""

    name: str
    section: int
    value: int
    size: int
    type: str


@dataclass(frozen=True)
class Relocation:
    """A place in a section, in bytes, that stands for a symbol."""

    at: int
    type: int
    symbol: Symbol


@dataclass(frozen=True)
class Section:
    """A section's bytes (zeros for `.bss`), and the relocations that apply to them, by place."""

    index: int
    name: str
    content: bytes
    executable: bool
    allocated: bool
    relocations: tuple[Relocation, ...]


@dataclass(frozen=True)
class ObjectFile:
    """An ELF object, read but not yet understood."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    btf: Btf
    btf_ext: BtfExt

    def section(self, name: str) -> Section | None:
        """The first section called `name`."""
        return next((section for section in self.sections if section.name == name), None)


def read_object_file(content: bytes, origin: str) -> ObjectFile:
    """Take an ELF object of BPF code apart."""
    _check_sizes(content, origin)
    try:
        sections, symbols = _read_elf(content, origin)
    except MalformedObjectError:
        raise
    except Exception as error:  # pyelftools answers garbled files with nearly any exception
        raise MalformedObjectError(f"{origin} is no ELF object, or damaged: {error!r}") from error
    raw = {section.name: section.content for section in sections}
    if ".BTF" not in raw or ".BTF.ext" not in raw:
        raise MalformedObjectError(f"{origin} has no .BTF and .BTF.ext; compile it with clang -g -target bpf")
    btf = Btf(raw[".BTF"], f"{origin}'s BTF")
    return ObjectFile(sections, symbols, btf, read_btf_ext(raw[".BTF.ext"], btf, origin))


def _check_sizes(content: bytes, origin: str) -> None:
    """Refuse what would take pyelftools long, or much memory; what else is wrong it will say."""
    try:
        wrong = _wrong_size(content)
    except (struct.error, OverflowError):  # beyond the end, or beyond what an offset can be
        wrong = "it is cut short"
    if wrong:
        raise MalformedObjectError(f"{origin} is no ELF object, or damaged: {wrong}")


def _wrong_size(content: bytes) -> str:
    if len(content) > _OBJECT_BYTES_MAX:
        return f"it has {len(content)} bytes"
    magic, table, header_bytes, count, names = _HEADER.unpack_from(content)
    if magic != b"\x7fELF" or header_bytes != _SECTION.size or not names < count <= _SECTIONS_MAX:
        return "it has no usable section headers"
    headers = [_SECTION.unpack_from(content, table + index * _SECTION.size) for index in range(count)]
    kinds = [header[1] for header in headers]
    if not all(kind in _PLAIN_KINDS or kind in _RECORD_BYTES for kind in kinds):
        return "it has sections of a kind that BPF objects have not"
    zeros = sum(header[5] for header in headers if header[1] == _ZEROS)
    held = sum(header[5] for header in headers if header[1] not in (_ZEROS, _NULL))
    if zeros > _ZEROS_MAX or held > len(content):
        return f"its sections claim {held} bytes and {zeros} zeros"
    records = 0
    for kind, header in zip(kinds, headers, strict=True):
        if kind in _RECORD_BYTES:
            records += header[5] // _RECORD_BYTES[kind]
            if header[9] != _RECORD_BYTES[kind] or records > _RECORDS_MAX:
                return f"it claims {records} symbols and relocations"
    return _wrong_names(content, headers, names)


def _wrong_names(content: bytes, headers: list[Any], names: int) -> str:
    """Whether every name begins in its string table, and ends there before long."""
    offsets = {names: [header[0] for header in headers]}
    for header in headers:
        if header[1] == _SYMBOLS:
            symbols = content[header[4] : header[4] + header[5]]
            if len(symbols) != header[5] or header[6] >= len(headers):
                return "its symbols are cut short"
            offsets.setdefault(header[6], []).extend(
                name for (name,) in _SYMBOL.iter_unpack(symbols[: len(symbols) // 24 * 24])
            )
    for table, used in offsets.items():
        begin, size = headers[table][4], headers[table][5]
        strings = content[begin : begin + size]
        longest = max(map(len, strings.split(b"\0")))
        if len(strings) != size or strings[-1:] != b"\0" or longest > _NAME_BYTES_MAX or max(used) >= size:
            return "its names are not in their tables, or too long"
    return ""


def _read_elf(content: bytes, origin: str) -> tuple[tuple[Section, ...], tuple[Symbol, ...]]:
    elf = ELFFile(io.BytesIO(content))
    if (
        elf.elfclass != 64
        or not elf.little_endian
        or elf["e_machine"] != _MACHINE
        or elf["e_type"] != "ET_REL"
    ):
        raise MalformedObjectError(f"{origin} is no relocatable 64-bit little-endian BPF object")
    raw = list(elf.iter_sections())
    symbols = _symbols(raw)
    relocations = _relocations(raw, symbols)
    sections = tuple(
        Section(
            index,
            section.name,
            _content(content, section, origin),
            bool(section["sh_flags"] & _FLAG_EXECUTABLE),
            bool(section["sh_flags"] & _FLAG_ALLOCATED),
            relocations.get(index, ()),
        )
        for index, section in enumerate(raw)
    )
    return sections, symbols


def _content(content: bytes, section: Any, origin: str) -> bytes:
    header = section.header
    begin, size = header["sh_offset"], header["sh_size"]
    if header["sh_type"] == "SHT_NOBITS":
        return bytes(size)
    if header["sh_type"] == "SHT_NULL":
        return b""
    if begin + size > len(content):
        raise MalformedObjectError(
            f"{origin} is cut short: a section ends at byte {begin + size} of {len(content)}"
        )
    return content[begin : begin + size]


def _symbols(raw: list[Any]) -> tuple[Symbol, ...]:
    table = next((section for section in raw if isinstance(section, SymbolTableSection)), None)
    if table is None:
        return ()
    return tuple(
        Symbol(
            symbol.name,
            symbol["st_shndx"] if isinstance(symbol["st_shndx"], int) else -1,
            symbol["st_value"],
            symbol["st_size"],
            symbol["st_info"]["type"],
        )
        for symbol in table.iter_symbols()
    )


def _relocations(raw: list[Any], symbols: tuple[Symbol, ...]) -> dict[int, tuple[Relocation, ...]]:
    found: dict[int, tuple[Relocation, ...]] = {}
    for section in raw:
        if isinstance(section, RelocationSection):
            records = [
                Relocation(record["r_offset"], record["r_info_type"], symbols[record["r_info_sym"]])
                for record in section.iter_relocations()
            ]
            found[section["sh_info"]] = (*found.get(section["sh_info"], ()), *records)
    return found
