"""bpf(2) by its raw syscall number: attributes as ctypes structures, errno as OSError; knows no object.

Attribute layouts follow `union bpf_attr` of include/uapi/linux/bpf.h as of Linux 5.15. The kernel takes
a shorter attribute than its own as if the rest were zero, so these fit all later kernels.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import functools
import os
import platform
from typing import Any

_BPF_SYSCALL_NUMBERS = {"x86_64": 321, "amd64": 321, "aarch64": 280, "arm64": 280}
_LOAD_ATTEMPTS_ON_EAGAIN = (
    5  # the verifier gives up with EAGAIN when a signal is pending; libbpf tries 5 times
)
OBJECT_NAME_BYTES = 16  # BPF_OBJ_NAME_LEN, with its NUL

Attribute = ctypes.Structure
_u32, _u64 = ctypes.c_uint32, ctypes.c_uint64


class Command(enum.IntEnum):
    """`enum bpf_cmd`, as far as it is used."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    OBJ_GET_INFO_BY_FD = 15
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    MAP_FREEZE = 22
    LINK_CREATE = 28
    ENABLE_STATS = 32
    ITER_CREATE = 33


class MapCreate(Attribute):
    _fields_ = [
        ("map_type", _u32),
        ("key_size", _u32),
        ("value_size", _u32),
        ("max_entries", _u32),
        ("map_flags", _u32),
        ("inner_map_fd", _u32),
        ("numa_node", _u32),
        ("map_name", ctypes.c_char * OBJECT_NAME_BYTES),
        ("map_ifindex", _u32),
        ("btf_fd", _u32),
        ("btf_key_type_id", _u32),
        ("btf_value_type_id", _u32),
    ]


class MapElement(Attribute):
    _fields_ = [("map_fd", _u32), ("key", _u64), ("value", _u64), ("flags", _u64)]


class MapFreeze(Attribute):
    _fields_ = [("map_fd", _u32)]


class ProgramLoad(Attribute):
    _fields_ = [
        ("prog_type", _u32),
        ("insn_cnt", _u32),
        ("insns", _u64),
        ("license", _u64),
        ("log_level", _u32),
        ("log_size", _u32),
        ("log_buf", _u64),
        ("kern_version", _u32),
        ("prog_flags", _u32),
        ("prog_name", ctypes.c_char * OBJECT_NAME_BYTES),
        ("prog_ifindex", _u32),
        ("expected_attach_type", _u32),
        ("prog_btf_fd", _u32),
        ("func_info_rec_size", _u32),
        ("func_info", _u64),
        ("func_info_cnt", _u32),
        ("line_info_rec_size", _u32),
        ("line_info", _u64),
        ("line_info_cnt", _u32),
        ("attach_btf_id", _u32),
        ("attach_btf_obj_fd", _u32),
    ]


class ObjectPath(Attribute):
    _fields_ = [("pathname", _u64), ("bpf_fd", _u32), ("file_flags", _u32)]


class EnableStatistics(Attribute):
    _fields_ = [("type", _u32)]


class ProgramTestRun(Attribute):
    _fields_ = [
        ("prog_fd", _u32),
        ("retval", _u32),
        ("data_size_in", _u32),
        ("data_size_out", _u32),
        ("data_in", _u64),
        ("data_out", _u64),
        ("repeat", _u32),
        ("duration", _u32),
        ("ctx_size_in", _u32),
        ("ctx_size_out", _u32),
        ("ctx_in", _u64),
        ("ctx_out", _u64),
        ("flags", _u32),
        ("cpu", _u32),
    ]


class ObjectInfo(Attribute):
    _fields_ = [("bpf_fd", _u32), ("info_len", _u32), ("info", _u64)]


class RawTracepointOpen(Attribute):
    _fields_ = [("name", _u64), ("prog_fd", _u32)]


class BtfLoad(Attribute):
    _fields_ = [
        ("btf", _u64),
        ("btf_log_buf", _u64),
        ("btf_size", _u32),
        ("btf_log_size", _u32),
        ("btf_log_level", _u32),
    ]


class LinkCreate(Attribute):
    _fields_ = [
        ("prog_fd", _u32),
        ("target_fd", _u32),
        ("attach_type", _u32),
        ("flags", _u32),
        ("iter_info", _u64),
        ("iter_info_len", _u32),
    ]


class IteratorCreate(Attribute):
    _fields_ = [("link_fd", _u32), ("flags", _u32)]


@functools.cache
def _syscall() -> Any:
    """syscall(2); looked up late, so that this module can be imported where there is no such thing."""
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


def machine_is_supported(machine: str | None = None) -> bool:
    """Whether bpf(2)'s number is known for `machine` (default: this one)."""
    return (machine or platform.machine()).lower() in _BPF_SYSCALL_NUMBERS


def bpf(command: Command, attribute: Attribute) -> int:
    """Carry out one bpf(2) command; gives the kernel's non-negative answer, raises OSError.

    File descriptors that it gives are close-on-exec (the kernel's own default for BPF).
    """
    number = _BPF_SYSCALL_NUMBERS.get(platform.machine().lower())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) is not known for {platform.machine()}")
    for _ in range(_LOAD_ATTEMPTS_ON_EAGAIN):
        answer: int = _syscall()(
            ctypes.c_long(number),
            ctypes.c_long(command),
            ctypes.byref(attribute),
            ctypes.c_ulong(ctypes.sizeof(attribute)),
        )
        if answer >= 0:
            return answer
        error_number = ctypes.get_errno()
        if not (command == Command.PROG_LOAD and error_number == errno.EAGAIN):
            break
    raise OSError(error_number, os.strerror(error_number))


def address_of(memory: Any) -> int:
    """The address of a ctypes buffer, to be put into an attribute; the caller keeps the buffer alive."""
    return ctypes.addressof(memory)


def copied(content: bytes | bytearray | memoryview) -> Any:
    """A ctypes buffer that holds a copy of `content`."""
    octets = bytes(content)
    return (ctypes.c_char * max(len(octets), 1)).from_buffer_copy(octets or b"\0")


def object_name(name: str) -> bytes:
    """`name` as the kernel takes it for maps and programs: [A-Za-z0-9_.], cut to 15 bytes."""
    allowed = "".join(c if (c.isascii() and c.isalnum()) or c in "_." else "_" for c in name)
    return allowed.encode("ascii")[: OBJECT_NAME_BYTES - 1]
