"""Too little of something: one clear line, status 125, nothing left behind, and the command not run."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linnix_rec.session.cgroups import cgroup2_mount
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import is_pinned
from tests.kernel.conftest import Read

pytestmark = pytest.mark.kernel

MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")
Limited = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def limited(tmp_path: Path, pin_name: Callable[[], str]) -> Limited:
    """Record a command, pinned, under limits that `prepare` sets in the recorder alone."""
    pin = pin_name()

    def run(*options: str, prepare: Callable[[], None]) -> subprocess.CompletedProcess[str]:
        pinned = ("-o", tmp_path / "a.lrec", "--pin", pin, *options)
        command = ("--", "/bin/touch", tmp_path / "started")
        ended = subprocess.run(
            [sys.executable, "-m", "linnix_rec", "record", *pinned, *command],
            capture_output=True,
            text=True,
            timeout=RECORDING_TIMEOUT_SECONDS,
            check=False,
            preexec_fn=prepare,
        )
        assert not is_pinned(pin)
        assert not is_pinned(f"{pin}~"), "half pinned"
        return ended

    return run


def assert_refused(ended: subprocess.CompletedProcess[str], room: Path, why: str) -> None:
    assert ended.returncode == 125, ended.stderr
    assert ended.stderr.startswith("linnix-rec: error: ")
    assert why in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (room / "a.lrec").exists()
    assert not (room / "started").exists()


def limit(what: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (value, value))


@pytest.mark.parametrize("descriptors", range(5, 45, 2))
def test_too_few_descriptors_are_told_or_are_enough(
    limited: Limited, proven: Callable[[Path], Read], tmp_path: Path, descriptors: int
) -> None:
    ended = limited("--ring-slots", "4096", prepare=limit(resource.RLIMIT_NOFILE, descriptors))
    if ended.returncode == 0:
        assert proven(tmp_path / "a.lrec").of("exec")[0]["filename"] == "/bin/touch"
        assert (tmp_path / "started").exists()
    else:
        assert_refused(ended, tmp_path, "Too many open files")


def test_a_ring_larger_than_the_address_space_is_refused(limited: Limited, tmp_path: Path) -> None:
    """2^24 slots are 2 GiB, to be mapped."""
    ended = limited("--ring-slots", str(1 << 24), prepare=limit(resource.RLIMIT_AS, 3 << 30))
    assert_refused(ended, tmp_path, "memory")


def test_a_ring_larger_than_all_memory_is_refused(limited: Limited, tmp_path: Path) -> None:
    """2^31 slots are 256 GiB."""
    ended = limited("--ring-slots", str(1 << 31), prepare=lambda: None)
    assert_refused(ended, tmp_path, "ring (2147483648 x 128 bytes): Cannot allocate memory")
    assert "ask for a smaller one by --ring-slots" in ended.stderr


def memory_hierarchy() -> tuple[Path, str] | None:
    """Where groups of limited memory are made, and the name of the limit; of version 1, or else of 2."""
    if MEMORY_CGROUPS.joinpath("memory.limit_in_bytes").exists():
        return MEMORY_CGROUPS, "memory.limit_in_bytes"
    mount = cgroup2_mount()
    if mount is None or "memory" not in Path(mount, "cgroup.controllers").read_text().split():
        return None
    Path(mount, "cgroup.subtree_control").write_text("+memory")
    return Path(mount), "memory.max"


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """A control group that may use 100 MiB, kernel memory included."""
    hierarchy = memory_hierarchy()
    if hierarchy is None:
        pytest.skip("no control groups limit memory here")
    top, limit_name = hierarchy
    group = top / f"linnix-rec-{os.getpid()}"
    group.mkdir()
    (group / limit_name).write_text(str(100 << 20))
    yield group
    group.rmdir()


def test_a_ring_larger_than_its_control_group_s_memory_is_refused(
    limited: Limited, memory_cgroup: Path, tmp_path: Path
) -> None:
    """2^20 slots are 128 MiB; BPF memory is charged to whoever makes the map (Linux 5.11)."""

    def enter() -> None:
        (memory_cgroup / "cgroup.procs").write_text(str(os.getpid()))

    ended = limited("--ring-slots", str(1 << 20), prepare=enter)
    assert_refused(ended, tmp_path, "ring (1048576 x 128 bytes): Cannot allocate memory")
