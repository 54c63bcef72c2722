"""Tells a service manager how this process is, by the protocol of sd_notify(3). Knows no recording.

A datagram of `NAME=value` lines goes to the AF_UNIX socket that NOTIFY_SOCKET names; `@` begins an abstract
name. Without that variable nothing is sent: the process was started by a person.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

#: A manager that does not take a datagram for so long must not hold up a recording.
_SEND_SECONDS: Final = 0.2


class ServiceManager:
    """Who wants to know, if anybody does. What can't be sent is not: a recording needs no manager.

    watchdog_s: the manager ends a process that is not `alive` within so many seconds; None if it does not
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        self._told_s = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """Say that everything is attached: what happens from now on is recorded."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Give the line that `systemctl status` shows; the same one again is not sent."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def alive(self) -> None:
        """Keep the watchdog quiet; may be called as often as one likes."""
        now_s = time.monotonic()
        # Half of the time, as sd_watchdog_enabled(3) advises.
        if self.watchdog_s is not None and now_s - self._told_s >= self.watchdog_s / 2:
            self._told_s = now_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_SECONDS)
            sender.sendto(state.encode(errors="replace"), self._address)


def _address(named: str) -> bytes:
    """Give the socket's address; empty for one that is neither a path nor an abstract name."""
    if named.startswith("@"):
        return b"\0" + os.fsencode(named[1:])
    return os.fsencode(named) if named.startswith("/") else b""


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Give the interval, if it is meant for this process and not for one above it."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with contextlib.suppress(ValueError, KeyError):
        interval_us = int(environment["WATCHDOG_USEC"])
        return interval_us / 1e6 if interval_us > 0 else None
    return None
