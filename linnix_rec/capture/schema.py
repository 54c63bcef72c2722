"""The event schema: the one Arrow table that all rooms share. Knows no kernel and no file.

Every row is one event and carries the number (`seq`) of the first ticket it took. `seq` is the order;
the two timestamps are data, read after the ticket, and can be inverted between CPUs by microseconds.

Syscalls and failed execs are in a capture only if they were asked for, and so are the columns that tell of
them: the schema then is WIDE_SCHEMA, and the format version 2. A reader of version 1 would call proven what
has shed syscalls.
"""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

#: The newest that is read; written of what is in WIDE_SCHEMA.
FORMAT_VERSION: Final = 2
#: Written of what is in EVENT_SCHEMA.
PROCESS_FORMAT_VERSION: Final = 1

#: Kinds of event, in the order of their numeric codes (`KIND_CODES`).
KINDS: Final = ("gap", "fork", "exec", "exit", "task", "syscall", "failed-exec")
KIND_CODES: Final[Mapping[str, int]] = {kind: code for code, kind in enumerate(KINDS)}
GAP, FORK, EXEC, EXIT, TASK, SYSCALL, FAILED_EXEC = range(len(KINDS))

#: Those that are recorded if they are asked for, and that give way to the others.
OPTIONAL_KINDS: Final = ("syscall", "failed-exec")

#: Why tickets of a gap could not be captured.
GAP_REASONS: Final = ("lapped", "abandoned", "dropped")

NAME: Final = pa.dictionary(pa.int32(), pa.string())


def _column(name: str, type_: pa.DataType, doc: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, type_, nullable=nullable, metadata={b"doc": doc.encode()})


EVENT_SCHEMA: Final = pa.schema(
    [
        _column("seq", pa.uint64(), "first ticket of the event: the total order", nullable=False),
        _column("slots", pa.uint8(), "tickets the event took, 1 to 16; 0 for a gap", nullable=False),
        _column("kind", NAME, "fork, exec, exit, task (listed), gap, syscall, failed-exec", nullable=False),
        _column(
            "boot_ns", pa.int64(), "CLOCK_BOOTTIME, ns since boot, read after the ticket; null for a gap"
        ),
        _column("time", pa.timestamp("us", tz="UTC"), "boot_ns as wall-clock time; null for a gap"),
        _column("cpu", pa.uint16(), "CPU that the event ran on"),
        # Who acted: the forker, the one that called exec, the one that exits, the task listed.
        _column("tid", pa.int32(), "thread id of the acting task, in the initial pid namespace"),
        _column("tgid", pa.int32(), "its process id"),
        _column("start_ns", pa.uint64(), "its start, ns since boot: (tid, start_ns) is its identity"),
        _column("parent_tid", pa.int32(), "thread id of its real parent"),
        _column("parent_tgid", pa.int32(), "process id of its real parent"),
        _column("parent_start_ns", pa.uint64(), "start of its real parent, ns since boot"),
        _column("uid", pa.uint32(), "its real user id"),
        _column("gid", pa.uint32(), "its real group id"),
        _column("cgroup_id", pa.uint64(), "its cgroup (version 2 hierarchy); paths are in capture.json"),
        _column("comm", NAME, "its name, at most 15 bytes"),
        _column("child_tid", pa.int32(), "fork: thread id of the new task"),
        _column("child_tgid", pa.int32(), "fork: process id of the new task"),
        _column("child_start_ns", pa.uint64(), "fork: start of the new task, ns since boot"),
        _column("clone_flags", pa.uint64(), "fork: CLONE_* flags"),
        _column("filename", NAME, "exec, failed-exec: the path as given to execve"),
        _column("argv", pa.list_(pa.string()), "exec: the arguments; null if none were to be recorded"),
        _column("argv_truncated", pa.bool_(), "exec, failed-exec: filename or argv is cut, or unreadable"),
        _column(
            "old_tid", pa.int32(), "exec: thread id before the exec; differs from tid if a non-leader exec'd"
        ),
        _column("exit_code", pa.int32(), "exit: code given to exit(2); 0 if a signal ended it"),
        _column("exit_signal", pa.uint8(), "exit: signal that ended it, 0 if none"),
        _column("core_dumped", pa.bool_(), "exit: a core was dumped"),
        _column(
            "last_thread", pa.bool_(), "exit: the process's last thread; code and signal are the process's"
        ),
        _column("cpu_ns", pa.uint64(), "exit, task: CPU time of the thread as last accounted, ns"),
        _column("utime_ns", pa.uint64(), "exit, task: user time of the thread, tick-coarse, ns"),
        _column("stime_ns", pa.uint64(), "exit, task: system time of the thread, tick-coarse, ns"),
        _column("max_rss_bytes", pa.uint64(), "exit of a last thread: peak resident memory of the process"),
        _column("min_faults", pa.uint64(), "exit, task: page faults of the thread without I/O"),
        _column("maj_faults", pa.uint64(), "exit, task: page faults of the thread with I/O"),
        _column("exit_state", pa.uint32(), "task: the kernel's exit_state (0 running, 16 dead, 32 zombie)"),
        _column("task_flags", pa.uint32(), "task: the kernel's PF_EXITING (0x4) and PF_KTHREAD (0x200000)"),
        _column("lost", pa.uint64(), "gap: tickets that were issued and could not be captured"),
        _column(
            "reason",
            NAME,
            "gap: lapped (overwritten before it was read), abandoned (never written), dropped (no room)",
        ),
    ]
)

#: The columns that only captures of syscalls or failed execs have, behind the others.
SYSCALL_COLUMNS: Final = (
    _column("nr", pa.int32(), "syscall: its number on this machine; -1 if no table has it"),
    _column(
        "syscall", NAME, "its name; syscall_N if unknown, compat_N if N is of another table (32-bit, x32)"
    ),
    _column("arg0", pa.uint64(), "syscall: its first argument, as it was called"),
    _column("arg1", pa.uint64(), "syscall: its second argument"),
    _column("arg2", pa.uint64(), "syscall: its third argument"),
    _column("ret", pa.int64(), "syscall: what it returned; from -4095 to -1 an errno, negated"),
    _column("duration_ns", pa.uint64(), "syscall: from its beginning to boot_ns, ns"),
    _column("errno", pa.int32(), "failed-exec: why; its path is in filename"),
)

WIDE_SCHEMA: Final = pa.schema([*EVENT_SCHEMA, *SYSCALL_COLUMNS])
