"""Has every CPU number a message of the process connector, so that what it lost before is seen.

A hole in a CPU's numbers shows when its next message is heard, and a CPU may have none to send. So a thread
goes there and sets its name, to what it is already: that is a message (kernel/sys.c: PR_SET_NAME).
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ONLINE: Final = Path("/sys/devices/system/cpu/online")
_PR_SET_NAME, _PR_GET_NAME = 15, 16
_NAME_BYTES: Final = 16


def online_cpus(text: str | None = None) -> frozenset[int]:
    """The CPUs that run, by the kernel's list (`0-3,8-11`)."""
    listed = _ONLINE.read_text() if text is None else text
    stretches = (stretch.split("-") for stretch in listed.strip().split(","))
    return frozenset(cpu for ends in stretches for cpu in range(int(ends[0]), int(ends[-1]) + 1))


def mark_cpus() -> frozenset[int]:
    """Make a mark on every CPU, by this thread; gives those where it may not run."""
    name = ctypes.create_string_buffer(_NAME_BYTES)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_GET_NAME, name, 0, 0, 0)
    unreachable = set()
    with _affinity_kept():
        for cpu in online_cpus():
            try:
                os.sched_setaffinity(0, {cpu})
            except OSError:
                unreachable.add(cpu)
                continue
            prctl(_PR_SET_NAME, name, 0, 0, 0)
    return frozenset(unreachable)


@contextlib.contextmanager
def _affinity_kept() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed)
