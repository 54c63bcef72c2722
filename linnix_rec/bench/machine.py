"""The machine that is measured on: what it is, and whether it can record. Measures nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from linnix_rec import __version__
from linnix_rec.errors import RecordingError

_PACKAGE: Final = Path(__file__).resolve().parent


def describe() -> dict[str, Any]:
    """Give what a figure means nothing without; `commit` is "" where this is no checkout."""
    commit = subprocess.run(
        ["git", "-C", str(_PACKAGE), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")),
        "cpus": os.cpu_count(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": commit,
    }


def require_recording() -> None:
    """Raise RecordingError, with what to do, unless this host can record."""
    from linnix_rec.bpf.btf import read_vmlinux
    from linnix_rec.bpf.host import read_host, requirements

    try:
        kernel_btf, problem = read_vmlinux(), ""
    except RecordingError as error:
        kernel_btf, problem = None, str(error)
    for line in requirements(read_host(kernel_btf, problem)):
        if line.required and not line.met:
            raise RecordingError(f"this measurement records, and can't here: {line.found}; {line.advice}")


@contextmanager
def one_core() -> Iterator[None]:
    """Stay on one CPU meanwhile; what is started then stays there, too."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


def _cpu_model(cpuinfo: str) -> str:
    """The first CPU's name; "" on a machine that does not tell."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""
