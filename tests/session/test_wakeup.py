"""Signals, processes and time: whichever comes first ends a wait, and none is forgotten."""

from __future__ import annotations

import os
import signal
import subprocess

from linnix_rec.session.wakeup import Wakeup

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FOREVER = 3600.0


def test_a_signal_ends_a_wait_and_is_taken_once() -> None:
    with Wakeup(SIGNALS) as wakeup:
        os.kill(os.getpid(), signal.SIGTERM)
        wakeup.wait(FOREVER)
        assert wakeup.take() == [signal.SIGTERM]
        assert wakeup.take() == []


def test_a_signal_that_came_before_the_wait_ends_it() -> None:
    with Wakeup(SIGNALS) as wakeup:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        wakeup.wait(FOREVER)
        assert wakeup.take() == [signal.SIGINT, signal.SIGTERM, signal.SIGINT]


def test_the_end_of_a_watched_process_ends_a_wait() -> None:
    with subprocess.Popen(["true"]) as process, Wakeup(SIGNALS) as wakeup:
        pidfd = os.pidfd_open(process.pid)
        wakeup.watch(pidfd)
        wakeup.wait(FOREVER)
        assert wakeup.has_ended(pidfd)
        wakeup.unwatch(pidfd)
        wakeup.unwatch(pidfd)
        wakeup.wait(0.01)
        os.close(pidfd)


def test_a_process_that_runs_has_not_ended() -> None:
    pidfd = os.pidfd_open(os.getpid())
    assert not Wakeup.has_ended(pidfd)
    os.close(pidfd)


def test_afterwards_the_signals_are_whose_they_were() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Wakeup(SIGNALS):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
