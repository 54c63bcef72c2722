"""Hands an object's BTF to the kernel, without the kinds that an older kernel does not know."""

from __future__ import annotations

import ctypes
import struct

from linnix_rec.bpf import syscall
from linnix_rec.bpf.btf import Btf, Kind
from linnix_rec.bpf.descriptor import Descriptor
from linnix_rec.bpf.errors import KernelRefusedError, permission_advice
from linnix_rec.bpf.syscall import Command

_LOG_BYTES = 1 << 16
# Linux 5.13 FLOAT, 5.16 DECL_TAG, 5.17 TYPE_TAG, 6.0 ENUM64
_NEWER_KINDS = (Kind.FLOAT, Kind.DECL_TAG, Kind.TYPE_TAG, Kind.ENUM64)
_HEADER_BYTES = 24


def load_btf(btf: Btf) -> Descriptor:
    """Load `btf`; if the kernel refuses it, once more in words that older kernels know."""
    try:
        return Descriptor(_load(btf.content), btf.origin)
    except OSError as error:
        refusal = error
    if btf.of_kind(*_NEWER_KINDS):
        try:
            return Descriptor(_load(plainer(btf)), btf.origin)
        except OSError as error:
            refusal = error
    number = refusal.errno or 0
    advice = permission_advice(number) or _log_tail(btf.content)
    raise KernelRefusedError(f"the kernel refused {btf.origin}", number, advice) from refusal


def plainer(btf: Btf) -> bytes:
    """`btf` with the same ids and sizes, kinds newer than Linux 5.2 replaced by older ones.

    A FLOAT becomes a struct without members, a DECL_TAG an int that nobody uses, a TYPE_TAG a `const`,
    an ENUM64 a union whose members are its enumerators.
    """
    content = bytearray(btf.content)
    header, type_at = struct.unpack_from("<II", content, 4)
    unsigned = next((i for i in btf.of_kind(Kind.INT) if btf.type(i).size_or_type <= 8), 0)
    for type_id in btf.of_kind(*_NEWER_KINDS):
        record = btf.type(type_id)
        at = header + type_at + btf.offset_of_record(type_id)
        if record.kind is Kind.FLOAT:
            struct.pack_into("<I", content, at + 4, Kind.STRUCT << 24)
        elif record.kind is Kind.DECL_TAG:
            struct.pack_into("<IIII", content, at, _any_name(btf), Kind.INT << 24, 1, 8)
        elif record.kind is Kind.TYPE_TAG:
            struct.pack_into("<II", content, at, 0, Kind.CONST << 24)
        else:
            struct.pack_into("<I", content, at + 4, Kind.UNION << 24 | record.elements)
            for element in range(record.elements):
                struct.pack_into("<II", content, at + 12 + 12 * element + 4, unsigned, 0)
    return bytes(content)


def _any_name(btf: Btf) -> int:
    """A name's offset: an INT must have one, which does not matter."""
    for type_id in btf.of_kind(Kind.INT):
        at = btf.offset_of_record(type_id)
        header, type_at = struct.unpack_from("<II", btf.content, 4)
        (name,) = struct.unpack_from("<I", btf.content, header + type_at + at)
        return int(name)
    return 0


def _load(content: bytes, log: object = None) -> int:
    buffer = syscall.copied(content)
    attribute = syscall.BtfLoad(btf=syscall.address_of(buffer), btf_size=len(content))
    if log is not None:
        attribute.btf_log_buf = syscall.address_of(log)
        attribute.btf_log_size = _LOG_BYTES
        attribute.btf_log_level = 1
    return syscall.bpf(Command.BTF_LOAD, attribute)


def _log_tail(content: bytes) -> str:
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        Descriptor(_load(content, log), "").close()
    except OSError:
        lines = log.value.decode("utf-8", "replace").splitlines()
        return "; ".join(lines[-3:])
    return ""
