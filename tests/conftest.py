"""What all tests share: when kernel tests run, the small C programs, and one way to record a command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing: a busy host's took 439 ms.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

PROGRAMS = Path(__file__).parent / "programs"
BTF = Path("/sys/kernel/btf/vmlinux")
REQUIRE_KERNEL = os.environ.get("LINNIX_REC_REQUIRE_KERNEL") == "1"

# How many times longer than usual whatever is waited for may take: an emulated CPU is slow (`make lab`).
PATIENCE = float(os.environ.get("LINNIX_REC_PATIENCE", "1"))
RECORDING_TIMEOUT_SECONDS = 60 * PATIENCE


def missing_for_kernel_tests() -> str | None:
    """What keeps kernel tests from running here, or None."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if os.geteuid() != 0:
        return "this is not root"
    if not os.access(BTF, os.R_OK):
        return f"{BTF} is missing"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = missing_for_kernel_tests()
    if missing is None or REQUIRE_KERNEL:
        return
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(pytest.mark.skip(reason=f"kernel test: {missing}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = missing_for_kernel_tests()
    if missing is not None and REQUIRE_KERNEL and item.get_closest_marker("kernel"):
        pytest.fail(f"LINNIX_REC_REQUIRE_KERNEL=1, but {missing}", pytrace=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with every `tests/programs/*.c`, compiled once and named without its `.c`.

    LINNIX_REC_PROGRAMS names one where they are compiled already.
    """
    if "LINNIX_REC_PROGRAMS" in os.environ:
        return Path(os.environ["LINNIX_REC_PROGRAMS"])
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        if REQUIRE_KERNEL:
            pytest.fail("LINNIX_REC_REQUIRE_KERNEL=1, but there is no C compiler", pytrace=False)
        pytest.skip("no C compiler for tests/programs")
    built = tmp_path_factory.mktemp("programs")
    compile_programs(compiler, built)
    return built


def compile_programs(compiler: str, built: Path) -> None:
    """Compile them into a directory."""
    for source in sorted(PROGRAMS.glob("*.c")):
        subprocess.run(
            [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", built / source.stem, source],
            check=True,
        )


@dataclass(frozen=True)
class Recording:
    """One finished `linnix-rec record`: its exit status (-N is death by signal N), capture and output."""

    status: int
    capture: Path
    stdout: str
    stderr: str


Record = Callable[..., Recording]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Record a command in a process of its own: `record("sh", "-c", "exit 7", options=["--wait"])`.

    A string that is the command's first and names no directory is looked up in PATH by the recorder.
    """
    made = 0

    def run(
        *command: str | Path,
        options: Sequence[str | Path] = (),
        timeout_seconds: float = RECORDING_TIMEOUT_SECONDS,
    ) -> Recording:
        nonlocal made
        made += 1
        capture = tmp_path / f"recorded-{made}.lrec"
        arguments = ["record", "-o", capture, *options]
        ended = run_linnix_rec(
            *arguments, *(["--", *command] if command else []), timeout_seconds=timeout_seconds
        )
        return Recording(ended.returncode, capture, ended.stdout, ended.stderr)

    return run


LinnixRec = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def linnix_rec() -> LinnixRec:
    """Run the program to its end in a process of its own: `linnix_rec("verify", capture).returncode`."""
    return run_linnix_rec


def run_linnix_rec(
    *arguments: str | Path, timeout_seconds: float = RECORDING_TIMEOUT_SECONDS, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `linnix-rec` with this interpreter, by its absolute path: a shim would add execs of its own."""
    return subprocess.run(
        [sys.executable, "-m", "linnix_rec", *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=timeout_seconds,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")},
    )
