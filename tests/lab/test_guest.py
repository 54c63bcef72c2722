"""A guest's ends: what its console is worth, and that a guest that says nothing does not count as done."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.guest import Ending, Guest, Order, boot, command_line, console_tail, ending, run_guests
from tests.lab.kernels import Kernel

CONSOLE = (
    b"\x1b[2J\x1b[1;1HSeaBIOS\r\n[    0.1] Linux version 6.1\r\n\r\n"
    b"[    4.2] \x1b[32mok\x1b[0m mounting \xff root\r\n[    5.0] Kernel panic - not syncing\r\n\n"
)


def test_the_console_s_tail_is_its_last_lines_as_plain_text() -> None:
    assert console_tail(CONSOLE, 2) == "[    4.2] ok mounting  root\n[    5.0] Kernel panic - not syncing"
    assert console_tail(CONSOLE).splitlines()[0] == "SeaBIOS"
    assert console_tail(b"") == ""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "console").write_bytes(CONSOLE)
    return tmp_path


def test_a_guest_that_wrote_its_status_has_ended_with_it(room: Path) -> None:
    (room / "booted").touch()
    (room / "status").write_text("1\n")
    assert ending(room, 9.5, "") == Ending(1, 9.5)


def test_a_guest_that_ends_without_a_status_died_and_shows_its_console(room: Path) -> None:
    assert ending(room, 9.5, "").complaint == "did not boot"
    (room / "booted").touch()
    died = ending(room, 9.5, "")
    assert (died.status, died.complaint) == (None, "died")
    assert died.tail.endswith("Kernel panic - not syncing")


def stand_in(tmp_path: Path, script: str) -> Path:
    """A virtme-ng that does as a guest would; $room is what it shares."""
    virtme = tmp_path / "vng"
    virtme.write_text(f"#!/bin/sh\nroom={shlex.quote(str(tmp_path / 'room'))}\n{script}\n")
    virtme.chmod(0o755)
    return virtme


def run_stand_in(tmp_path: Path, script: str) -> Ending:
    kernel = Kernel("6.1.0", tmp_path / "vmlinuz", tmp_path / "modules")
    order = Order(kernel, 2, "exit 3\n", tmp_path / "room", 100.0)
    (ended,) = run_guests([order], stand_in(tmp_path, script))
    return ended


def test_a_guest_runs_the_command_of_its_room(tmp_path: Path) -> None:
    ended = run_stand_in(tmp_path, "touch $room/booted; sh $room/command; echo $? >$room/status")
    assert (ended.status, ended.complaint) == (3, "")


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Callable[[str], Guest]]:
    """Start a guest that says something, and then hangs."""
    started: list[Guest] = []

    def start(script: str) -> Guest:
        virtme = stand_in(tmp_path, f"echo Loading\n{script}\nsleep 600 & echo $! >$room/sleeper; wait")
        kernel = Kernel("6.1.0", tmp_path / "vmlinuz", tmp_path / "modules")
        started.append(boot(Order(kernel, 2, "true", tmp_path / "room", 1000.0, 100.0), virtme))
        while not sleeper(tmp_path):
            assert started[-1].process.poll() is None
        return started[-1]

    yield start
    for guest in started:
        guest.kill()


def sleeper(tmp_path: Path) -> str:
    """The process in which it hangs."""
    said = tmp_path / "room" / "sleeper"
    return said.read_text().strip() if said.exists() else ""


def is_asleep(pid: str) -> bool:
    line = Path(f"/proc/{pid}/cmdline")
    return line.exists() and line.read_bytes() == b"sleep\x00600\x00"


def test_a_guest_that_does_not_boot_is_ended_and_its_last_lines_are_told(
    hung: Callable[[str], Guest], tmp_path: Path
) -> None:
    guest = hung("echo 'No bootable device'")
    assert not guest.is_over()
    guest.begin_s -= 101
    while not guest.is_over():
        pass
    ended = ending(guest.order.room, guest.seconds, guest.overdue)
    assert (ended.status, ended.complaint) == (None, "did not boot within 100 s")
    assert ended.tail == "Loading\nNo bootable device"
    while is_asleep(sleeper(tmp_path)):  # it is killed, and not yet gone
        time.sleep(0.01)


def test_a_guest_that_hangs_in_its_command_is_ended_too(hung: Callable[[str], Guest]) -> None:
    guest = hung("touch $room/booted")
    guest.begin_s -= 101
    assert not guest.is_over()
    guest.begin_s -= 1000
    while not guest.is_over():
        pass
    assert guest.overdue == "did not come to its end within 1000 s"


def test_what_an_earlier_guest_left_is_gone_before_the_next_begins(tmp_path: Path) -> None:
    run_stand_in(tmp_path, "touch $room/booted; echo 0 >$room/status")
    assert run_stand_in(tmp_path, "exit 1").complaint == "did not boot"


def test_paths_with_spaces_reach_the_guest_whole(tmp_path: Path) -> None:
    kernel = Kernel("6.1.0", tmp_path / "a b" / "vmlinuz", tmp_path / "a b" / "modules")
    line = command_line(Order(kernel, 8, "true", tmp_path / "room", 1.0), tmp_path / "vng")
    assert shlex.split(line[-1])[-1] == str(kernel.modules)
    assert line[line.index("--cpus") + 1] == "8"
