"""Builds and runs consumer.c, a reader of a BPF ring buffer on libbpf. Knows no kernel, only a descriptor."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linnix_rec.bpf.object import object_path
from linnix_rec.errors import LinnixRecError

SOURCE: Final = Path(__file__).with_name("consumer.c")
COMPILER: Final = "gcc"


@dataclass(frozen=True)
class Consumed:
    """What one run read; `cpu_ns` is the reading's alone. The sums show that it was read."""

    events: int
    cpu_ns: int
    boot_ns_sum: int
    text_bytes: int
    arguments: int


def build(directory: Path) -> Path:
    """Build it there. Raises LinnixRecError, which says what is missing."""
    if shutil.which(COMPILER) is None:
        raise LinnixRecError(f"no {COMPILER}")
    program = directory / "consumer"
    layout = object_path("ringbuf").parent  # where slot.h is, too
    done = subprocess.run(
        [COMPILER, "-O2", "-I", layout, "-o", program, SOURCE, "-lbpf"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LinnixRecError(why_not(done.stderr))
    return program


def why_not(complaint: str) -> str:
    """Give in a few words what the compiler lacks."""
    if "bpf/libbpf.h" in complaint or "-lbpf" in complaint:
        return "no libbpf-dev"
    errors = [line for line in complaint.splitlines() if "error" in line] or ["it said nothing"]
    return f"{COMPILER}: {errors[0].strip()}"


def consume(program: Path, ringbuf_fd: int) -> Consumed:
    """Let it read what the ring buffer holds; nobody else may. Raises LinnixRecError."""
    done = subprocess.run(
        [program, str(ringbuf_fd), str(os.sysconf("SC_PAGE_SIZE"))],
        pass_fds=(ringbuf_fd,),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LinnixRecError(f"the C consumer failed: {done.stderr.strip() or done.returncode}")
    return Consumed(**json.loads(done.stdout))
