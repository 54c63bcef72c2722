"""A host at its usual work: `python -m linnix_rec.bench.typical`. Some hundred events a second, evenly.

Each program that it runs is born, executes and ends: three events. It knows no recorder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence

EVENTS_PER_PROGRAM = 3
#: As in the reference document's proof: listing, finding, looking at processes, hashing.
PROGRAMS = (
    ("ls", "/"),
    ("find", "/etc", "-maxdepth", "1"),
    ("ps", "-p", "1"),
    ("sha256sum", "/etc/passwd"),
)


def available() -> list[tuple[str, ...]]:
    """Give those of PROGRAMS that are installed, by their paths."""
    found = ((shutil.which(name), rest) for name, *rest in PROGRAMS)
    return [(path, *rest) for path, rest in found if path]


def spawn(programs: Sequence[Sequence[str]], seconds: float, events_per_second: float) -> int:
    """Run programs in turn at an even rate; gives how many. One that ends late does not delay the next."""
    pause = EVENTS_PER_PROGRAM / events_per_second
    quiet = ((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),)
    begin = time.monotonic()
    started = 0
    while (due := begin + started * pause) < begin + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        program = programs[started % len(programs)]
        os.posix_spawn(program[0], tuple(program), {}, file_actions=quiet)
        started += 1
        _reap(os.WNOHANG)
    _reap(0)
    return started


def _reap(options: int) -> None:
    try:
        while os.waitpid(-1, options)[0]:
            pass
    except ChildProcessError:
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Work for a while; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m linnix_rec.bench.typical")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=300, help="events a second")
    given = parser.parse_args(arguments)
    spawn(available(), given.seconds, given.rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
