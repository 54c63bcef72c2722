"""Reads from /proc what the process connector does not say: who is there, and what is run. Knows no message.

Whoever is looked at may end meanwhile: that is no error, and what could not be read is left out.
"""

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from linnix_rec.capture.text import decode_bytes
from linnix_rec.sources.connector_lives import NO_ID, Entry

#: What fs/proc/array.c: do_task_stat() counts times in.
TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

#: As much of an exec's arguments as is kept: a sequencer's longest span holds some 1,700 bytes.
ARGV_BYTES: Final = 1700
_STAT_BYTES: Final = 4096
#: Zombie and dead: fs/proc/array.c: task_state_array.
_ENDED: Final = frozenset(b"ZX")
_EXIT_STATES: Final = {ord("Z"): 32, ord("X"): 16}


class Usage(NamedTuple):
    """What else a listing tells of a task: as the columns of these names."""

    exit_state: int
    task_flags: int
    utime_ns: int
    stime_ns: int
    min_faults: int
    maj_faults: int


class Found(NamedTuple):
    """One task of a walk through /proc."""

    entry: Entry
    usage: Usage


class ExecText(NamedTuple):
    """What runs in a process: `filename` is the file itself, a script's interpreter, all links followed.

    argv: None if it was not asked for; cut: it is longer. all is None of an exec that was not looked up
    """

    filename: str | None
    argv: list[str] | None
    cut: bool | None
    comm: str | None


def walk() -> list[Found]:
    """Find every thread of every process."""
    return [found for name in os.listdir("/proc") if name.isdigit() for found in _threads(int(name))]


def _threads(tgid: int) -> Iterator[Found]:
    folder = f"/proc/{tgid}"
    try:
        tids = sorted(int(name) for name in os.listdir(f"{folder}/task"))
    except OSError:
        return
    status = _read(f"{folder}/status", _STAT_BYTES)
    uid, gid = (_real_id(status, name) for name in (b"\nUid:", b"\nGid:"))
    for tid in tids:
        stat = _read(f"{folder}/task/{tid}/stat", _STAT_BYTES)
        if stat is not None:
            yield task_of(stat, tid, tgid, uid, gid)


def task_of(stat: bytes, tid: int, tgid: int, uid: int, gid: int) -> Found:
    """Read a stat file, proc_pid_stat(5): the name is in parentheses, and may itself hold any."""
    begin, end = stat.index(b"("), stat.rindex(b")")
    fields = stat[end + 2 :].split()
    state = fields[0][0]
    start_ns = int(fields[19]) * TICK_NS
    comm = decode_bytes(stat[begin + 1 : end])
    entry = Entry(tid, tgid, start_ns, int(fields[1]), uid, gid, comm, state in _ENDED)
    usage = Usage(
        _EXIT_STATES.get(state, 0),
        int(fields[6]) & _TOLD_FLAGS,
        int(fields[11]) * TICK_NS,
        int(fields[12]) * TICK_NS,
        int(fields[7]),
        int(fields[9]),
    )
    return Found(entry, usage)


#: PF_EXITING and PF_KTHREAD (include/linux/sched.h), as the column task_flags has them.
_TOLD_FLAGS: Final = 0x4 | 0x200000


def read_exec(pid: int, *, with_argv: bool) -> ExecText | None:
    """What runs in that process now; None if it is gone."""
    comm = _read(f"/proc/{pid}/comm", 64)
    if comm is None:
        return None
    try:
        filename: str | None = decode_bytes(os.readlink(f"/proc/{pid}/exe".encode()))
    except OSError:  # a zombie has none; of others' processes it takes CAP_SYS_PTRACE
        filename = None
    raw = _read(f"/proc/{pid}/cmdline", ARGV_BYTES + 1) if with_argv else None
    argv = arguments_of(raw[:ARGV_BYTES]) if raw else None
    cut = raw is not None and len(raw) > ARGV_BYTES
    return ExecText(
        filename, argv, None if filename is None and argv is None else cut, decode_bytes(comm[:-1])
    )


def arguments_of(raw: bytes) -> list[str]:
    """Split what cmdline holds: each argument ends with a NUL, but the last of those cut."""
    return [decode_bytes(argument) for argument in raw.removesuffix(b"\0").split(b"\0")]


def is_there(tid: int) -> bool:
    """Whether a task of that id is there, a zombie not counted."""
    stat = _read(f"/proc/{tid}/stat", _STAT_BYTES)
    return stat is not None and stat[stat.rindex(b")") + 2] not in _ENDED


def pid_of(pidfd: int) -> int:
    """The process that a pidfd is of; -1 if it is gone (fs/pidfs.c: pidfd_show_fdinfo())."""
    told = _read(f"/proc/self/fdinfo/{pidfd}", _STAT_BYTES) or b""
    of_pid = [line.split()[1] for line in told.splitlines() if line.startswith(b"Pid:")]
    return int(of_pid[0]) if of_pid else -1


def _real_id(status: bytes | None, name: bytes) -> int:
    at = -1 if status is None else status.find(name)
    return NO_ID if status is None or at < 0 else int(status[at + len(name) :].split(None, 1)[0])


def _read(path: str, limit: int) -> bytes | None:
    """At most so many bytes of a file; None if it is not there (any more), or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, limit)
    except OSError:
        return None
    finally:
        os.close(descriptor)
