"""What a host must have for recording, and what this one has; knows no events.

`read_host` looks, `requirements` judges: the second is pure, so that any host can be put before it.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from linnix_rec.bpf.btf import VMLINUX_PATH, Btf
from linnix_rec.bpf.syscall import machine_is_supported

KERNEL_NEEDED = (5, 15)
KERNEL_NEEDED_ARM64 = (5, 18)  # before, its JIT has no fetching atomics
_ARM64 = frozenset({"aarch64", "arm64"})
_INITIAL_USER_NAMESPACE = "0 0 4294967295"
_RING_BYTES_DEFAULT = 128 << 20
_TRACEPOINTS = ("task_newtask", "sched_process_exec", "sched_process_exit")
_ITERATOR = "bpf_iter_task"

# Numbers of include/uapi/linux/capability.h
CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39

_UNPRIVILEGED_BPF = {0: "allowed", 1: "refused until the next boot", 2: "refused"}


@dataclass(frozen=True)
class Host:
    """Facts about a host; None where one could not be had.

    `capabilities` is the effective set as a mask; `memory_max_bytes` the least limit of our control groups.
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
    tracefs: bool


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
        bpffs=_is_mounted("bpf"),
        tracefs=_is_mounted("tracefs"),
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
        _mount("bpffs", host.bpffs, "mount -t bpf bpf /sys/fs/bpf"),
        _mount("tracefs", host.tracefs, "mount -t tracefs tracefs /sys/kernel/tracing"),
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
        name: bool(host.capabilities >> number & 1)
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


def _mount(name: str, mounted: bool, command: str) -> Requirement:
    found = "mounted" if mounted else "not mounted"
    return Requirement(name, False, mounted, f"{found} (recording does not need it)", command)


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


def _is_mounted(kind: str) -> bool:
    mounts = (_text("/proc/self/mounts") or "").splitlines()
    return any(line.split()[2:3] == [kind] for line in mounts)
