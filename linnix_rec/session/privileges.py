"""Lets go of every capability that a running recording will not use again. Knows no BPF.

Capabilities, the bounding set and no_new_privs belong to a thread, and a thread can change only its own.
So: `forestall_threads` before numpy and pyarrow are imported, `drop_privileges` before the recorder
starts a thread of its own; later threads inherit what is left. The recorded command is forked long
before, and keeps what it has.
"""

import contextlib
import ctypes
import enum
import errno
import os
import platform
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from linnix_rec.errors import RecordingError

_VERSION_3: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: sets of 64 bits, in two halves
_SYSCALLS: Final = {  # capget, capset
    "x86_64": (125, 126),
    "aarch64": (90, 91),
}
_FACCESSAT2: Final = 439  # on every architecture; since Linux 5.8
_AT_FDCWD: Final = -100
_AT_EACCESS: Final = 0x200

# include/uapi/linux/prctl.h
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38

#: Without these, importing numpy and pyarrow starts threads (OpenBLAS one for each further CPU, Arrow's
#: jemalloc one); they would keep all capabilities. The recorder multiplies no matrices.
_THREADLESS: Final = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


class Capability(enum.IntEnum):
    """Those that a recording can have a use for; numbers of include/uapi/linux/capability.h."""

    CAP_CHOWN = 0
    CAP_DAC_OVERRIDE = 1
    CAP_DAC_READ_SEARCH = 2
    CAP_KILL = 5
    CAP_SETPCAP = 8
    CAP_NET_ADMIN = 12
    CAP_SYS_PTRACE = 19
    CAP_SYS_ADMIN = 21
    CAP_BPF = 39


_BYPASSES: Final = (Capability.CAP_DAC_READ_SEARCH, Capability.CAP_DAC_OVERRIDE)  # the weaker first


@dataclass(frozen=True)
class Remaining:
    """What a recording still does after it is attached, as far as a capability may be needed for it.

    kernel: such as (6, 1)
    gives_away: each new segment is given to another user, in a directory that is theirs
    has_command: signals are passed on to a command, which may change its user
    cgroup2: paths of cgroups are looked up by id
    connector: it listens to the kernel's process connector
    looks_up_files: which file a process runs is read in /proc
    for_directory, for_modules: with which capability alone the capture's directory can be written, and
        the interpreter's modules read; None if none is needed, or none helps
    """

    kernel: tuple[int, int]
    gives_away: bool = False
    has_command: bool = False
    cgroup2: bool = False
    connector: bool = False
    looks_up_files: bool = False
    for_directory: Capability | None = None
    for_modules: Capability | None = None


@dataclass(frozen=True)
class Dropped:
    """What came of it: what was kept, and threads (their names) that were started too early to be reached."""

    kept: frozenset[Capability]
    threads_beyond: tuple[str, ...]


def capabilities_needed_later(remaining: Remaining, held: Collection[Capability]) -> dict[Capability, str]:
    """Which of the held capabilities must be kept, each with its reason."""
    needed: dict[Capability, str] = {}
    if remaining.for_modules is not None:
        needed[remaining.for_modules] = "the interpreter's modules can't be read without"
    if remaining.cgroup2:
        # fs/fhandle.c: outside of user namespaces, every kernel so far asks for it.
        needed[Capability.CAP_DAC_READ_SEARCH] = "open_by_handle_at(2) finds the path of a cgroup by its id"
    if remaining.for_directory is not None:
        needed[remaining.for_directory] = "the capture's directory can't be written to without"
    if remaining.gives_away:
        needed[Capability.CAP_CHOWN] = "each file is given to whom the capture belongs"
        needed[Capability.CAP_DAC_OVERRIDE] = "files are made in a directory that is somebody else's"
    if remaining.has_command:
        needed[Capability.CAP_KILL] = "signals are passed on to the command, whichever user it has become"
    if remaining.kernel < (5, 19):
        # Unless kernel.unprivileged_bpf_disabled is 0; but that may change while we record.
        bpf = Capability.CAP_BPF if Capability.CAP_BPF in held else Capability.CAP_SYS_ADMIN
        needed[bpf] = "before Linux 5.19 every bpf(2) command may need it"
    if remaining.connector and remaining.kernel < (6, 6):
        needed[Capability.CAP_NET_ADMIN] = "before Linux 6.6 the process connector can't be let go without"
    if remaining.looks_up_files:
        needed[Capability.CAP_SYS_PTRACE] = "/proc does not say which file a process runs without"
    return {capability: why for capability, why in needed.items() if capability in held}


def look_ahead(
    directory: Path,
    *,
    owner: tuple[int, int] | None,
    has_command: bool,
    cgroup2: bool,
    connector: bool = False,
    looks_up_files: bool = False,
) -> Remaining:
    """Find out what this recording will need, trying it where it depends on files.

    directory: of the capture, which is there; to discard it its parent is written to
    owner: who gets it (uid, gid); None for nobody else
    """
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return Remaining(
        kernel=(int(version[1]), int(version[2])) if version else (0, 0),
        gives_away=owner is not None and owner != (os.geteuid(), os.getegid()),
        has_command=has_command,
        cgroup2=cgroup2,
        connector=connector,
        looks_up_files=looks_up_files,
        for_directory=bypass_needed([directory, directory.absolute().parent], os.R_OK | os.W_OK | os.X_OK),
        for_modules=bypass_needed(map(Path, sys.path), os.R_OK | os.X_OK),
    )


def bypass_needed(directories: Iterable[Path], mode: int) -> Capability | None:
    """The weakest capability with which alone all directories are as accessible as now; None for none.

    What is not accessible even now is left out. `mode` as for access(2).
    """
    accessible = [directory for directory in directories if _may_access(directory, mode)]
    for bypass in (None, *_BYPASSES):
        with _effective_without({*_BYPASSES} - {bypass}):
            if all(_may_access(directory, mode) for directory in accessible):
                return bypass
    return None


def forestall_threads() -> None:
    """Keep libraries that are not yet imported from starting threads that nobody needs."""
    os.environ.update(_THREADLESS)


def held_capabilities() -> frozenset[Capability]:
    """Those of `Capability` in this thread's permitted set."""
    return _named(_capget().permitted)


def drop_privileges(keep: Iterable[Capability]) -> Dropped:
    """Give up all capabilities of this thread but those of `keep` that it holds.

    An exec regains nothing: no_new_privs is set, the inheritable and ambient sets are empty, and so is the
    bounding set if CAP_SETPCAP was there to empty it. Raises RecordingError if the kernel refuses.
    """
    before = _capget()
    kept = sum(1 << capability for capability in set(keep)) & before.permitted
    try:
        if before.effective >> Capability.CAP_SETPCAP & 1:
            _empty_bounding_set()
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _capset(_Sets(effective=kept, permitted=kept, inheritable=0))  # empties the ambient set too
    except OSError as error:
        raise RecordingError(f"can't drop capabilities: {error.strerror}") from error
    return Dropped(_named(kept), _threads_beyond(kept))


def _threads_beyond(kept: int) -> tuple[str, ...]:
    """Names of this process's threads that hold, or by an exec may gain, what is not in the mask."""
    beyond = []
    for folder in Path("/proc/self/task").iterdir():
        try:
            status = (folder / "status").read_text(errors="replace")
        except OSError:
            continue  # it has ended
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if int(fields["CapPrm"], 16) & ~kept or fields["NoNewPrivs"] != "1":
            beyond.append(fields["Name"])
    return tuple(sorted(beyond))


def _named(mask: int) -> frozenset[Capability]:
    return frozenset(capability for capability in Capability if mask >> capability & 1)


@contextlib.contextmanager
def _effective_without(capabilities: Iterable[Capability]) -> Iterator[None]:
    before = _capget()
    without = sum(1 << capability for capability in set(capabilities))
    _capset(replace(before, effective=before.effective & ~without))
    try:
        yield
    finally:
        _capset(before)


def _may_access(path: Path, mode: int) -> bool:
    """access(2) by effective ids and capabilities; C libraries without faccessat2(2) only guess for root."""
    try:
        _syscall(_FACCESSAT2, _AT_FDCWD, os.fsencode(path), mode, _AT_EACCESS)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class _Sets:
    """One thread's capability sets, as masks."""

    effective: int
    permitted: int
    inheritable: int


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Halves = ctypes.c_uint32 * 6  # effective, permitted, inheritable of capabilities 0 to 31; then of the others


def _capget() -> _Sets:
    halves = _Halves()
    _syscall(_SYSCALLS[platform.machine()][0], ctypes.byref(_Header(_VERSION_3, 0)), halves)
    return _Sets(*(halves[place] | halves[place + 3] << 32 for place in range(3)))


def _capset(sets: _Sets) -> None:
    masks = (sets.effective, sets.permitted, sets.inheritable)
    halves = _Halves(*(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    _syscall(_SYSCALLS[platform.machine()][1], ctypes.byref(_Header(_VERSION_3, 0)), halves)


def _empty_bounding_set() -> None:
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last one that this kernel knows
                return
            raise


def _prctl(option: int, argument: int) -> None:
    _called(ctypes.CDLL(None, use_errno=True).prctl, option, *map(ctypes.c_ulong, (argument, 0, 0, 0)))


def _syscall(number: int, *arguments: object) -> None:
    _called(ctypes.CDLL(None, use_errno=True).syscall, ctypes.c_long(number), *arguments)


def _called(function: Any, *arguments: object) -> None:
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
