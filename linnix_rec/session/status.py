"""What the recorder says while it runs and when it is done: one line, redrawn. Knows no recording."""

import sys
import time
from dataclasses import dataclass
from typing import Final, TextIO

REDRAW_SECONDS: Final = 0.5
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def bytes_in_words(count: float) -> str:
    """`1.2 MB`; decimal units, as disks are sold."""
    thousands = 0
    while count >= 1000 and thousands < len(_UNITS) - 1:
        count, thousands = count / 1000, thousands + 1
    digits = 0 if thousands == 0 or count >= 100 else 1
    return f"{count:.{digits}f} {_UNITS[thousands]}"


def seconds_in_words(seconds: float) -> str:
    """`2.3 s`, `4 min 5 s`, `3 h 7 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def enough_slots(ring_slots: int, largest_lap: int) -> int:
    """The ring that would have lost nothing, if `largest_lap` tickets were overwritten unread."""
    return 1 << (ring_slots + largest_lap - 1).bit_length()


@dataclass(frozen=True)
class Progress:
    """The figures of a moment; `lag` and `lost` in tickets; `enough_slots` is 0 if the ring is."""

    events: int
    lag: int
    lost: int
    bytes_written: int
    enough_slots: int = 0

    def line(self) -> str:
        """For `systemctl status`."""
        size = bytes_in_words(self.bytes_written)
        return f"{self.events:,} events, lag {self.lag:,}, lost {self.lost:,}, {size}"


class StatusLine:
    """Redraws itself in place on a terminal; elsewhere it is silent."""

    def __init__(self, wanted: bool, stream: TextIO = sys.stderr) -> None:
        self._stream = stream if wanted and stream.isatty() else None
        self._started = self._drawn = time.monotonic()
        self._events = 0

    def show(self, progress: Progress) -> None:
        """Draw, unless it was drawn just now."""
        now = time.monotonic()
        if self._stream is None or now - self._drawn < REDRAW_SECONDS:
            return
        rate = (progress.events - self._events) / (now - self._drawn)
        self._drawn, self._events = now, progress.events
        advice = f" (try --ring-slots {progress.enough_slots})" if progress.enough_slots else ""
        self._stream.write(
            f"\r\x1b[Krecording {seconds_in_words(now - self._started)}"
            f" · {progress.events:,} events · {rate:,.0f}/s · lag {progress.lag:,}"
            f" · lost {progress.lost:,}{advice} · {bytes_in_words(progress.bytes_written)} · Ctrl-C ends"
        )
        self._stream.flush()

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._stream = None
