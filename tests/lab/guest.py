"""One guest of QEMU without KVM: started, watched, ended. Knows virtme-ng, and not what runs in the guest."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
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
class Ending:
    """How a guest ended: what its command returned, or why it never did, with the console's last lines."""

    status: int | None
    seconds: float
    complaint: str = ""
    tail: str = ""


def memory_mb(cpus: int) -> int:
    """What a guest is given. A CPU has its own buffers in each channel, and its own stacks."""
    return MEMORY_MB + MEMORY_MB_OF_CPU * cpus


def command_line(kernel: Kernel, cpus: int, room: Path, virtme: Path) -> list[str]:
    """The command that boots a guest with `room` at /run/lab; it ends when /run/lab/command has ended."""
    root = "-fsdev local,id=lab,path=/,security_model=none,readonly=on,multidevs=remap"
    return [
        "nice", "-n", "10", str(virtme),
        "--run", str(kernel.image),
        "--disable-kvm", "--force-9p", "--verbose",
        "--cpus", str(cpus),
        "--memory", f"{memory_mb(cpus)}M",
        f"--rwdir=/run/lab={room}",
        "--append", KERNEL_OPTIONS,
        f"--qemu-opts=-cpu {CPU} {root} -device virtio-9p-pci,fsdev=lab,mount_tag=lab",
        "--", shlex.join(["sh", str(INSIDE), str(kernel.modules)]),
    ]  # fmt: skip


def run_guest(
    kernel: Kernel,
    cpus: int,
    command: str,
    *,
    room: Path,
    virtme: Path,
    limit_seconds: float,
    boot_seconds: float = BOOT_SECONDS,
) -> Ending:
    """Boot, run `command` by sh as root, and power off.

    `room` is emptied first, and is /run/lab in the guest; the console is written there too. A guest that has
    not reached its command within `boot_seconds`, or not ended it within `limit_seconds`, is killed.
    """
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    (room / "command").write_text(command)
    begin_s = time.monotonic()
    with (room / "console").open("wb") as console:
        guest = subprocess.Popen(
            command_line(kernel, cpus, room, virtme),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # to be killed with the QEMU that it starts
            env={**os.environ, "PATH": f"{virtme.parent}:{os.environ['PATH']}"},  # it calls its own commands
        )
        try:
            overdue = _wait(guest, room, begin_s, boot_seconds, limit_seconds)
        finally:
            _kill(guest)
    return ending(room, time.monotonic() - begin_s, overdue)


def _wait(
    guest: subprocess.Popen[bytes], room: Path, begin_s: float, boot_seconds: float, limit_seconds: float
) -> str:
    """Wait for the guest's end, and say which time was over before that, if one was."""
    while guest.poll() is None:
        seconds = time.monotonic() - begin_s
        if seconds > boot_seconds and not (room / "booted").exists():
            return f"did not boot within {boot_seconds:.0f} s"
        if seconds > limit_seconds:
            return f"did not come to its end within {limit_seconds:.0f} s"
        time.sleep(0.2)
    return ""


def _kill(guest: subprocess.Popen[bytes]) -> None:
    if guest.poll() is None:
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()


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
