"""What came of the tests in a guest, held against what the host collected. Knows JUnit XML and no guest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Results:
    """Tests by outcome, each named as pytest does, and why it failed or was skipped."""

    passed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def ran(self) -> tuple[str, ...]:
        """Names of all tests that passed or failed; a skipped one did not run."""
        return (*self.passed, *(name for name, _ in self.failed))


def read_junit(text: str) -> Results:
    """Sort the cases of a JUnit report that pytest wrote. Raises `ParseError` if it was cut short."""
    passed: list[str] = []
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for case in ET.fromstring(text).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        name = f"{case.get('classname')}::{case.get('name')}"
        broken = next((part for kind in ("failure", "error") for part in case.findall(kind)), None)
        left_out = case.find("skipped")
        if broken is not None:
            failed[name] = broken.get("message", "")
        elif left_out is not None:
            skipped[name] = left_out.get("message", "")
        else:
            passed.append(name)
    return Results(
        tuple(name for name in passed if name not in failed), tuple(failed.items()), tuple(skipped.items())
    )


def module_of(test: str) -> str:
    """The module of a test, as in "tests.bpf.test_btf", from its node id or its name in a report."""
    return test.partition("::")[0].removesuffix(".py").replace("/", ".")


def differences(host: Sequence[str], guest: Sequence[str]) -> list[str]:
    """The modules of which another number of tests ran than the host collected."""
    collected = Counter(module_of(test) for test in host)
    ran = Counter(module_of(test) for test in guest)
    return [
        f"{module}: {ran[module]} of the host's {collected[module]} tests ran"
        for module in sorted(collected | ran)
        if collected[module] != ran[module]
    ]


def node_ids(collected: str) -> list[str]:
    """The node ids in what `pytest --collect-only -q` printed."""
    return [line for line in collected.splitlines() if ".py::" in line]


@dataclass(frozen=True)
class Run:
    """A guest's row. `complaints` say what is wrong beside failed tests; one makes the run a failure."""

    kernel: str
    cpus: int
    on_host: int
    results: Results
    seconds: float
    complaints: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.results.failed and not self.complaints


COLUMNS = ("kernel", "CPUs", "on the host", "in the guest", "passed", "failed", "skipped", "took")


def table(runs: Sequence[Run]) -> str:
    """All runs, a row each, aligned."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for run in runs:
        ran = run.results
        counts = (run.on_host, len(ran.ran), len(ran.passed), len(ran.failed), len(ran.skipped))
        rows.append((run.kernel, str(run.cpus), *(str(count) for count in counts), took(run.seconds)))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns: the first to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def took(seconds: float) -> str:
    """`75` is "1:15"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def told(run: Run) -> list[str]:
    """What a row can't say: the failed and the skipped by name, and the complaints."""
    lines = [f"  FAILED {name}: {_first_line(why)}" for name, why in run.results.failed]
    lines += [f"  skipped {name}: {_first_line(why)}" for name, why in run.results.skipped]
    lines += [f"  {complaint}" for complaint in run.complaints]
    return [f"{run.kernel}:", *lines] if lines else []


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
