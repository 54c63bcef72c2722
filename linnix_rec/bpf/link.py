"""Cuts code sections into functions and puts behind each program the functions that it calls.

Knows the object file, no kernel. A call between functions becomes relative to the linked program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from linnix_rec.bpf import instruction as ins
from linnix_rec.bpf.elf import DATA_PREFIXES, ObjectFile, Relocation, Section, Symbol
from linnix_rec.bpf.errors import MalformedObjectError
from linnix_rec.bpf.spec import CoreRelocation, InfoRecord, MapReference, ProgramKind, ProgramSpec

MAPS_SECTION = ".maps"
SUBPROGRAM_SECTION = ".text"
_LOOKS_MAX = 1 << 20
_LINKED_BYTES_MAX = 1 << 23  # the kernel takes programs of a million instructions of 8 bytes
_Record = TypeVar("_Record", MapReference, CoreRelocation, InfoRecord)


@dataclass(frozen=True)
class Call:
    """The instruction at byte `at` calls, or takes the address of, a function."""

    at: int
    section: int
    offset: int
    address: bool


@dataclass(frozen=True)
class Function:
    """A function's code and all that is recorded about it; places in bytes of the function."""

    name: str
    section: Section
    offset: int
    code: bytes
    calls: tuple[Call, ...]
    map_references: tuple[MapReference, ...]
    core_relocations: tuple[CoreRelocation, ...]
    function_info: tuple[InfoRecord, ...]
    line_info: tuple[InfoRecord, ...]


def link_programs(file: ObjectFile, map_names: Mapping[int, str]) -> dict[str, ProgramSpec]:
    """All programs of an object; `map_names` are the maps by their offset in `.maps`."""
    functions = {
        (function.section.index, function.offset): function
        for section in file.sections
        if section.executable and section.content
        for function in _functions(file, section, map_names)
    }
    programs: dict[str, ProgramSpec] = {}
    linked_bytes = 0
    for function in functions.values():
        if function.section.name != SUBPROGRAM_SECTION:
            kind, target = _attach_point(function.section.name)
            programs[function.name] = _linked(function, functions, kind, target)
            linked_bytes += len(programs[function.name].instructions)
            if linked_bytes > _LINKED_BYTES_MAX:
                raise MalformedObjectError("its programs are too large with all the functions they call")
    return programs


def _attach_point(section: str) -> tuple[ProgramKind, str]:
    prefix, _, target = section.partition("/")
    try:
        kind = ProgramKind(prefix)
    except ValueError:
        raise MalformedObjectError(f"programs of section {section} are not supported") from None
    if not target:
        raise MalformedObjectError(f"section {section} does not say what its program hangs on")
    return kind, target


def _functions(file: ObjectFile, section: Section, map_names: Mapping[int, str]) -> Iterator[Function]:
    """The functions of a section, which must fill it."""
    symbols = [s for s in file.symbols if s.section == section.index and s.type == "STT_FUNC"]
    records = len(section.relocations) + sum(
        len(records.get(section.name, ()))
        for records in (file.btf_ext.core, file.btf_ext.functions, file.btf_ext.lines)
    )
    if len(symbols) * records > _LOOKS_MAX:  # each function looks through them all
        raise MalformedObjectError(f"section {section.name} has {records} records about its code")
    end = 0
    for symbol in sorted(symbols, key=lambda symbol: symbol.value):
        if symbol.value != end or not symbol.size or symbol.size % ins.INSTRUCTION_BYTES:
            raise MalformedObjectError(f"function {symbol.name} does not fit its section {section.name}")
        end += symbol.size
        if end > len(section.content):
            raise MalformedObjectError(f"function {symbol.name} is longer than its section {section.name}")
        yield _function(file, section, symbol, map_names)
    if end != len(section.content):
        raise MalformedObjectError(f"section {section.name} holds code outside of any function")


def _function(file: ObjectFile, section: Section, symbol: Symbol, map_names: Mapping[int, str]) -> Function:
    begin, end = symbol.value, symbol.value + symbol.size
    code = section.content[begin:end]
    relocated = {r.at - begin: r for r in section.relocations if begin <= r.at < end}
    calls, references = [], []
    for at, instruction in _instructions(code, symbol.name):
        relocation = relocated.pop(at, None)
        if instruction.opcode == ins.CALL and instruction.source == ins.PSEUDO_CALL:
            calls.append(_call(instruction, relocation, section, begin + at, at))
        elif relocation is None:
            continue
        elif instruction.opcode != ins.LD_IMM64:
            raise MalformedObjectError(
                f"{symbol.name} refers to {relocation.symbol.name} in a way that is not supported"
            )
        elif (target := _section_of(file, relocation, symbol.name)).executable:
            offset = relocation.symbol.value + instruction.immediate
            calls.append(Call(at, target.index, offset, address=True))
        else:
            references.append(_map_reference(at, instruction, relocation, target, map_names))
    if relocated:
        raise MalformedObjectError(f"{symbol.name} has relocations between instructions")
    ext = file.btf_ext
    return Function(
        symbol.name,
        section,
        begin,
        code,
        tuple(calls),
        tuple(references),
        _within(ext.core.get(section.name, ()), begin, end),
        _within(ext.functions.get(section.name, ()), begin, end),
        _within(ext.lines.get(section.name, ()), begin, end),
    )


def _instructions(code: bytes, name: str) -> Iterator[tuple[int, ins.Instruction]]:
    at = 0
    while at < len(code):
        instruction = ins.read_at(code, at)
        yield at, instruction
        at += ins.INSTRUCTION_BYTES * (2 if instruction.opcode == ins.LD_IMM64 else 1)
    if at != len(code):
        raise MalformedObjectError(f"{name} ends inside of an instruction")


def _call(
    instruction: ins.Instruction, relocation: Relocation | None, section: Section, place: int, at: int
) -> Call:
    """The immediate counts instructions from the next one, or from the symbol less one if relocated."""
    distance = (instruction.immediate + 1) * ins.INSTRUCTION_BYTES
    if relocation is None:
        return Call(at, section.index, place + distance, address=False)
    return Call(at, relocation.symbol.section, relocation.symbol.value + distance, address=False)


def _section_of(file: ObjectFile, relocation: Relocation, name: str) -> Section:
    index = relocation.symbol.section
    if not 0 < index < len(file.sections):
        raise MalformedObjectError(
            f"{name} refers to {relocation.symbol.name or '?'}, which the object lacks"
        )
    return file.sections[index]


def _map_reference(
    at: int,
    instruction: ins.Instruction,
    relocation: Relocation,
    target: Section,
    map_names: Mapping[int, str],
) -> MapReference:
    offset = relocation.symbol.value + instruction.immediate
    if target.name == MAPS_SECTION:
        if offset not in map_names:
            raise MalformedObjectError(f"there is no map at byte {offset} of {MAPS_SECTION}")
        return MapReference(at, map_names[offset])
    if not target.name.startswith(DATA_PREFIXES):
        raise MalformedObjectError(f"data in section {target.name} is not supported")
    return MapReference(at, target.name, value=True, offset=offset)


def _linked(
    main: Function, functions: Mapping[tuple[int, int], Function], kind: ProgramKind, target: str
) -> ProgramSpec:
    placed = _placed(main, functions)
    code = bytearray().join(function.code for function in placed)
    starts = {}
    at = 0
    for function in placed:
        starts[function.section.index, function.offset] = at
        at += len(function.code)
    for function in placed:
        begin = starts[function.section.index, function.offset]
        for call in function.calls:
            _redirect(code, begin + call.at, starts[call.section, call.offset], call.address)
    moved = [(function, starts[function.section.index, function.offset]) for function in placed]
    return ProgramSpec(
        main.name,
        main.section.name,
        kind,
        target,
        bytes(code),
        tuple(record for f, start in moved for record in _shifted(f.map_references, start)),
        tuple(record for f, start in moved for record in _shifted(f.core_relocations, start)),
        tuple(record for f, start in moved for record in _shifted(f.function_info, start)),
        tuple(record for f, start in moved for record in _shifted(f.line_info, start)),
    )


def _placed(main: Function, functions: Mapping[tuple[int, int], Function]) -> list[Function]:
    """`main` and whatever it calls, directly or not, each once, in the order of first mention."""
    placed = [main]
    seen = {(main.section.index, main.offset)}
    for function in placed:  # grows while it is walked
        for call in function.calls:
            key = (call.section, call.offset)
            if key not in functions:
                raise MalformedObjectError(f"{function.name} calls a function that the object lacks")
            if key not in seen:
                seen.add(key)
                placed.append(functions[key])
    return placed


def _redirect(code: bytearray, at: int, target: int, address: bool) -> None:
    distance = (target - at) // ins.INSTRUCTION_BYTES - 1
    instruction = ins.read_at(code, at)._replace(immediate=distance)
    ins.write_at(code, at, instruction.with_source(ins.PSEUDO_FUNC) if address else instruction)


def _within(records: Iterable[_Record], begin: int, end: int) -> tuple[_Record, ...]:
    """The records about one function, their places counted from its start."""
    return tuple(replace(record, at=record.at - begin) for record in records if begin <= record.at < end)


def _shifted(records: Iterable[_Record], by: int) -> Iterator[_Record]:
    return (replace(record, at=record.at + by) for record in records)
