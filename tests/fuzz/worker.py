"""One fuzzing process: atheris (libFuzzer) runs one target so many times. Started by `python -m tests.fuzz`.

    python -m tests.fuzz.worker TARGET WORK-DIRECTORY [libFuzzer's options, a corpus, or a file to replay]

libFuzzer chooses inputs by the coverage of our readers; the target's own mutations keep the inputs beyond
the first checks. A run may take one second of CPU time, and the process PEAK_BYTES: what goes beyond is a
finding like an exception is. libFuzzer keeps the input, and that of a native crash.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["linnix_rec"]):
    from linnix_rec.errors import LinnixRecError
    from tests.fuzz.targets import TARGETS

SECONDS = 1.0
PEAK_BYTES = 500 << 20
#: Beyond what the process has mapped when it begins: an allocation that a limit should have refused fails.
ADDRESS_SPACE_BYTES = 2 << 30
STATISTICS_NAME = "statistics.json"
SEED_DIRECTORY = "seeds"


class FoundError(Exception):
    """What is found although nothing was raised: a run that took too long or too much."""


class Runner:
    """Runs inputs, and notes the slowest and the peak."""

    def __init__(self, name: str, work: Path) -> None:
        self._read = TARGETS[name].read
        self._work = work
        self._slowest_s = 0.0
        self._statistics = work / STATISTICS_NAME

    def __call__(self, raw: bytes) -> None:
        """Read one input; raises whatever is a finding."""
        started = time.process_time()
        try:
            self._read(raw, self._work)
        except LinnixRecError as error:
            if _is_refused_memory(error):
                raise FoundError("an allocation was refused, not the input") from error
        taken_s = time.process_time() - started
        if taken_s > self._slowest_s:
            self._slowest_s = taken_s
            self._note()
        if taken_s > SECONDS:
            raise FoundError(f"it took {taken_s:.2f} s of CPU time")
        if peak_bytes() > PEAK_BYTES:
            raise FoundError(f"it took {peak_bytes() >> 20} MiB")

    def _note(self) -> None:
        self._statistics.write_text(json.dumps({"slowest_s": self._slowest_s}))


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _is_refused_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def main(name: str, work: Path, options: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    seeds = work / SEED_DIRECTORY
    seeds.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds(work)):
        (seeds / f"seed-{number}").write_bytes(seed)

    def mutated(raw: bytes, longest: int, seed: int) -> bytes:
        try:
            return target.mutated(raw, Random(seed), atheris.Mutate)[:longest]
        except Exception:  # what earlier changes have made of an input may have no structure left
            return bytes(atheris.Mutate(raw, longest))

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE_BYTES,) * 2)
    arguments = [sys.argv[0], f"-max_len={target.longest_bytes}", "-mutate_depth=1", *options]
    if not any(Path(option).is_file() for option in options):
        arguments.append(str(seeds))
    atheris.Setup(arguments, Runner(name, work), custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
