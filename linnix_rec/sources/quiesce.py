"""Waits until no program that could have started before is still running. Knows no ring and no events."""

import ctypes
import platform
import time
from collections.abc import Callable
from typing import Final

_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_CMD_GLOBAL: Final = 1
_QUIET_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 5.0


def wait_for_running_programs(all_done: Callable[[], bool]) -> None:
    """Return once every program that ran when its link was closed has ended.

    Closing a link keeps new runs from starting and does not wait for old ones. Tracing programs run in
    RCU read-side sections, so one grace period is enough, and membarrier(2) is one. Kernels with
    nohz_full CPUs refuse it: there, wait until `all_done` (what was claimed is published or abandoned)
    has held for a while, which is many times what a program takes between its start and its claim.
    """
    if _grace_period():
        return
    give_up = time.monotonic() + _PATIENCE_SECONDS
    quiet_since = time.monotonic()
    while time.monotonic() < give_up:
        if not all_done():
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= _QUIET_SECONDS:
            return
        time.sleep(0.005)


def _grace_period() -> bool:
    number = _MEMBARRIER.get(platform.machine())
    if number is None:
        return False
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    return bool(syscall(ctypes.c_long(number), _MEMBARRIER_CMD_GLOBAL, 0, 0) == 0)
