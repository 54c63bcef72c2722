"""A load-load fence for Python: what is read before it is read before what comes after. Knows no ring.

x86 never reorders loads with loads, and the compiler can't either: each numpy call is opaque to the next.
Elsewhere the processor may. Releasing a lock keeps earlier loads above the release, taking it keeps
later loads below the acquisition, and the two are on one word, in this order, so no load crosses both.
"""

import platform
import threading
from collections.abc import Callable


def _nothing() -> None:
    """x86 TSO: loads stay in program order (Intel SDM 3A, 9.2.2; AMD APM 2, 7.2)."""


def _lock_fence() -> Callable[[], None]:
    lock = threading.Lock()
    lock.acquire()

    def release_then_acquire() -> None:
        lock.release()
        lock.acquire()

    return release_then_acquire


load_fence: Callable[[], None] = (
    _nothing if platform.machine() in ("x86_64", "AMD64", "i686") else _lock_fence()
)
