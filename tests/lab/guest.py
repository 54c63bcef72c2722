"""Guests of QEMU without KVM: started, watched, ended. Knows virtme-ng, and not what runs in a guest."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kernels import Kernel

INSIDE = Path(__file__).parent / "inside.sh"
BOOT_SECONDS = 180
TAIL_LINES = 15
MEMORY_MB = 4096
MEMORY_MB_OF_CPU = 64
# Without the watchdogs, which an emulated CPU can't obey; with a clock that all CPUs take from the host.
KERNEL_OPTIONS = "nowatchdog mitigations=off tsc=reliable rcupdate.rcu_cpu_stall_suppress=1 audit=0"
# The least that today's wheels of numpy and pyarrow ask for: each thing more is emulated, and costs.
CPU = "Nehalem"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e\t\n]")


@dataclass(frozen=True)
class Order:
    """A guest to be: `command` is run in it by sh as root; `room` is its /run/lab, and what it leaves behind.

    It is killed if its command has not begun within `boot_seconds`, or not ended within `limit_seconds`.
    """

    kernel: Kernel
    cpus: int
    command: str
    room: Path
    limit_seconds: float
    boot_seconds: float = BOOT_SECONDS


@dataclass(frozen=True)
class Ending:
    """How a guest ended: what its command returned, or why it never did, with the console's last lines."""

    status: int | None
    seconds: float
    complaint: str = ""
    tail: str = ""


def memory_mb(cpus: int) -> int:
    """What a guest is given. A CPU has its own buffers in each channel, and its own stacks."""
    return MEMORY_MB + MEMORY_MB_OF_CPU * cpus


def command_line(order: Order, virtme: Path) -> list[str]:
    """The command that boots a guest, and ends when the guest's command has ended."""
    root = "-fsdev local,id=lab,path=/,security_model=none,readonly=on,multidevs=remap"
    return [
        "nice", "-n", "10", str(virtme),
        "--run", str(order.kernel.image),
        "--disable-kvm", "--force-9p", "--verbose",
        "--cpus", str(order.cpus),
        "--memory", f"{memory_mb(order.cpus)}M",
        f"--rwdir=/run/lab={order.room}",
        "--append", KERNEL_OPTIONS,
        f"--qemu-opts=-cpu {CPU} {root} -device virtio-9p-pci,fsdev=lab,mount_tag=lab",
        "--", shlex.join(["sh", str(INSIDE), str(order.kernel.modules)]),
    ]  # fmt: skip


@dataclass
class Guest:
    """One that runs. `overdue` says which time was over before it came to its end, if one was."""

    order: Order
    process: subprocess.Popen[bytes]
    begin_s: float
    seconds: float = 0.0
    overdue: str = ""

    def is_over(self) -> bool:
        """Look whether it has ended, and end it if its time is over."""
        if self.process.returncode is not None:
            return True
        self.seconds = time.monotonic() - self.begin_s
        if self.process.poll() is None:
            self.overdue = _overdue(self.order, self.seconds)
            if self.overdue:
                self.kill()
        return self.process.returncode is not None

    def kill(self) -> None:
        """End it, with the QEMU that virtme-ng has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run_guests(orders: Sequence[Order], virtme: Path) -> list[Ending]:
    """Boot all at once, wait for all, and give their endings in the same order.

    Rooms are emptied first; the console is written there too. Whatever ends this ends the guests.
    """
    guests: list[Guest] = []
    try:
        for order in orders:
            guests.append(boot(order, virtme))
        while [guest for guest in guests if not guest.is_over()]:
            time.sleep(0.2)
    finally:
        for guest in guests:
            guest.kill()
    return [ending(guest.order.room, guest.seconds, guest.overdue) for guest in guests]


def boot(order: Order, virtme: Path) -> Guest:
    shutil.rmtree(order.room, ignore_errors=True)
    order.room.mkdir(parents=True)
    (order.room / "command").write_text(order.command)
    with (order.room / "console").open("wb") as console:
        process = subprocess.Popen(
            command_line(order, virtme),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PATH": f"{virtme.parent}:{os.environ['PATH']}"},  # it calls its own commands
        )
    return Guest(order, process, time.monotonic())


def _overdue(order: Order, seconds: float) -> str:
    if seconds > order.boot_seconds and not (order.room / "booted").exists():
        return f"did not boot within {order.boot_seconds:.0f} s"
    if seconds > order.limit_seconds:
        return f"did not come to its end within {order.limit_seconds:.0f} s"
    return ""


def ending(room: Path, seconds: float, overdue: str) -> Ending:
    """What a guest left in its room, judged: only a status that it wrote at its end is an end."""
    status = room / "status"
    if not overdue and status.exists():
        return Ending(int(status.read_text()), seconds)
    if not overdue:
        overdue = "died" if (room / "booted").exists() else "did not boot"
    return Ending(None, seconds, overdue, console_tail((room / "console").read_bytes()))


def console_tail(console: bytes, lines: int = TAIL_LINES) -> str:
    """The last lines of a console that say something, as plain text."""
    text = _CONTROLS.sub("", console.decode("ascii", "replace").replace("\r", "\n"))
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(said[-lines:])
