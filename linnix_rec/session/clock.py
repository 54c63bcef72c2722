"""The wall clock against the boot clock. Knows no recording."""

import time
from datetime import datetime, timezone

from linnix_rec.capture.document import ClockSample


def boot_ns() -> int:
    """Now, ns since boot, suspended time included: the clock of the events."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def sample() -> ClockSample:
    """Both clocks at one moment, as closely as a process can read them: the tightest of five tries."""
    tries = []
    for _ in range(5):
        before = boot_ns()
        realtime_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = boot_ns()
        tries.append((after - before, ClockSample((before + after) // 2, realtime_ns)))
    return min(tries, key=lambda attempt: attempt[0])[1]


def rfc3339(realtime_ns: int) -> str:
    """`2026-11-21T12:00:00.123456Z`; microseconds, as in the capture's `time` column."""
    moment = datetime.fromtimestamp(realtime_ns // 1_000_000_000, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{realtime_ns % 1_000_000_000 // 1000:06d}Z"
