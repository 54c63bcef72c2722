"""Debian's kernels, unpacked below build/lab without being installed. Knows apt and dpkg, and no guest."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


class UnavailableError(Exception):
    """Something that the lab needs cannot be had here: what, why, and what to do."""


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel: its release as `uname -r` says it, its image, its modules' directory."""

    release: str
    image: Path
    modules: Path


def newest_package(series: str, names: list[str]) -> str | None:
    """The newest generic image of a series ("6.1") among package names, as Debian numbers them.

    Not the cloud images, which have no 9p, nor the real-time or unsigned ones, nor debugging symbols.
    """
    wanted = re.compile(rf"linux-image-({re.escape(series)}\.\d+[-+][0-9a-z.+]+)-amd64")
    found = [match[1] for name in names if (match := wanted.fullmatch(name))]
    if not found:
        return None
    return f"linux-image-{max(found, key=_numbers)}-amd64"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def fetch_kernel(series: str, cache: Path) -> Kernel:
    """Download, unpack and index the newest kernel of a series, unless the cache has one of it.

    Raises `UnavailableError` where apt does not know such a kernel, or cannot fetch it.
    """
    room = cache / f"linux-{series}"
    if not (room / "complete").exists():
        _unpack(_named(series), room)
    (image,) = room.glob("boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    modules = next(iter(room.glob(f"**/lib/modules/{release}")))
    return Kernel(release, image, modules)


def _named(series: str) -> str:
    listed = _run("apt-cache", "--names-only", "search", "^linux-image-[0-9]").stdout
    package = newest_package(series, [line.split(" ")[0] for line in listed.splitlines()])
    if package is None:
        raise UnavailableError(
            f"apt knows no generic linux-image of {series}: run apt-get update, or add the suite that has it"
        )
    return package


def _unpack(package: str, room: Path) -> None:
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    # As root apt would download as the user _apt, who may not write here.
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, at=room)
    (archive,) = room.glob("*.deb")
    _run("dpkg-deb", "-x", str(archive), str(room))
    archive.unlink()
    release = package.removeprefix("linux-image-")
    _run("depmod", "-b", str(room), release)
    (room / "complete").touch()


def _run(*command: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=at, check=True, capture_output=True, text=True)
    except FileNotFoundError as missing:
        raise UnavailableError(f"{command[0]} is not installed: the lab's kernels are Debian's") from missing
    except subprocess.CalledProcessError as failed:
        said = failed.stderr.strip().splitlines() or [f"exit status {failed.returncode}"]
        raise UnavailableError(f"{' '.join(command)}: {said[-1]}") from failed
