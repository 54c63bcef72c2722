"""The doctor's judgement of hosts: each lack is named, and what to do about it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.bpf import host as host_module
from linnix_rec.bpf.host import (
    CAP_BPF,
    CAP_NET_ADMIN,
    CAP_PERFMON,
    CAP_SYS_ADMIN,
    Host,
    Requirement,
    kernel_version,
    missing_from,
    requirements,
)
from tests.bpf.btf_builder import BtfBuilder

LEAST = 1 << CAP_BPF | 1 << CAP_PERFMON

GOOD = Host(
    system="Linux",
    kernel_release="6.1.0-13-amd64",
    machine="x86_64",
    btf_bytes=5 << 20,
    btf_lacks=(),
    btf_problem="",
    capabilities=LEAST | 1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN,
    user_namespace=False,
    lockdown="none",
    jit=1,
    unprivileged_bpf=2,
    memory_max_bytes=None,
    bpffs=True,
    bpffs_open=True,
    tracefs=True,
    tracefs_open=True,
    pid_namespace=False,
    connector=True,
)


def unmet(host: Host) -> dict[str, Requirement]:
    return {line.name: line for line in requirements(host) if not line.met}


def test_a_good_host_lacks_nothing() -> None:
    assert unmet(GOOD) == {}
    assert len(requirements(GOOD)) == 12


@pytest.mark.parametrize(
    ("change", "name", "found", "advice"),
    [
        ({"kernel_release": "5.14.0"}, "kernel", "5.14.0", "Linux 5.15 or newer"),
        ({"kernel_release": "strange"}, "kernel", "strange", "5.15"),
        ({"machine": "aarch64", "kernel_release": "5.17.9"}, "kernel", "5.18 or newer is needed", "5.18"),
        ({"system": "Darwin", "kernel_release": "23.1.0"}, "kernel", "Darwin", "captures can be read"),
        ({"machine": "riscv64"}, "architecture", "riscv64", "x86-64 or arm64"),
        ({"btf_bytes": None, "btf_problem": "not there"}, "btf", "not there", "CONFIG_DEBUG_INFO_BTF"),
        ({"btf_lacks": ("bpf_iter_task",)}, "btf", "lacks bpf_iter_task", "CONFIG_BPF_EVENTS"),
        ({"capabilities": 0}, "capabilities", "no CAP_BPF and no CAP_PERFMON", "sudo"),
        ({"capabilities": 1 << CAP_BPF}, "capabilities", "no CAP_PERFMON", "CAP_PERFMON"),
        ({"user_namespace": True}, "capabilities", "user namespace", "outside of the container"),
        ({"lockdown": "confidentiality"}, "lockdown", "confidentiality", "lockdown=integrity"),
    ],
)
def test_what_recording_cannot_do_without(
    change: dict[str, object], name: str, found: str, advice: str
) -> None:
    lacking = {name: line for name, line in unmet(replace(GOOD, **change)).items() if line.required}  # type: ignore[arg-type]
    assert list(lacking) == [name]
    assert found in lacking[name].found
    assert advice in lacking[name].advice


@pytest.mark.parametrize(
    ("change", "name", "advice"),
    [
        ({"memory_max_bytes": 64 << 20}, "memory", "--ring-slots"),
        ({"jit": 0}, "jit", "bpf_jit_enable"),
        ({"bpffs_open": False}, "--pin", "as root: mkdir /sys/fs/bpf/linnix-rec"),
        ({"tracefs": False, "tracefs_open": False}, "--witness perf", "mount -t tracefs"),
        ({"tracefs_open": False}, "--witness perf", "let its user read /sys/kernel/tracing"),
        ({"connector": False}, "--witness connector", "network namespace"),
        ({"pid_namespace": True}, "--witness connector", "outside of the container"),
    ],
)
def test_what_recording_can_do_without(change: dict[str, object], name: str, advice: str) -> None:
    lacking = unmet(replace(GOOD, **change))  # type: ignore[arg-type]
    assert list(lacking) == [name]
    assert not lacking[name].required
    assert advice in lacking[name].advice


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({}, {"--prove"}),
        ({"bpffs": False, "bpffs_open": False}, {"--prove", "--pin"}),
        ({"kernel_release": "6.5.0"}, {"--prove", "--witness connector"}),
        ({"kernel_release": "6.6.0"}, {"--prove"}),
        ({"kernel_release": "6.5.0", "capabilities": LEAST | 1 << CAP_NET_ADMIN}, {"--prove"}),
        ({"capabilities": LEAST | 1 << CAP_SYS_ADMIN, "bpffs": False}, set()),
    ],
)
def test_what_each_option_needs_beyond_cap_bpf_and_cap_perfmon(
    change: dict[str, object], lacking: set[str]
) -> None:
    least = {"kernel_release": "6.18.0", "capabilities": LEAST}
    without = unmet(replace(GOOD, **(least | change)))  # type: ignore[arg-type]
    assert without.keys() == lacking
    assert not any(line.required for line in without.values())
    assert all(line.advice for line in without.values())


@pytest.mark.parametrize(
    "enough",
    [
        {"capabilities": 1 << CAP_SYS_ADMIN},
        {"machine": "aarch64", "kernel_release": "5.18.0"},
        {"kernel_release": "5.15"},
        {"lockdown": "integrity"},
        {"lockdown": None},
        {"jit": None},
        {"unprivileged_bpf": None},
        {"memory_max_bytes": 1 << 30},
    ],
)
def test_what_is_enough(enough: dict[str, object]) -> None:
    lacking = unmet(replace(GOOD, **enough)).values()  # type: ignore[arg-type]
    assert not any(line.required or not line.name.startswith("--") for line in lacking)


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.44-fc-v669", (6, 18)),
        ("5.15", (5, 15)),
        ("10.0.1", (10, 0)),
        ("6", None),
        ("", None),
        ("v6.1", None),
    ],
)
def test_a_release_begins_with_its_version(release: str, version: tuple[int, int] | None) -> None:
    assert kernel_version(release) == version


def test_attach_points_are_looked_up_in_btf() -> None:
    b = BtfBuilder()
    for name in ("task_newtask", "sched_process_exec"):
        b.tracepoint(name, 2)
    b.function("bpf_iter_task", b.prototype(0))
    assert missing_from(b.btf()) == ("btf_trace_sched_process_exit",)


@given(st.text(max_size=200))
def test_odd_kernel_files_break_nothing(text: str) -> None:
    assert host_module._effective_capabilities(text) >= 0
    assert host_module._in_user_namespace(text) in (True, False)
    assert host_module._chosen(text) is None or "[" in text
    assert host_module._number(text) is None or text.strip().lstrip("-").isdigit()
    kernel_version(text)


def test_kernel_files_are_read_as_the_kernel_writes_them() -> None:
    assert (
        host_module._effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n")
        == (1 << 41) - 1
    )
    assert not host_module._in_user_namespace("         0          0 4294967295\n")
    assert host_module._in_user_namespace("         0     100000      65536\n")
    assert host_module._chosen("none [integrity] confidentiality\n") == "integrity"


@pytest.mark.kernel
def test_this_host_can_record() -> None:
    from linnix_rec.bpf.btf import read_vmlinux

    facts = host_module.read_host(read_vmlinux())
    assert facts.btf_lacks == ()
    assert {line.name for line in requirements(facts) if line.required and not line.met} == set()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("namespace", "connector", "pid_namespace"),
    [("--ipc", True, False), ("--net", False, False), ("--pid", True, True)],
)
def test_namespaces_other_than_the_initial_are_noticed(
    namespace: str, connector: bool, pid_namespace: bool
) -> None:
    script = (
        "from linnix_rec.bpf.host import read_host; host = read_host(None);"
        "print(host.connector, host.pid_namespace)"
    )
    shown = subprocess.check_output(["unshare", "--fork", namespace, sys.executable, "-c", script], text=True)
    assert shown.split() == [str(connector), str(pid_namespace)]
