"""Which CPUs this kernel runs, and how many it can ever have. Knows nothing else."""

from pathlib import Path

_POSSIBLE = Path("/sys/devices/system/cpu/possible")
_ONLINE = Path("/sys/devices/system/cpu/online")


def possible_cpus(text: str | None = None) -> int:
    """One more than the highest possible CPU's number, by the kernel's list (`0-3,8-11`)."""
    listed = _POSSIBLE.read_text() if text is None else text
    return 1 + max(int(stretch.split("-")[-1]) for stretch in listed.strip().split(","))


def online_cpus(text: str | None = None) -> frozenset[int]:
    """The CPUs that run, by the kernel's list."""
    listed = _ONLINE.read_text() if text is None else text
    stretches = (stretch.split("-") for stretch in listed.strip().split(","))
    return frozenset(cpu for ends in stretches for cpu in range(int(ends[0]), int(ends[-1]) + 1))
