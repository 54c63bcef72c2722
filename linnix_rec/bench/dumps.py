"""What it takes to dump a full armed ring, the whole process. Reads no event."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from linnix_rec.errors import LinnixRecError
from linnix_rec.session.armed import arm, armed, disarm
from linnix_rec.session.request import Request

_PATIENCE_SECONDS: Final = 600.0


@contextmanager
def full_armed_ring(slots: int, load: Sequence[str]) -> Iterator[str]:
    """Arm a ring, fill it by a load, and give the name that it is pinned under; disarmed at the end."""
    name = f"bench-{os.getpid()}"
    arm(name, Request(ring_slots=slots))
    try:
        started = subprocess.Popen(load, start_new_session=True)
        try:
            give_up = time.monotonic() + _PATIENCE_SECONDS
            while next(what.issued for what in armed() if what.name == name) < slots:
                if started.poll() is not None or time.monotonic() > give_up:
                    raise LinnixRecError("the ring does not fill: the load ended or is too slow")
                time.sleep(0.2)
        finally:
            os.killpg(started.pid, signal.SIGTERM)
            started.wait()
        yield name
    finally:
        disarm(name, force=True)


def dump_seconds(name: str, directory: Path, *, raw: bool) -> float:
    """Wall time of `dump NAME`."""
    target = ("--raw", str(directory / "dump.ring")) if raw else ("-o", str(directory / "dump.lrec"))
    command = [sys.executable, "-m", "linnix_rec", "dump", name, "--force", *target]
    started = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - started
