"""What the lab needs beside kernels: QEMU and its like from Debian, virtme-ng from PyPI. Knows no guest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.kernels import UnavailableError

VIRTME = "virtme-ng>=1.33,<2"
# command: Debian's package of it. virtme-ng asks file(1) for a kernel's release, and boots by a busybox.
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "depmod": "kmod",
    "busybox": "busybox-static",
    "file": "file",
}
ADMINISTRATORS = "/usr/local/sbin:/usr/sbin:/sbin"


def provide_tools(cache: Path) -> Path:
    """Install what is missing, and give the path of virtme-ng's command. Raises `UnavailableError`."""
    os.environ["PATH"] += f":{ADMINISTRATORS}"
    if os.uname().machine != "x86_64":
        raise UnavailableError("the lab's guests are x86-64, and so must be the host whose root they run on")
    if os.geteuid() != 0:
        raise UnavailableError("who starts a guest is who runs the tests in it, and they need root")
    missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
    if missing:
        _install(missing)
    return _provide_virtme(cache / "venv")


def _install(packages: list[str]) -> None:
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise UnavailableError(f"missing: {wanted}; on Debian: apt-get install {wanted}")
    print(f"installing {wanted}", flush=True)
    subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=quiet)
    if done.returncode:
        raise UnavailableError(f"could not install {wanted}: {_last_line(done.stderr)}")


def _provide_virtme(room: Path) -> Path:
    virtme = room / "bin" / "vng"
    if virtme.exists():
        return virtme
    shutil.rmtree(room, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(room)],
        [str(room / "bin" / "python"), "-m", "pip", "install", "--quiet", VIRTME],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(room, ignore_errors=True)
            raise UnavailableError(f"could not install virtme-ng: {_last_line(done.stderr)}")
    return virtme


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word why"])[-1]
