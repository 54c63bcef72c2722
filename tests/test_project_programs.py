"""The C programs do what they say, before anything records them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RECORDING_TIMEOUT_SECONDS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="programs for Linux")

REFUSED_BY_THIS_KERNEL = 77


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=RECORDING_TIMEOUT_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("takeover", 0),
        ("takeover_fails", 0),
        ("leader_first", 3),
        ("vforker", 0),
        ("vfork_storm", 0),
        ("posix_spawner", 0),
        ("clone_parent", 0),
        ("thread_storm", 0),
        ("odd_names", 0),
        ("orphan", 0),
    ],
)
def test_program_ends_as_it_says(programs: Path, name: str, status: int) -> None:
    ended = run(programs / name)
    assert ended.returncode == status, ended.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["uring_worker", "pid_reuse"])
def test_privileged_program_ends_as_it_says(programs: Path, name: str) -> None:
    ended = run(programs / name)
    if ended.returncode == REFUSED_BY_THIS_KERNEL and os.environ.get("LINNIX_REC_REQUIRE_KERNEL") != "1":
        pytest.skip(f"refused by this kernel: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr
