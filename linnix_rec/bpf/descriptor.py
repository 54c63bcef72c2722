"""Kernel objects by file descriptor: maps, programs, links and what the kernel says of them.

Knows bpf(2), no object file. Each owns its descriptor and closes it once.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from linnix_rec.bpf import syscall
from linnix_rec.bpf.errors import KernelRefusedError, permission_advice
from linnix_rec.bpf.spec import MapFlag, MapSpec
from linnix_rec.bpf.syscall import Command

_u32, _u64, _u8 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint8
_ITERATOR_READ_BYTES = 1 << 16
_STATS_RUN_TIME = 0
_TEST_RUN_ON_CPU = 1 << 0
_AnyDescriptor = TypeVar("_AnyDescriptor", bound="Descriptor")


class _ProgramInfo(ctypes.Structure):
    _fields_ = [
        ("type", _u32),
        ("id", _u32),
        ("tag", _u8 * 8),
        ("jited_prog_len", _u32),
        ("xlated_prog_len", _u32),
        ("jited_prog_insns", _u64),
        ("xlated_prog_insns", _u64),
        ("load_time", _u64),
        ("created_by_uid", _u32),
        ("nr_map_ids", _u32),
        ("map_ids", _u64),
        ("name", ctypes.c_char * syscall.OBJECT_NAME_BYTES),
        ("ifindex", _u32),
        ("gpl_compatible", _u32),
        ("netns_dev", _u64),
        ("netns_ino", _u64),
        ("nr_jited_ksyms", _u32),
        ("nr_jited_func_lens", _u32),
        ("jited_ksyms", _u64),
        ("jited_func_lens", _u64),
        ("btf_id", _u32),
        ("func_info_rec_size", _u32),
        ("func_info", _u64),
        ("nr_func_info", _u32),
        ("nr_line_info", _u32),
        ("line_info", _u64),
        ("jited_line_info", _u64),
        ("nr_jited_line_info", _u32),
        ("line_info_rec_size", _u32),
        ("jited_line_info_rec_size", _u32),
        ("nr_prog_tags", _u32),
        ("prog_tags", _u64),
        ("run_time_ns", _u64),
        ("run_cnt", _u64),
        ("recursion_misses", _u64),
        ("verified_insns", _u32),
        ("attach_btf_obj_id", _u32),
        ("attach_btf_id", _u32),
    ]


class _MapInfo(ctypes.Structure):
    _fields_ = [
        ("type", _u32),
        ("id", _u32),
        ("key_size", _u32),
        ("value_size", _u32),
        ("max_entries", _u32),
        ("map_flags", _u32),
        ("name", ctypes.c_char * syscall.OBJECT_NAME_BYTES),
    ]


class _LinkInfo(ctypes.Structure):
    _fields_ = [("type", _u32), ("id", _u32), ("prog_id", _u32), ("rest", _u8 * 52)]


@dataclass(frozen=True)
class ProgramInfo:
    """What the kernel counts of a program; `run_count` and `run_time_ns` only while statistics are on.

    `verified_instructions` is 0 before Linux 5.16, `recursion_misses` before 5.12.
    """

    id: int
    name: str
    run_count: int
    run_time_ns: int
    recursion_misses: int
    verified_instructions: int
    jited_bytes: int


@dataclass(frozen=True)
class MapInfo:
    """A map as the kernel made it; sizes in bytes."""

    id: int
    name: str
    type: int
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class LinkInfo:
    """What a link hangs a program on."""

    id: int
    type: int
    program_id: int


class Descriptor:
    """A kernel object held open by `fd`; closing twice does nothing."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def pin(self, path: Path) -> None:
        """Give the object a name in bpffs: it then lives until that is removed, whoever closes what."""
        name = syscall.copied(os.fsencode(path) + b"\0")
        attribute = syscall.ObjectPath(pathname=syscall.address_of(name), bpf_fd=self.fd)
        refusing(f"can't pin {self.name} as {path}", Command.OBJ_PIN, attribute)

    def __enter__(self: _AnyDescriptor) -> _AnyDescriptor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} fd={self.fd}>"


class Link(Descriptor):
    """A program attached to a hook; closing it detaches the program, and does not wait for running ones."""

    def info(self) -> LinkInfo:
        return link_info(self.fd)


class Program(Descriptor):
    """A program that the verifier accepted."""

    def info(self) -> ProgramInfo:
        return prog_info(self.fd)


class Map(Descriptor):
    """A map; keys and values are bytes of exactly its sizes."""

    def __init__(self, fd: int, spec: MapSpec) -> None:
        super().__init__(fd, spec.name)
        self.spec = spec

    def info(self) -> MapInfo:
        return map_info(self.fd)

    @property
    def value_stride_bytes(self) -> int:
        """From one value of an array to the next in its mapping."""
        return -(-self.spec.value_bytes // 8) * 8

    @property
    def mapping_bytes(self) -> int:
        """Size of an array's mapping: whole pages."""
        size = self.spec.max_entries * self.value_stride_bytes
        return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE

    def map_memory(self, writable: bool = False) -> mmap.mmap:
        """The memory of an mmap-able array, shared with the kernel: `mapping_bytes` long.

        Closing the map does not end the mapping; whoever asked for it closes it.
        """
        if not self.spec.flags & MapFlag.MMAPABLE:
            raise ValueError(f"map {self.name} is not mmap-able")
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            return mmap.mmap(self.fd, self.mapping_bytes, mmap.MAP_SHARED, protection)
        except OSError as error:
            raise KernelRefusedError(f"can't map the memory of {self.name}", error.errno or 0) from error

    def lookup(self, key: bytes) -> bytes | None:
        """The value at `key`; None if there is none."""
        value = ctypes.create_string_buffer(max(self.value_stride_bytes, 8))
        try:
            self._element(Command.MAP_LOOKUP_ELEM, key, syscall.address_of(value))
        except KernelRefusedError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw[: self.spec.value_bytes]

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set the value at `key`."""
        if len(value) != self.spec.value_bytes:
            raise ValueError(f"a value of {self.name} has {self.spec.value_bytes} bytes, not {len(value)}")
        buffer = syscall.copied(value)
        self._element(Command.MAP_UPDATE_ELEM, key, syscall.address_of(buffer), flags)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; whether it was there."""
        try:
            self._element(Command.MAP_DELETE_ELEM, key)
        except KernelRefusedError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def freeze(self) -> None:
        """Let nobody outside of programs change the map any more."""
        refusing(f"can't freeze map {self.name}", Command.MAP_FREEZE, syscall.MapFreeze(map_fd=self.fd))

    def _element(self, command: Command, key: bytes, value_address: int = 0, flags: int = 0) -> None:
        if len(key) != self.spec.key_bytes:
            raise ValueError(f"a key of {self.name} has {self.spec.key_bytes} bytes, not {len(key)}")
        key_buffer = syscall.copied(key)
        refusing(
            f"{command.name} of {self.name}",
            command,
            syscall.MapElement(
                map_fd=self.fd, key=syscall.address_of(key_buffer), value=value_address, flags=flags
            ),
        )


def refusing(what: str, command: Command, attribute: syscall.Attribute) -> int:
    """bpf(2) with its errors as KernelRefusedError: `what` was attempted."""
    try:
        return syscall.bpf(command, attribute)
    except OSError as error:
        number = error.errno or 0
        raise KernelRefusedError(what, number, permission_advice(number)) from error


def open_pinned(path: Path) -> int:
    """A descriptor of the object pinned at `path`; close-on-exec."""
    name = syscall.copied(os.fsencode(path) + b"\0")
    attribute = syscall.ObjectPath(pathname=syscall.address_of(name))
    return refusing(f"can't open {path}", Command.OBJ_GET, attribute)


def enable_run_statistics() -> Descriptor:
    """Let the kernel count each program's runs and their time, while this is open (Linux 5.8)."""
    return Descriptor(
        refusing(
            "can't switch the kernel's BPF statistics on",
            Command.ENABLE_STATS,
            syscall.EnableStatistics(type=_STATS_RUN_TIME),
        ),
        "statistics",
    )


def attach_raw_tracepoint(program: Program, tracepoint: str = "") -> Link:
    """Attach to `tracepoint` by name, or, without one, to what the program was loaded for (tp_btf)."""
    name = syscall.copied(tracepoint.encode() + b"\0")
    attribute = syscall.RawTracepointOpen(
        name=syscall.address_of(name) if tracepoint else 0, prog_fd=program.fd
    )
    return Link(
        refusing(f"can't attach {program.name}", Command.RAW_TRACEPOINT_OPEN, attribute), program.name
    )


def attach_iterator(program: Program, attach_type: int) -> Link:
    """Make an iterator program ready to be run by `run_iterator`."""
    attribute = syscall.LinkCreate(prog_fd=program.fd, attach_type=attach_type)
    return Link(refusing(f"can't attach {program.name}", Command.LINK_CREATE, attribute), program.name)


def run_on_cpu(program: Program, cpu: int) -> int:
    """Run a raw tracepoint's program once, on that CPU, attached or not; gives what it returned (Linux 5.10).

    Preemption is off meanwhile. A thread that is not on that CPU itself has it run in an interrupt there.
    """
    attribute = syscall.ProgramTestRun(prog_fd=program.fd, flags=_TEST_RUN_ON_CPU, cpu=cpu)
    refusing(f"can't run {program.name} on CPU {cpu}", Command.PROG_TEST_RUN, attribute)
    return int(attribute.retval)


def run_iterator(link: Link) -> bytes:
    """Run an iterator once over all it iterates over; gives what it wrote (nothing, if it writes nothing)."""
    what = f"can't run iterator {link.name}"
    fd = refusing(what, Command.ITER_CREATE, syscall.IteratorCreate(link_fd=link.fd))
    written = bytearray()
    try:
        while part := os.read(fd, _ITERATOR_READ_BYTES):
            written += part
    except OSError as error:
        raise KernelRefusedError(what, error.errno or 0) from error
    finally:
        os.close(fd)
    return bytes(written)


def prog_info(fd: int) -> ProgramInfo:
    """What the kernel knows of the program behind `fd`."""
    info = _ProgramInfo()
    _read_info(fd, info)
    return ProgramInfo(
        info.id,
        info.name.decode("ascii", "replace"),
        info.run_cnt,
        info.run_time_ns,
        info.recursion_misses,
        info.verified_insns,
        info.jited_prog_len,
    )


def map_info(fd: int) -> MapInfo:
    """What the kernel knows of the map behind `fd`."""
    info = _MapInfo()
    _read_info(fd, info)
    name = info.name.decode("ascii", "replace")
    return MapInfo(info.id, name, info.type, info.key_size, info.value_size, info.max_entries, info.map_flags)


def link_info(fd: int) -> LinkInfo:
    """What the kernel knows of the link behind `fd`."""
    info = _LinkInfo()
    _read_info(fd, info)
    return LinkInfo(info.id, info.type, info.prog_id)


def _read_info(fd: int, info: ctypes.Structure) -> None:
    """The kernel fills as much of `info` as it knows; a newer kernel's rest is left out."""
    attribute = syscall.ObjectInfo(bpf_fd=fd, info_len=ctypes.sizeof(info), info=syscall.address_of(info))
    refusing("can't ask the kernel about a BPF object", Command.OBJ_GET_INFO_BY_FD, attribute)
