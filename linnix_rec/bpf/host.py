"""What a host must have for recording, and what this one has; knows no events.

`read_host` looks, `requirements` judges: the second is pure, so that any host can be put before it.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from linnix_rec.bpf.btf import VMLINUX_PATH, Btf
from linnix_rec.bpf.syscall import machine_is_supported

KERNEL_NEEDED = (5, 15)
KERNEL_NEEDED_ARM64 = (5, 18)  # before, its JIT has no fetching atomics
_ARM64 = frozenset({"aarch64", "arm64"})
_INITIAL_USER_NAMESPACE = "0 0 4294967295"
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO: the inode number of its file in /proc/PID/ns
_CONNECTOR_FOR_ALL = (6, 6)  # before, only CAP_NET_ADMIN may listen to it
_RING_BYTES_DEFAULT = 128 << 20
_TRACEPOINTS = ("task_newtask", "sched_process_exec", "sched_process_exit")
_ITERATOR = "bpf_iter_task"
_BPFFS = Path("/sys/fs/bpf")
_PINS = _BPFFS / "linnix-rec"
_TRACEFS = Path("/sys/kernel/tracing")
_TRACEFS_OF_OLD = Path("/sys/kernel/debug/tracing")
_TRACEPOINT_NUMBER = "events/task/task_newtask/id"
_NETLINK_CONNECTOR = 11
_NOTHING_SAID = struct.pack("=IHHII", 16, 1, 0, 0, 0)  # a netlink header alone, NLMSG_NOOP

# Numbers of include/uapi/linux/capability.h
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 21, 38, 39

_UNPRIVILEGED_BPF = {0: "allowed", 1: "refused until the next boot", 2: "refused"}


@dataclass(frozen=True)
class Host:
    """Facts about a host; None where one could not be had.

    capabilities: the effective set, as a mask
    user_namespace, pid_namespace: whether we are in another one than the initial
    memory_max_bytes: the least limit of our control groups
    bpffs, tracefs: whether they are mounted; bpffs_open, tracefs_open: and may be written to, and read
    connector: whether the kernel's connector is there, in our network namespace
    """

    system: str
    kernel_release: str
    machine: str
    btf_bytes: int | None
    btf_lacks: tuple[str, ...]
    btf_problem: str
    capabilities: int
    user_namespace: bool
    lockdown: str | None
    jit: int | None
    unprivileged_bpf: int | None
    memory_max_bytes: int | None
    bpffs: bool
    bpffs_open: bool
    tracefs: bool
    tracefs_open: bool
    pid_namespace: bool
    connector: bool


@dataclass(frozen=True)
class Requirement:
    """One line of the doctor: what was found, and what to do if it does not do."""

    name: str
    required: bool
    met: bool
    found: str
    advice: str = ""


def read_host(kernel_btf: Btf | None, btf_problem: str = "") -> Host:
    """The facts about this host; `kernel_btf` is None, and the problem told, if it can't be read."""
    return Host(
        system=platform.system(),
        kernel_release=platform.release(),
        machine=platform.machine(),
        btf_bytes=None if kernel_btf is None else len(kernel_btf.content),
        btf_lacks=() if kernel_btf is None else missing_from(kernel_btf),
        btf_problem=btf_problem,
        capabilities=_effective_capabilities(_text("/proc/self/status")),
        user_namespace=_in_user_namespace(_text("/proc/self/uid_map")),
        lockdown=_chosen(_text("/sys/kernel/security/lockdown")),
        jit=_number(_text("/proc/sys/net/core/bpf_jit_enable")),
        unprivileged_bpf=_number(_text("/proc/sys/kernel/unprivileged_bpf_disabled")),
        memory_max_bytes=_memory_max_bytes(_text("/proc/self/cgroup")),
        bpffs=_is_mounted("bpf", _BPFFS),
        bpffs_open=any(os.access(folder, os.W_OK | os.X_OK) for folder in (_BPFFS, _PINS)),
        tracefs=any(_is_mounted("tracefs", place) for place in (_TRACEFS, _TRACEFS_OF_OLD)),
        tracefs_open=any(
            os.access(place / _TRACEPOINT_NUMBER, os.R_OK) for place in (_TRACEFS, _TRACEFS_OF_OLD)
        ),
        pid_namespace=_namespace("pid") not in (None, _INITIAL_PID_NAMESPACE),
        connector=_connector_answers(),
    )


def requirements(host: Host) -> tuple[Requirement, ...]:
    """What recording needs, in the order in which to mend it, and what is good to know."""
    return (
        _kernel(host),
        _architecture(host),
        _btf(host),
        _capabilities(host),
        _lockdown(host),
        _memory(host),
        _jit(host),
        Requirement(
            "unprivileged bpf",
            required=False,
            met=True,
            found=_UNPRIVILEGED_BPF.get(
                -1 if host.unprivileged_bpf is None else host.unprivileged_bpf, "unknown"
            ),
        ),
        _for_prove(host),
        _for_pin(host),
        _for_perf(host),
        _for_connector(host),
    )


def missing_from(kernel_btf: Btf) -> tuple[str, ...]:
    """What the programs hang on and `kernel_btf` does not know."""
    tracepoints = (f"btf_trace_{name}" for name in _TRACEPOINTS)
    return tuple(name for name in (*tracepoints, _ITERATOR) if not kernel_btf.find(name))


def kernel_version(release: str) -> tuple[int, int] | None:
    """(6, 18) of "6.18.44-cloud"; None if the text begins otherwise."""
    begins = re.match(r"(\d{1,6})\.(\d{1,6})", release)
    return (int(begins[1]), int(begins[2])) if begins else None


def _kernel(host: Host) -> Requirement:
    needed = KERNEL_NEEDED_ARM64 if host.machine.lower() in _ARM64 else KERNEL_NEEDED
    version = kernel_version(host.kernel_release)
    wanted = ".".join(map(str, needed))
    return Requirement(
        "kernel",
        required=True,
        met=host.system == "Linux" and version is not None and version >= needed,
        found=f"{host.system} {host.kernel_release} ({wanted} or newer is needed)",
        advice=f"record on Linux {wanted} or newer; captures can be read anywhere",
    )


def _architecture(host: Host) -> Requirement:
    return Requirement(
        "architecture",
        required=True,
        met=machine_is_supported(host.machine),
        found=host.machine,
        advice="record on x86-64 or arm64; captures can be read anywhere",
    )


def _btf(host: Host) -> Requirement:
    if host.btf_bytes is None:
        found, advice = (
            host.btf_problem,
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (all big distributions')",
        )
    elif host.btf_lacks:
        found = f"{VMLINUX_PATH} lacks {', '.join(host.btf_lacks)}"
        advice = "boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_TRACEPOINTS"
    else:
        found, advice = f"{VMLINUX_PATH}, {host.btf_bytes / (1 << 20):.1f} MiB", ""
    met = host.btf_bytes is not None and not host.btf_lacks
    return Requirement("btf", required=True, met=met, found=found, advice=advice)


def _capabilities(host: Host) -> Requirement:
    held = {
        name: _holds(host, number)
        for name, number in (
            ("CAP_BPF", CAP_BPF),
            ("CAP_PERFMON", CAP_PERFMON),
            ("CAP_SYS_ADMIN", CAP_SYS_ADMIN),
        )
    }
    enough = held["CAP_SYS_ADMIN"] or (held["CAP_BPF"] and held["CAP_PERFMON"])
    if enough and not host.user_namespace:
        return Requirement("capabilities", True, True, " ".join(name for name in held if held[name]))
    if host.user_namespace:
        found = "those of a user namespace, which do not count"
        advice = "run it outside of the container, or in one that shares the host's user namespace"
    else:
        lacked = [name for name in ("CAP_BPF", "CAP_PERFMON") if not held[name]]
        found = f"no {' and no '.join(lacked)}"
        advice = "run it as root (sudo linnix-rec record ...), or give it both of CAP_BPF and CAP_PERFMON"
    return Requirement("capabilities", required=True, met=False, found=found, advice=advice)


def _lockdown(host: Host) -> Requirement:
    return Requirement(
        "lockdown",
        required=True,
        met=host.lockdown != "confidentiality",
        found=host.lockdown or "none",
        advice="boot with lockdown=integrity or none: confidentiality forbids programs to read kernel memory",
    )


def _memory(host: Host) -> Requirement:
    limit = host.memory_max_bytes
    return Requirement(
        "memory",
        required=False,
        met=limit is None or limit >= 2 * _RING_BYTES_DEFAULT,
        found="charged to the control group, which has "
        + ("no limit" if limit is None else f"a limit of {limit >> 20} MiB")
        + "; RLIMIT_MEMLOCK does not count since Linux 5.11",
        advice="the ring takes 128 MiB: ask for a smaller one with --ring-slots, or raise memory.max",
    )


def _jit(host: Host) -> Requirement:
    return Requirement(
        "jit",
        required=False,
        met=host.jit != 0,
        found="off" if host.jit == 0 else "on",
        advice="sysctl net.core.bpf_jit_enable=1 makes each event several times cheaper",
    )


def _for_prove(host: Host) -> Requirement:
    held = _holds(host, CAP_SYS_ADMIN)
    return Requirement(
        "--prove",
        required=False,
        met=held,
        found="CAP_SYS_ADMIN" if held else "no CAP_SYS_ADMIN, which the kernel's BPF statistics need",
        advice="run it as root, or give it CAP_SYS_ADMIN too",
    )


def _for_pin(host: Host) -> Requirement:
    name, mount = "--pin", f"mount -t bpf bpf {_BPFFS}"
    if not host.bpffs:
        found, will_mount = "bpffs is not mounted", _holds(host, CAP_SYS_ADMIN)
        return Requirement(
            name, False, will_mount, found + "; record mounts it" * will_mount, f"as root: {mount}"
        )
    if host.bpffs_open:
        return Requirement(name, False, True, f"bpffs in {_BPFFS}")
    advice = f"as root: mkdir {_PINS}, give it to this user, and let them enter {_BPFFS}"
    return Requirement(name, False, False, f"{_BPFFS} may not be written to", advice)


def _for_perf(host: Host) -> Requirement:
    name = "--witness perf"
    if not host.tracefs:
        advice = f"as root: mount -t tracefs tracefs {_TRACEFS}"
        return Requirement(
            name, False, False, "tracefs, which numbers the tracepoints, is not mounted", advice
        )
    if host.tracefs_open:
        return Requirement(name, False, True, f"tracefs in {_TRACEFS}")
    advice = f"run it as root, or let its user read {_TRACEFS}"
    return Requirement(name, False, False, f"{_TRACEFS / _TRACEPOINT_NUMBER} may not be read", advice)


def _for_connector(host: Host) -> Requirement:
    name = "--witness connector"
    if not host.connector:
        found = "no process connector in this network namespace, or not in this kernel"
        advice = "run it in the host's network namespace, on a kernel with CONFIG_PROC_EVENTS"
        return Requirement(name, False, False, found, advice)
    if host.user_namespace or host.pid_namespace:
        found = "the process connector ignores all but the initial user and pid namespaces"
        return Requirement(name, False, False, found, "run it outside of the container")
    privileged = _holds(host, CAP_NET_ADMIN)
    if not privileged and (kernel_version(host.kernel_release) or (0, 0)) < _CONNECTOR_FOR_ALL:
        found = "no CAP_NET_ADMIN, which the process connector needs before Linux 6.6"
        return Requirement(name, False, False, found, "run it as root, or give it CAP_NET_ADMIN too")
    found = "the process connector"
    if not privileged:
        found += "; without CAP_NET_ADMIN its buffer is bounded by net.core.rmem_max"
    return Requirement(name, False, True, found)


def _holds(host: Host, capability: int) -> bool:
    return bool(host.capabilities >> capability & 1)


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    stripped = (text or "").strip()
    return int(stripped) if re.fullmatch(r"-?\d{1,18}", stripped) else None


def _chosen(text: str | None) -> str | None:
    """The word in brackets of "none [integrity] confidentiality"."""
    chosen = re.search(r"\[(\w+)\]", text or "")
    return chosen[1] if chosen else None


def _effective_capabilities(status: str | None) -> int:
    found = re.search(r"^CapEff:\s*([0-9a-fA-F]{1,16})$", status or "", re.MULTILINE)
    return int(found[1], 16) if found else 0


def _in_user_namespace(uid_map: str | None) -> bool:
    return uid_map is not None and " ".join(uid_map.split()) != _INITIAL_USER_NAMESPACE


def _namespace(kind: str) -> int | None:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return None


def _connector_answers() -> bool:
    """Whether a connector takes messages here; the one sent says nothing.

    Only the initial network namespace has one (drivers/connector/connector.c: cn_init()).
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR) as connector:
            connector.sendto(_NOTHING_SAID, (0, 0))
    except (OSError, AttributeError):  # no netlink at all
        return False
    return True


def _memory_max_bytes(cgroup: str | None) -> int | None:
    """The least `memory.max` from our control group (v2) up to the root; None if there is none."""
    own = re.search(r"^0::/(.*)$", cgroup or "", re.MULTILINE)
    if own is None:
        return None
    root = Path("/sys/fs/cgroup")
    folder = root / own[1]
    limits = [
        _number(_text(str(group / "memory.max"))) for group in (folder, *folder.parents) if group != root
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _is_mounted(kind: str, place: Path) -> bool:
    mounts = (_text("/proc/self/mounts") or "").splitlines()
    return any(line.split()[1:3] == [str(place), kind] for line in mounts)
