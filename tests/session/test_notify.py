"""A service manager is told what sd_notify(3) says, through a real socket; a person is told nothing."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linnix_rec.session import notify
from linnix_rec.session.notify import ServiceManager

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The manager's socket, and how NOTIFY_SOCKET names it."""
    named = str(tmp_path / "notify") if request.param == "path" else f"@linnix-rec-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(named.replace("@", "\0", 1) if request.param == "abstract" else named)
        receiver.setblocking(False)
        yield receiver, named


def told(receiver: socket.socket) -> list[bytes]:
    datagrams = []
    while True:
        try:
            datagrams.append(receiver.recv(4096))
        except BlockingIOError:
            return datagrams


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    receiver, named = manager
    service = ServiceManager({"NOTIFY_SOCKET": named})
    service.ready()
    service.status("12 events, nothing lost")
    service.stopping()
    assert told(receiver) == [b"READY=1", b"STATUS=12 events, nothing lost", b"STOPPING=1"]


def test_a_status_is_one_line_and_sent_once(manager: tuple[socket.socket, str]) -> None:
    receiver, named = manager
    service = ServiceManager({"NOTIFY_SOCKET": named})
    service.status("a\nREADY=1\n")
    service.status("a READY=1")
    service.status("b\udcff")
    assert told(receiver) == [b"STATUS=a READY=1", b"STATUS=b?"]


def test_the_watchdog_is_told_at_half_its_interval(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, named = manager
    now_s = [1000.0]
    monkeypatch.setattr(notify.time, "monotonic", lambda: now_s[0])
    service = ServiceManager({"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "10000000"})
    assert service.watchdog_s == 10
    service.alive()
    service.alive()
    now_s[0] += 4.9
    service.alive()
    assert told(receiver) == [b"WATCHDOG=1"]
    now_s[0] += 0.2
    service.alive()
    assert told(receiver) == [b"WATCHDOG=1"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_watchdog_is_told_that_does_not_watch_this_process(
    manager: tuple[socket.socket, str], environment: dict[str, str]
) -> None:
    receiver, named = manager
    service = ServiceManager({"NOTIFY_SOCKET": named, **environment})
    assert service.watchdog_s is None
    service.alive()
    assert told(receiver) == []


def test_the_watchdog_of_this_very_process_is_told(manager: tuple[socket.socket, str]) -> None:
    _, named = manager
    environment = {"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid())}
    assert ServiceManager(environment).watchdog_s == 1e-6


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_nothing_is_sent_where_nobody_listens(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify.socket, "socket", None)  # making one would raise
    service = ServiceManager({**environment, "WATCHDOG_USEC": "1"})
    service.ready()
    service.status("x")
    service.alive()
    service.stopping()


def test_a_manager_that_is_gone_or_busy_ends_no_recording(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "busy"))
        service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "busy")})
        queue_length = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        for _ in range(queue_length + 3):  # as many as the socket takes, and some more
            service.ready()
        receiver.setblocking(False)
        assert set(told(receiver)) == {b"READY=1"}
