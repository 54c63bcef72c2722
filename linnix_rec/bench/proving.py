"""How fast and in how much memory a capture is verified: `python -m linnix_rec.bench.proving CAPTURE`.

A process of its own, so that its peak memory is that of verifying. Prints events, CPU seconds and the
peak in bytes, as JSON; fails if the capture is not proven.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import LinnixRecError
from linnix_rec.proof.verify import verify_capture


@dataclass(frozen=True)
class Proving:
    """What one verification took."""

    events: int
    cpu_seconds: float
    peak_bytes: int


def measure_proving(capture: Path) -> Proving:
    """Verify in a fresh process; raises LinnixRecError if that fails."""
    command = [sys.executable, "-m", "linnix_rec.bench.proving", str(capture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LinnixRecError(f"the capture measured is not proven: {(done.stderr or done.stdout).strip()}")
    return Proving(**json.loads(done.stdout))


def _prove(capture: Path) -> int:
    started = time.process_time()
    verdict = verify_capture(open_capture(capture))
    taken = time.process_time() - started
    status = Path("/proc/self/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    events = sum(verdict.events.values())
    json.dump({"events": events, "cpu_seconds": taken, "peak_bytes": peak_kib << 10}, sys.stdout)
    if not verdict.proven:
        broken = [f"{rule.name}: {rule.first}" for rule in verdict.rules if rule.violated]
        sys.stderr.write("; ".join(broken) + "\n")
    return verdict.exit_status()


if __name__ == "__main__":
    sys.exit(_prove(Path(sys.argv[1])))
