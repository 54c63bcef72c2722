"""Reads an object's maps, data sections and license out of its ELF sections and BTF; knows no kernel."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from linnix_rec.bpf.btf import Btf, Kind, Member
from linnix_rec.bpf.elf import DATA_PREFIXES, ObjectFile, Section, read_object_file
from linnix_rec.bpf.errors import MalformedObjectError
from linnix_rec.bpf.link import MAPS_SECTION, link_programs
from linnix_rec.bpf.spec import DataSpec, MapSpec, ObjectSpec, VariableSpec

LICENSE_SECTION = "license"
_NUMBERS = frozenset({"type", "max_entries", "map_flags", "key_size", "value_size"})
_TYPES = frozenset({"key", "value"})
_BTF_HEADER_BYTES_AT = 4


def read_object_spec(content: bytes, name: str) -> ObjectSpec:
    """What the object file `content` defines; `name` is for messages.

    Raises MalformedObjectError for whatever is no object file, or uses what is not supported.
    """
    file = read_object_file(content, name)
    places = _places(file)
    maps = _maps(file.btf, places.get(MAPS_SECTION, {}))
    programs = link_programs(file, {places[MAPS_SECTION][map_name].offset: map_name for map_name in maps})
    data = {
        section.name: DataSpec(section.name, section.content, places.get(section.name, {}))
        for section in file.sections
        if section.allocated and not section.executable and section.content
        if section.name.startswith(DATA_PREFIXES)
    }
    for section in file.sections:
        if section.name in data and section.relocations:
            raise MalformedObjectError(f"{name}: pointers in section {section.name} are not supported")
    for program in programs.values():
        for reference in program.map_references:
            if reference.map not in (data if reference.value else maps):
                raise MalformedObjectError(
                    f"{name}: {program.name} refers to {reference.map}, which is empty"
                )
    return ObjectSpec(name, _license(file), programs, maps, data, _completed_btf(file, places))


def _license(file: ObjectFile) -> str:
    section = file.section(LICENSE_SECTION)
    return section.content.split(b"\0")[0].decode("ascii", "replace") if section else ""


def _places(file: ObjectFile) -> dict[str, dict[str, VariableSpec]]:
    """Variables by section and name. Compilers leave offsets to the ELF symbols, sizes are in BTF."""
    by_name: dict[str, Section] = {section.name: section for section in file.sections}
    places: dict[str, dict[str, VariableSpec]] = {}
    for type_id in file.btf.of_kind(Kind.DATASEC):
        section = by_name.get(file.btf.type(type_id).name)
        if section is None:
            continue
        offsets = {s.name: s.value for s in file.symbols if s.section == section.index and s.name}
        if section.name in places:
            raise MalformedObjectError(f"section {section.name} is described twice")
        found = places.setdefault(section.name, {})
        for variable in file.btf.variables(type_id):
            offset = offsets.get(variable.name)
            if offset is None or offset + variable.size > len(section.content):
                raise MalformedObjectError(
                    f"variable {variable.name} is not inside of section {section.name}"
                )
            value_type = file.btf.type(variable.type).size_or_type
            found[variable.name] = VariableSpec(variable.name, offset, variable.size, value_type)
    return places


def _maps(btf: Btf, variables: Mapping[str, VariableSpec]) -> dict[str, MapSpec]:
    return {name: _map(btf, variable) for name, variable in variables.items()}


def _map(btf: Btf, variable: VariableSpec) -> MapSpec:
    definition = btf.resolve(variable.type)
    numbers: dict[str, int] = {}
    types: dict[str, int] = {}
    for member in btf.members(definition.id):
        if member.name in _NUMBERS:
            numbers[member.name] = _dimension(btf, variable.name, member)
        elif member.name in _TYPES:
            types[member.name] = _pointed(btf, variable.name, member)
        else:
            raise MalformedObjectError(f"map {variable.name}: {member.name} is not supported")
    if "type" not in numbers:
        raise MalformedObjectError(f"map {variable.name} does not say its type")
    sizes = {}
    for part in ("key", "value"):
        sizes[part] = btf.size_of(types[part]) if part in types else numbers.get(f"{part}_size", 0)
        if numbers.get(f"{part}_size", sizes[part]) != sizes[part]:
            raise MalformedObjectError(f"map {variable.name}: {part} and {part}_size contradict each other")
    return MapSpec(
        variable.name,
        numbers["type"],
        sizes["key"],
        sizes["value"],
        numbers.get("max_entries", 0),
        numbers.get("map_flags", 0),
        types.get("key", 0),
        types.get("value", 0),
    )


def _dimension(btf: Btf, name: str, member: Member) -> int:
    """A number is written as a pointer to an array of that many elements."""
    return btf.array(btf.resolve(_pointed(btf, name, member)).id).count


def _pointed(btf: Btf, name: str, member: Member) -> int:
    pointer = btf.resolve(member.type)
    if pointer.kind is not Kind.PTR:
        raise MalformedObjectError(f"map {name}: {member.name} is no pointer")
    return pointer.size_or_type


def _completed_btf(file: ObjectFile, places: Mapping[str, Mapping[str, VariableSpec]]) -> Btf:
    """The object's BTF with the sizes and offsets of its sections, which the kernel insists upon."""
    btf = file.btf
    content = bytearray(btf.content)
    (header,) = struct.unpack_from("<I", content, _BTF_HEADER_BYTES_AT)
    (type_at,) = struct.unpack_from("<I", content, _BTF_HEADER_BYTES_AT + 4)
    for type_id in btf.of_kind(Kind.DATASEC):
        record = btf.type(type_id)
        section = file.section(record.name)
        if section is None:
            continue  # `.ksyms` and the like
        at = header + type_at + btf.offset_of_record(type_id)
        struct.pack_into("<I", content, at + 8, len(section.content))
        rows = sorted(
            (places[record.name][variable.name].offset, variable.type, variable.size)
            for variable in btf.variables(type_id)
        )
        for index, (offset, variable_type, size) in enumerate(rows):
            struct.pack_into("<III", content, at + 12 + 12 * index, variable_type, offset, size)
    return Btf(bytes(content), btf.origin)
