"""Reads `.BTF.ext`: CO-RE relocations, function and line records, by section; knows no instruction."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from linnix_rec.bpf.btf import MAGIC, Btf
from linnix_rec.bpf.errors import MalformedObjectError
from linnix_rec.bpf.spec import CoreRelocation, InfoRecord

_HEADER = struct.Struct("<HBBI")
_PART = struct.Struct("<II")
_CORE = struct.Struct("<IIII")
FUNCTION_RECORD_BYTES = 8  # struct bpf_func_info
LINE_RECORD_BYTES = 16  # struct bpf_line_info


@dataclass(frozen=True)
class BtfExt:
    """Records by the name of the code section they are about; places in bytes of that section."""

    functions: dict[str, tuple[InfoRecord, ...]]
    lines: dict[str, tuple[InfoRecord, ...]]
    core: dict[str, tuple[CoreRelocation, ...]]


def read_btf_ext(content: bytes, btf: Btf, origin: str) -> BtfExt:
    """Take `.BTF.ext` apart; raises MalformedObjectError."""
    try:
        magic, version, _, header = _HEADER.unpack_from(content)
        if magic != MAGIC or version != 1:
            raise MalformedObjectError(f"{origin}'s .BTF.ext is not of version 1")
        parts = [
            _PART.unpack_from(content, at) if at + _PART.size <= header else (0, 0)
            for at in range(_HEADER.size, _HEADER.size + 3 * _PART.size, _PART.size)
        ]
        bodies = [content[header + at : header + at + size] for at, size in parts]
        functions = _info(bodies[0], btf, FUNCTION_RECORD_BYTES)
        lines = _info(bodies[1], btf, LINE_RECORD_BYTES)
        core = {
            name: tuple(_core(record, btf) for record in records) for name, records in _blocks(bodies[2], btf)
        }
    except (struct.error, ValueError) as error:
        raise MalformedObjectError(f"{origin}'s .BTF.ext is cut short or damaged: {error}") from error
    return BtfExt(functions, lines, core)


def _info(body: bytes, btf: Btf, record_bytes: int) -> dict[str, tuple[InfoRecord, ...]]:
    """Newer compilers may write longer records; what they add is left out."""
    return {
        name: tuple(
            InfoRecord(int.from_bytes(record[:4], "little"), record[4:record_bytes])
            for record in records
            if len(record) >= record_bytes
        )
        for name, records in _blocks(body, btf)
    }


def _blocks(body: bytes, btf: Btf) -> Iterator[tuple[str, list[bytes]]]:
    """A part is a record size, then blocks of (section name, count, records)."""
    if not body:
        return
    (record_bytes,) = struct.unpack_from("<I", body)
    if record_bytes < FUNCTION_RECORD_BYTES:
        raise ValueError(f"records of {record_bytes} bytes")
    at = 4
    while at < len(body):
        name, count = _PART.unpack_from(body, at)
        at += _PART.size
        end = at + count * record_bytes
        if end > len(body):
            raise ValueError(f"{count} records do not fit")
        yield btf.text(name), [body[i : i + record_bytes] for i in range(at, end, record_bytes)]
        at = end


def _core(record: bytes, btf: Btf) -> CoreRelocation:
    at, type_id, access, kind = _CORE.unpack_from(record)
    path = tuple(int(step) for step in btf.text(access).split(":") if step.isascii() and step.isdigit())
    if not path or len(path) != btf.text(access).count(":") + 1:
        raise ValueError(f"access path {btf.text(access)!r}")
    return CoreRelocation(at, type_id, path, kind)
