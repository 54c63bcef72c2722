"""Takes an ELF file of BPF code apart, with pyelftools; does not know what its sections mean to BPF.

What is malformed or not supported raises `MalformedObjectError`; `definitions` makes sense of the rest.
"""

from __future__ import annotations

import io
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
_SECTION_BYTES_MAX = 1 << 28


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
        if size > _SECTION_BYTES_MAX:
            raise MalformedObjectError(f"{origin} is damaged: a section of {size} bytes")
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
