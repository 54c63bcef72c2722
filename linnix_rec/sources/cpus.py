"""How many CPUs this kernel can ever have. Knows nothing else."""

from pathlib import Path

_POSSIBLE = Path("/sys/devices/system/cpu/possible")


def possible_cpus(text: str | None = None) -> int:
    """One more than the highest possible CPU's number, by the kernel's list (`0-3,8-11`)."""
    listed = _POSSIBLE.read_text() if text is None else text
    return 1 + max(int(stretch.split("-")[-1]) for stretch in listed.strip().split(","))
