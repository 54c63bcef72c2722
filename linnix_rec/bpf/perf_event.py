"""perf_event_open(2) by its raw syscall number: counters of tracepoints, buffers for BPF programs' output.

Knows no event of ours.

The attribute is `struct perf_event_attr` of include/uapi/linux/perf_event.h as far as
PERF_ATTR_SIZE_VER0, which every kernel takes.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.errors import RecordingError

_PERF_EVENT_OPEN_NUMBERS = {"x86_64": 298, "amd64": 298, "aarch64": 241, "arm64": 241}
_PERF_TYPE_SOFTWARE = 1
_PERF_TYPE_TRACEPOINT = 2
_PERF_COUNT_SW_BPF_OUTPUT = 10
_PERF_SAMPLE_RAW = 1 << 10
_PERF_FORMAT_TOTAL_TIME_ENABLED = 1 << 0
_PERF_FORMAT_TOTAL_TIME_RUNNING = 1 << 1
_PERF_FORMAT_LOST = 1 << 4  # Linux 6.0
_WATERMARK = 1 << 14  # of perf_event_attr's flags: the wake-up is given in bytes, not in samples
_PERF_FLAG_FD_CLOEXEC = 1 << 3
_EVERY_TASK = -1
_NO_GROUP = -1
_READING = struct.Struct("=QQQ")
_COUNT_AND_LOST = struct.Struct("=QQ")

#: Where tracefs may be; the second is where it was before it had a place of its own.
TRACEFS_PATHS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

_u32, _u64 = ctypes.c_uint32, ctypes.c_uint64


class _Attribute(ctypes.Structure):
    _fields_ = (
        ("type", _u32),
        ("size", _u32),
        ("config", _u64),
        ("sample_period", _u64),
        ("sample_type", _u64),
        ("read_format", _u64),
        ("flags", _u64),
        ("wakeup_events", _u32),
        ("bp_type", _u32),
        ("config1", _u64),
    )


@dataclass(frozen=True)
class Reading:
    """What a counter says: events, and for how many ns it was wanted and did count."""

    count: int
    enabled_ns: int
    running_ns: int


def tracepoint_id(group: str, name: str, tracefs_paths: tuple[Path, ...] = TRACEFS_PATHS) -> int:
    """Give a tracepoint's number, by tracefs; raises RecordingError."""
    for tracefs in tracefs_paths:
        path = tracefs / "events" / group / name / "id"
        try:
            return int(path.read_text(encoding="ascii"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            raise RecordingError(
                f"can't read {path}, where the kernel numbers its tracepoints: permission denied;"
                " run it as root, or let its user read tracefs"
            ) from None
        except (OSError, ValueError) as error:
            raise RecordingError(f"can't read the number of the tracepoint {group}:{name}: {error}") from None
    if any((tracefs / "events").is_dir() for tracefs in tracefs_paths):
        raise RecordingError(f"this kernel has no tracepoint {group}:{name}: it can't be counted")
    raise RecordingError(
        f"can't number the tracepoint {group}:{name}: tracefs is not mounted;"
        f" mount it with: mount -t tracefs tracefs {tracefs_paths[0]}"
    )


class TracepointCounter:
    """Counts a tracepoint on one CPU, in whichever task, from its making until `close`.

    Or of one thread, by its id (0: the caller's), on whichever CPU, which then is ANY_CPU.
    """

    ANY_CPU = -1

    def __init__(self, tracepoint: int, cpu: int, *, tid: int = _EVERY_TASK) -> None:
        attribute = _Attribute(
            type=_PERF_TYPE_TRACEPOINT,
            size=ctypes.sizeof(_Attribute),
            config=tracepoint,
            read_format=_PERF_FORMAT_TOTAL_TIME_ENABLED | _PERF_FORMAT_TOTAL_TIME_RUNNING,
        )
        self.cpu = cpu
        self._descriptor = _perf_event_open(attribute, cpu, tid)

    def read(self) -> Reading:
        """Give the count so far; raises KernelRefusedError."""
        try:
            content = os.read(self._descriptor, _READING.size)
        except OSError as error:
            raise KernelRefusedError(
                f"reading the counter of CPU {self.cpu}", error.errno or errno.EIO
            ) from error
        if len(content) != _READING.size:  # the kernel's way of saying that the event is in error
            raise KernelRefusedError(f"reading the counter of CPU {self.cpu}", errno.EIO)
        return Reading(*_READING.unpack(content))

    def close(self) -> None:
        """Stop counting, once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OutputBuffer:
    """One CPU's buffer for bpf_perf_event_output(), from its making until `close`.

    descriptor: what goes into the map of the programs, and what becomes readable
    memory: a page of positions, then the buffer; closing does not end the mapping
    """

    #: In the first page, in bytes (struct perf_event_mmap_page).
    HEAD_AT, TAIL_AT = 1024, 1032

    def __init__(self, cpu: int, size_bytes: int, *, wakeup_bytes: int = 0, wakeup_samples: int = 0) -> None:
        """Raise KernelRefusedError; with ENODEV, that CPU is offline.

        size_bytes: a power of two of whole pages
        wakeup_bytes, wakeup_samples: the reader is woken each time that so many were written; one is 0
        """
        attribute = _Attribute(
            type=_PERF_TYPE_SOFTWARE,
            size=ctypes.sizeof(_Attribute),
            config=_PERF_COUNT_SW_BPF_OUTPUT,
            sample_period=1,
            sample_type=_PERF_SAMPLE_RAW,
            read_format=_PERF_FORMAT_LOST,
            flags=_WATERMARK if wakeup_bytes else 0,
            wakeup_events=wakeup_bytes or wakeup_samples,
        )
        self.cpu = cpu
        self._counts_lost = True
        try:
            self.descriptor = _perf_event_open(attribute, cpu, what="a perf buffer")
        except KernelRefusedError as error:
            if error.errno != errno.EINVAL:
                raise
            attribute.read_format = 0
            self._counts_lost = False
            self.descriptor = _perf_event_open(attribute, cpu, what="a perf buffer")
        try:
            self.memory = mmap.mmap(self.descriptor, mmap.PAGESIZE + size_bytes)
        except OSError as error:
            self.close()
            number = error.errno or 0
            raise KernelRefusedError(
                f"can't map a perf buffer of {size_bytes} bytes for CPU {cpu}", number, _map_advice(number)
            ) from error

    def lost(self) -> int | None:
        """How many samples found no room so far, by the kernel's count; None before Linux 6.0."""
        if not self._counts_lost:
            return None
        content = os.read(self.descriptor, _COUNT_AND_LOST.size)
        if len(content) != _COUNT_AND_LOST.size:  # its CPU went offline
            return None
        return int(_COUNT_AND_LOST.unpack(content)[1])

    def close(self) -> None:
        """Take no more output, once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _map_advice(error_number: int) -> str:
    if error_number == errno.EPERM:
        return (
            "more than kernel.perf_event_mlock_kb a user takes CAP_IPC_LOCK; ask for less, or run it as root"
        )
    return "ask for a smaller one" if error_number in (errno.ENOMEM, errno.EINVAL) else ""


def _perf_event_open(
    attribute: _Attribute, cpu: int, tid: int = _EVERY_TASK, what: str = "a perf counter"
) -> int:
    number = _PERF_EVENT_OPEN_NUMBERS.get(platform.machine().lower())
    if number is None:
        raise KernelRefusedError(f"perf_event_open(2) on {platform.machine()}", errno.ENOSYS)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    descriptor: int = syscall(
        ctypes.c_long(number),
        ctypes.byref(attribute),
        ctypes.c_long(tid),
        ctypes.c_long(cpu),
        ctypes.c_long(_NO_GROUP),
        ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC),
    )
    if descriptor < 0:
        error_number = ctypes.get_errno()
        raise KernelRefusedError(
            f"the kernel refused {what} on CPU {cpu}", error_number, _advice(error_number)
        )
    return descriptor


def _advice(error_number: int) -> str:
    if error_number in (errno.EPERM, errno.EACCES):
        return (
            "perf for all tasks needs root, or CAP_PERFMON, or kernel.perf_event_paranoid at -1;"
            " a container's seccomp profile can refuse it, too"
        )
    if error_number == errno.EMFILE:
        return "it takes up to three descriptors a CPU: raise the limit with ulimit -n"
    if error_number in (errno.ENODEV, errno.ENXIO):
        return "that CPU is offline"
    return ""
