"""Has every CPU number a message of the process connector, so that what it lost before is seen.

A hole in a CPU's numbers shows when its next message is heard, and a CPU may have none to send. So a thread
goes there and sets its name: that is a message (kernel/sys.c: PR_SET_NAME).
"""

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterator
from typing import Final

from linnix_rec.sources.cpus import online_cpus

_PR_SET_NAME, _PR_GET_NAME = 15, 16
_NAME_BYTES: Final = 16


def mark_cpus() -> frozenset[int]:
    """Make a mark on every CPU, by this thread; gives those where it may not run."""
    with affinity_kept():
        return frozenset(cpu for cpu in online_cpus() if not mark_cpu(cpu))


def mark_cpu(cpu: int, name: bytes = b"") -> bool:
    """Move this thread to that CPU and make a mark there; False if it may not run there.

    name: what the thread is to be called by; else it keeps its name
    """
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return False
    comm = ctypes.create_string_buffer(name, _NAME_BYTES)
    prctl = ctypes.CDLL(None).prctl
    if not name:
        prctl(_PR_GET_NAME, comm, 0, 0, 0)
    prctl(_PR_SET_NAME, comm, 0, 0, 0)
    return True


def remarks_on(remark: str, unmarked: Collection[int]) -> tuple[str, ...]:
    """The connector's own remark, if it has one, and which CPUs made no mark; a line each."""
    remarks = [remark] if remark else []
    if unmarked:
        cpus = ", ".join(map(str, sorted(unmarked)))
        remarks.append(f"no mark on CPU {cpus}: the process connector can have lost its last messages unseen")
    return tuple(remarks)


@contextlib.contextmanager
def affinity_kept() -> Iterator[None]:
    """Let this thread run where it may now, at the end."""
    allowed = os.sched_getaffinity(0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed)
