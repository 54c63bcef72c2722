"""Run a command, and end when nothing is left of all that it started: `python reaper.py COMMAND ARGS...`.

Whoever waits for this one knows that every exit has happened; of the command alone, orphans may outlive it.
An interrupt is passed on to the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36  # include/uapi/linux/prctl.h


def reap(command: list[str]) -> None:
    """Start the command, and wait for it, its children, and every orphan of theirs."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    started = subprocess.Popen(command)
    signal.signal(signal.SIGINT, lambda *_: os.kill(started.pid, signal.SIGINT))
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    reap(sys.argv[1:])
