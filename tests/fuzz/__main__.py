"""Fuzzes the readers of whatever comes from another machine: `make fuzz`, or python -m tests.fuzz.

Splits the inputs over the targets by their shares, runs two processes at a time (tests/fuzz/worker.py),
starts again behind a finding, and keeps its input with how to replay it. At the end it prints what was run,
and the line coverage of the readers over all inputs that libFuzzer kept for having reached something new.
Ends with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.targets import CHECKOUT, TARGETS

PROCESSES = 2
INPUTS_OF_PROCESS = 50_000
FINDINGS_OF_PROCESS = 5
HANG_SECONDS = 20
_NOISE = ("INFO:", "WARNING:", "stat::")


@dataclass(frozen=True)
class Part:
    """What one process is to run."""

    target: str
    inputs: int
    seed: int


@dataclass
class Outcome:
    """What came of a part. `peak_bytes` is that of the process, atheris and its corpus included."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    findings: list[str] = field(default_factory=list)


def parts(inputs: int, seed: int) -> list[Part]:
    """Split the inputs over the targets, and these over processes."""
    found = []
    for number, (name, target) in enumerate(TARGETS.items()):
        left = inputs * target.share // 100
        while left > 0:
            found.append(Part(name, min(left, INPUTS_OF_PROCESS), seed + 1000 * number + len(found)))
            left -= INPUTS_OF_PROCESS
    return found


def run_part(part: Part, work: Path, findings: Path) -> Outcome:
    """Run one part to its end, across findings."""
    outcome = Outcome(part.target)
    room = Path(tempfile.mkdtemp(prefix=f"{part.target}-", dir=work))
    corpus = room / "corpus"
    corpus.mkdir()
    attempt = 0
    started = time.monotonic()
    while outcome.inputs < part.inputs and len(outcome.findings) < FINDINGS_OF_PROCESS:
        command = [
            *(sys.executable, "-m", "tests.fuzz.worker", part.target, str(room)),
            *(f"-runs={part.inputs - outcome.inputs}", f"-seed={part.seed + 100_000 * attempt + 1}"),
            *(f"-timeout={HANG_SECONDS}", "-rss_limit_mb=0", "-print_final_stats=1", "-verbosity=0"),
            *(f"-artifact_prefix={findings}/{part.target}-", str(corpus)),
        ]
        ended = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            cwd=CHECKOUT,
        )
        attempt += 1
        _count(outcome, ended.stdout, room)
        if ended.returncode:
            outcome.findings.append(_told(part.target, ended))
    outcome.seconds = time.monotonic() - started
    found = len(outcome.findings)
    print(
        f"  {part.target}: {outcome.inputs:,} inputs in {outcome.seconds:,.0f} s, {found} findings",
        flush=True,
    )
    return outcome


def _count(outcome: Outcome, said: str, room: Path) -> None:
    executed = re.search(r"number_of_executed_units: (\d+)", said)
    peak = re.search(r"peak_rss_mb: +(\d+)", said)
    outcome.inputs += int(executed[1]) if executed else 1
    outcome.peak_bytes = max(outcome.peak_bytes, int(peak[1]) << 20 if peak else 0)
    statistics = room / "statistics.json"
    if statistics.exists():
        outcome.slowest_s = max(outcome.slowest_s, json.loads(statistics.read_text())["slowest_s"])


def _told(target: str, ended: subprocess.CompletedProcess[str]) -> str:
    """Where the input is, how to run it again, and the last that the process said."""
    kept = re.search(r"Test unit written to (\S+)", ended.stdout)
    where = (
        f"replay: python -m tests.fuzz.worker {target} $(mktemp -d) {kept[1]}" if kept else "no input kept"
    )
    said = [line for line in ended.stdout.splitlines() if not line.startswith(_NOISE)]
    return "\n".join(
        [f"{target} ended with {ended.returncode}; {where}", *("    " + line for line in said[-25:])]
    )


def table(outcomes: list[Outcome], seconds: float) -> list[str]:
    """What was run, a line a target and one for all."""
    lines = [f"{'reader':<12}{'inputs':>10}{'inputs/s':>10}{'slowest':>11}{'peak':>9}{'findings':>10}"]
    for name in [*TARGETS, "all"]:
        chosen = [outcome for outcome in outcomes if name in (outcome.target, "all")]
        inputs = sum(outcome.inputs for outcome in chosen)
        taken = seconds if name == "all" else sum(outcome.seconds for outcome in chosen)
        slowest_ms = 1000 * max((outcome.slowest_s for outcome in chosen), default=0)
        peak_mib = max((outcome.peak_bytes for outcome in chosen), default=0) >> 20
        findings = sum(len(outcome.findings) for outcome in chosen)
        lines.append(
            f"{name:<12}{inputs:>10,}{inputs / max(taken, 1e-9):>10,.0f}{slowest_ms:>8.0f} ms"
            f"{peak_mib:>5} MiB{findings:>10}"
        )
    return lines


def main() -> int:
    """Fuzz; 1 if anything was found."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the readers.")
    options.add_argument("--inputs", type=int, default=20_000, help="in all (default: 20000)")
    options.add_argument("--seed", type=int, default=1, help="same seed, same inputs (default: 1)")
    options.add_argument("--findings", type=Path, default=Path("build/fuzz"), help="where findings are kept")
    chosen = options.parse_args()
    missing = [name for name in ("atheris", "coverage") if find_spec(name) is None]
    if missing:
        print(f"error: {' and '.join(missing)} can't be imported: pip install '.[dev]'", file=sys.stderr)
        return 2
    findings = chosen.findings.resolve()
    findings.mkdir(parents=True, exist_ok=True)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    work = Path(tempfile.mkdtemp(prefix="linnix-rec-fuzz-", dir=memory))
    print(
        f"{chosen.inputs:,} inputs, seed {chosen.seed}, {PROCESSES} processes; findings go to {findings}",
        flush=True,
    )
    started = time.monotonic()
    try:
        with ThreadPoolExecutor(PROCESSES) as pool:
            outcomes = list(
                pool.map(lambda part: run_part(part, work, findings), parts(chosen.inputs, chosen.seed))
            )
        print("\n".join(table(outcomes, time.monotonic() - started)), flush=True)
        subprocess.run([sys.executable, "-m", "tests.fuzz.coverage_of", str(work)], check=True, cwd=CHECKOUT)
    finally:
        shutil.rmtree(work)
    found = [finding for outcome in outcomes for finding in outcome.findings]
    print("\n".join(found) if found else "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
