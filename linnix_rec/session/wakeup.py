"""What can end a wait: signals, the end of a process, a timeout. Knows no recording."""

import contextlib
import select
import selectors
import signal
import socket
from collections.abc import Iterable
from types import FrameType


class Wakeup:
    """Waits until a caught signal or a watched process says something. Use as a context manager.

    `caught` are the signals that came and were not taken yet, in order.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self.caught: list[signal.Signals] = []
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._before_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._catch) for number in signals}

    def watch(self, pidfd: int) -> None:
        """Also wake when this process ends."""
        self._selector.register(pidfd, selectors.EVENT_READ)

    def unwatch(self, pidfd: int) -> None:
        """No longer wake for this process."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(pidfd)

    @staticmethod
    def has_ended(pidfd: int) -> bool:
        """Whether the process has ended, reaped or not."""
        return bool(select.select([pidfd], [], [], 0)[0])

    def wait(self, seconds: float) -> None:
        """Return when something happened, or after `seconds`."""
        if self._selector.select(seconds):
            with contextlib.suppress(BlockingIOError):
                self._reader.recv(4096)

    def take(self) -> list[signal.Signals]:
        """The signals caught since the last call."""
        caught, self.caught = self.caught, []
        return caught

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> "Wakeup":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self.caught.append(signal.Signals(number))
