"""Whole recordings as a user starts them: what they take, and what they cost the recorded. Reads no event."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linnix_rec.errors import LinnixRecError

STORM: Final = ("stress-ng", "--quiet", "--fork", "2", "--fork-ops", "20000")

_RECORD: Final = (sys.executable, "-m", "linnix_rec", "record", "-q", "--force")
# The storm's own time, without the recorder's start and end.
_TIMED: Final = ("sh", "-c", 'date +%s%N; "$@"; date +%s%N', "sh")
_BEGIN_SECONDS: Final = 30.0
_MAPPING: Final = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)$")


def record_true_seconds(directory: Path) -> float:
    """Wall time of `record -- true`, the whole process."""
    started = time.monotonic()
    subprocess.run([*_RECORD, "-o", str(directory / "true.lrec"), "--", "true"], check=True)
    return time.monotonic() - started


def record_storm(capture: Path) -> None:
    """Record a fork storm as a command into a new capture. Raises LinnixRecError."""
    if shutil.which(STORM[0]) is None:
        raise LinnixRecError(f"{STORM[0]} is not there to make a storm: install it, or name a CAPTURE")
    done = subprocess.run(
        [*_RECORD, "-o", str(capture), "--", *STORM], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise LinnixRecError(f"a storm could not be recorded: {done.stderr.strip()}")


def storm_seconds(before: Sequence[str] = ()) -> float:
    """Wall time of the fork storm, started by the command `before` if that is given."""
    done = subprocess.run([*before, *_TIMED, *STORM], stdout=subprocess.PIPE, text=True, check=True)
    started, ended = (int(line) for line in done.stdout.split())
    return (ended - started) / 1e9


#: What counts beside a recording, each by its figure.
EVIDENCE: Final = {
    "prove": ("--prove",),
    "witness perf": ("--witness", "perf"),
    "witness connector": ("--witness", "connector"),
}


@dataclass(frozen=True)
class StormRound:
    """One storm each: unrecorded, recorded as a command, beside a recording of the host; seconds.

    evidence_s: recorded as a command, with what is in EVIDENCE
    """

    alone_s: float
    tree_s: float
    host_s: float
    private_bytes: int
    evidence_s: Mapping[str, float]


def storm_round(directory: Path) -> StormRound:
    """Run them all; `private_bytes` is the host recorder's when its storm ends."""
    alone = storm_seconds()
    tree = storm_seconds([*_RECORD, "-o", str(directory / "tree.lrec"), "--"])
    evidence = {
        name: storm_seconds([*_RECORD, *options, "-o", str(directory / "evidence.lrec"), "--"])
        for name, options in EVIDENCE.items()
    }
    with _recorded_host(directory / "host.lrec") as recorder:
        host = storm_seconds()
        private = private_bytes(Path(f"/proc/{recorder.pid}/smaps").read_text())
    return StormRound(alone, tree, host, private, evidence)


def private_bytes(smaps: str) -> int:
    """Sum the private memory of all mappings but BPF maps, the ring among them; proc_pid_smaps(5)."""
    total, counted = 0, False
    for line in smaps.splitlines():
        mapping = _MAPPING.match(line)
        if mapping:
            counted = "bpf-map" not in mapping[1]
        elif counted and line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) << 10
    return total


@contextmanager
def _recorded_host(output: Path) -> Iterator[subprocess.Popen[bytes]]:
    shutil.rmtree(output, ignore_errors=True)
    recorder = subprocess.Popen([*_RECORD, "-a", "-o", str(output)])
    try:
        give_up = time.monotonic() + _BEGIN_SECONDS
        while not (output / "capture.json").exists():
            if recorder.poll() is not None or time.monotonic() > give_up:
                raise LinnixRecError("the recorder did not begin")
            time.sleep(0.01)
        yield recorder
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
