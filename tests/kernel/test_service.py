"""The unit's own command line, as systemd would start it: killed and started anew, reloaded, stopped."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.capture.reader import open_capture
from tests.kernel.conftest import PATIENCE_SECONDS, Read, wait_until

pytestmark = pytest.mark.kernel

REPOSITORY = Path(__file__).parents[2]
UNIT = REPOSITORY / "systemd" / "linnix-rec.service"


class Service:
    """Starts the recorder with the unit's command line and capabilities, and hears what it tells."""

    def __init__(self, state: Path, pin: str, hears: socket.socket) -> None:
        unit = ConfigParser(interpolation=None, comment_prefixes=("#",))
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(UNIT)
        self._arguments = shlex.split(unit["Service"]["ExecStart"])[1:]
        self._arguments[self._arguments.index("host")] = pin
        names = unit["Service"]["CapabilityBoundingSet"].lower().replace("cap_", "+").split()
        self._privileges = ["setpriv", "--no-new-privs", f"--bounding-set=-all,{','.join(names)}"]
        self._state, self._hears = state, hears
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait until it says that it is ready."""
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": self._hears.getsockname(),
            "WATCHDOG_USEC": "100000",
            "PYTHONPATH": str(REPOSITORY),
        }
        self.process = subprocess.Popen(
            [*self._privileges, sys.executable, "-m", "linnix_rec", *self._arguments],
            cwd=self._state,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.hear("READY=1")
        return self.process

    def hear(self, state: str) -> None:
        """Wait until it tells this."""
        while self._hears.recv(4096) != state.encode():
            pass

    def end(self, number: signal.Signals) -> int:
        """Send a signal that ends it, and give its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.status()

    def status(self) -> int:
        """Wait for its end, which must be a silent one, and give its exit status."""
        assert self.process is not None
        _, complaint = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert complaint == b""
        return self.process.returncode

    @property
    def captures(self) -> list[Path]:
        """What is in the state directory, oldest first."""
        return sorted(self._state.iterdir())


@pytest.fixture
def service(tmp_path: Path, pin_name: Callable[[], str]) -> Iterator[Service]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(str(tmp_path / "notify"))
        hears.settimeout(PATIENCE_SECONDS)
        (tmp_path / "state").mkdir()
        started = Service(tmp_path / "state", pin_name(), hears)
        yield started
        if started.process is not None and started.process.poll() is None:
            started.process.kill()
            started.process.communicate()


def words(capture: Path) -> list[str]:
    """What processes were told, in the order of their execs, by the segments that are closed."""
    batches = open_capture(capture).batches(["argv"], kinds=["exec"])
    return [word for batch in batches for argv in batch["argv"].to_pylist() for word in (argv or [])[1:]]


def test_a_recorder_that_was_killed_is_taken_up_and_stopped_whole(
    service: Service, proven: Callable[[Path], Read]
) -> None:
    service.start()
    subprocess.run(["/bin/true", "before"], check=True)
    assert service.end(signal.SIGKILL) == -signal.SIGKILL
    subprocess.run(["/bin/true", "meanwhile"], check=True)
    service.start()
    subprocess.run(["/bin/true", "after"], check=True)
    assert service.end(signal.SIGTERM) == 0
    (capture,) = service.captures
    assert len(proven(capture).document.resumptions) == 1
    spoken = [word for word in words(capture) if word in ("before", "meanwhile", "after")]
    assert spoken == ["before", "meanwhile", "after"]


def test_after_a_stop_a_new_capture_is_begun(service: Service, proven: Callable[[Path], Any]) -> None:
    for _ in range(2):
        service.start()
        assert service.end(signal.SIGTERM) == 0
    assert len(service.captures) == 2
    for capture in service.captures:
        assert proven(capture).document.resumptions == ()


def test_a_reload_makes_durable_what_was_recorded(service: Service) -> None:
    """By age alone, segments are closed after 1, 2, 4, ... seconds: the last round would wait in vain."""
    process = service.start()
    (capture,) = service.captures
    for turn in range(6):
        subprocess.run(["/bin/true", f"turn {turn}"], check=True)
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda word=f"turn {turn}": word in words(capture), "for the segment to be closed")
    assert service.end(signal.SIGTERM) == 0


def test_it_tells_the_watchdog_that_it_lives_and_when_it_ends(service: Service) -> None:
    process = service.start()
    for _ in range(3):
        service.hear("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    service.hear("STOPPING=1")
    assert service.status() == 0
