"""The kernel tests inside a guest, as many as the host collects. Knows pytest's options, and no kernel."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

from tests.conftest import compile_programs
from tests.lab.guest import Ending, Order, run_guests
from tests.lab.kernels import Kernel, UnavailableError
from tests.lab.results import Results, Run, differences, node_ids, read_junit

CHECKOUT = Path(__file__).resolve().parents[2]
# An emulated CPU takes some 20 times as long, and longer when the host has other work.
PATIENCE = 20
TEST_SECONDS = 120 * PATIENCE
# The host's words for which tests there are, which a guest must hear too.
CHOOSING = ("LINNIX_REC_FAULTS", "LINNIX_REC_KILLS")
KERNEL_TESTS = ("-m", "kernel", "-p", "no:cacheprovider")


class NothingToRunError(Exception):
    """The arguments for pytest choose no kernel test, or none that can be collected."""


@dataclass(frozen=True)
class Suite:
    """Which tests run in each guest, by pytest's words, and how long a guest may take."""

    arguments: tuple[str, ...]
    programs: Path
    cpus: int
    limit_seconds: float


def collect(arguments: Sequence[str]) -> list[str]:
    """The tests that the host would run, by their node ids. Raises `NothingToRunError`."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *KERNEL_TESTS, *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)
    collected = node_ids(done.stdout)
    if done.returncode or not collected:
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
        raise NothingToRunError(f"pytest collects no kernel test of {shlex.join(arguments)}: {said[-1]}")
    return collected


def provide_programs(cache: Path) -> Path:
    """Compile tests/programs here, where that takes a second and not minutes. Raises `UnavailableError`."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UnavailableError("no C compiler for tests/programs; on Debian: apt-get install gcc libc6-dev")
    built = cache / "programs"
    built.mkdir(parents=True, exist_ok=True)
    compile_programs(compiler, built)
    return built


def guest_command(arguments: Sequence[str], programs: Path) -> str:
    """The tests as a shell command for a guest; the report and what pytest says go to the shared room."""
    pytest = [
        *(sys.executable, "-m", "pytest", "-v", "--color=no", "-p", "tests.lab.failures", *KERNEL_TESTS),
        *("-o", f"timeout={TEST_SECONDS}", "--junitxml=/run/lab/junit.xml", *arguments),
    ]
    variables = {
        **{name: value for name in CHOOSING if (value := os.environ.get(name)) is not None},
        "LINNIX_REC_REQUIRE_KERNEL": "1",
        "LINNIX_REC_PATIENCE": str(PATIENCE),
        "LINNIX_REC_PROGRAMS": str(programs),
    }
    return f"""\
cd {shlex.quote(str(CHECKOUT))}
export {shlex.join(f"{name}={value}" for name, value in variables.items())}
export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"
exec {shlex.join(pytest)} >/run/lab/tests 2>&1
"""


def run_suite(
    kernels: Mapping[str, Kernel], suite: Suite, host: Sequence[str], rooms: Mapping[str, Path], virtme: Path
) -> list[Run]:
    """Boot all kernels at once, run the tests in each, and judge what came of them."""
    command = guest_command(suite.arguments, suite.programs)
    orders = [
        Order(kernel, suite.cpus, command, rooms[series], suite.limit_seconds)
        for series, kernel in kernels.items()
    ]
    runs = []
    for order, ended in zip(orders, run_guests(orders, virtme), strict=True):
        results, complaints = judge(ended, order.room, host)
        runs.append(Run(order.kernel.release, suite.cpus, len(host), results, ended.seconds, complaints))
    return runs


def judge(ended: Ending, room: Path, host: Sequence[str]) -> tuple[Results, tuple[str, ...]]:
    """Read a guest's report; whatever is missing beside it is a complaint."""
    complaints: list[str] = []
    if ended.status is None:
        complaints.append(f"the guest {ended.complaint}; its console's last lines:\n{_indented(ended.tail)}")
    if ended.status not in (0, 1):
        complaints.append(f"pytest's last lines:\n{_indented(_last_lines(room / 'tests'))}")
    report = room / "junit.xml"
    try:
        results = read_junit(report.read_text()) if report.exists() else Results()
    except ParseError as broken:
        results = Results()
        complaints.append(f"its report is cut short: {broken}")
    return results, (*complaints, *differences(host, results.ran))


def _last_lines(log: Path, lines: int = 5) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(none)"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
