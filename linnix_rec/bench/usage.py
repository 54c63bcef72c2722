"""What a running process takes: CPU time and memory, as the kernel says. Knows no recorder.

CPU time is read from the process's own CPU clock (clock_getcpuclockid(3)): all its threads, ended ones
too, in ns. /proc/PID/stat counts the same in ticks of 10 ms, too coarse for a process that does little.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h: the clock of what was scheduled, of a whole process
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)$")
_BPF_MAP = "bpf-map"
_LEAST_STEP_NS = 500_000_000  # of a shorter one a few ms of CPU would look like a peak


@dataclass(frozen=True)
class Stat:
    """Part of /proc/PID/stat; `reaped_ns` is the CPU time of children that were waited for."""

    name: str
    session: int
    reaped_ns: int


def parse_stat(text: str) -> Stat:
    """Read /proc/PID/stat (proc_pid_stat(5)); the name may hold anything, a parenthesis too."""
    begin, end = text.index("("), text.rindex(")")
    fields = text[end + 2 :].split()  # from the third on: state
    ticks = int(fields[13]) + int(fields[14])  # cutime, cstime
    return Stat(text[begin + 1 : end], int(fields[3]), ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def cpu_ns(pid: int) -> int:
    """Give the CPU time of a process so far; 0 if it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0


def tool_cpu_ns(leader: int) -> int:
    """Give the CPU time of a tool: the leader of a session, what it waited for, and its namesakes there.

    A tracer may start helpers of its own name, and the load that it traces, which is not counted.
    """
    found = dict(_session(leader))
    if leader not in found:
        return 0
    own = found[leader]
    same = [pid for pid, stat in found.items() if stat.name == own.name]
    return own.reaped_ns + sum(cpu_ns(pid) for pid in same)


def tool_rss_bytes(leader: int, *, with_maps: bool = True) -> int:
    """Give the resident memory of a tool, with BPF maps that it has mapped (the ring, say) or without."""
    found = dict(_session(leader))
    total = 0
    for pid, stat in found.items():
        if stat.name == found[leader].name:
            try:
                total += rss_bytes(Path(f"/proc/{pid}/smaps").read_text(), with_maps=with_maps)
            except (FileNotFoundError, ProcessLookupError):
                continue
    return total


def rss_bytes(smaps: str, *, with_maps: bool) -> int:
    """Sum what is resident of all mappings, those of BPF maps if wanted; proc_pid_smaps(5)."""
    total, counted = 0, False
    for line in smaps.splitlines():
        mapping = _MAPPING.match(line)
        if mapping:
            counted = with_maps or _BPF_MAP not in mapping[1]
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


@dataclass(frozen=True)
class Share:
    """CPU of one core, in percent: the average of a time, and the greatest between two samples."""

    average: float
    peak: float


class Meter:
    """Samples the CPU time of a tool from its making on; `sample` about once a second."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._samples = [self._now()]

    def sample(self) -> None:
        self._samples.append(self._now())

    def share(self) -> Share:
        """Give the share between the first and the last sample."""
        return share(self._samples)

    def _now(self) -> tuple[int, int]:
        return time.monotonic_ns(), tool_cpu_ns(self._leader)


def share(samples: list[tuple[int, int]]) -> Share:
    """Give the share of samples (time, CPU time), both in ns; 0 of less than two."""
    if len(samples) < 2:
        return Share(0.0, 0.0)
    average = _percent(samples[0], samples[-1])
    long = (pair for pair in pairwise(samples) if pair[1][0] - pair[0][0] >= _LEAST_STEP_NS)
    return Share(average, max((_percent(*pair) for pair in long), default=average))


def _percent(before: tuple[int, int], after: tuple[int, int]) -> float:
    return 100 * max(0, after[1] - before[1]) / max(1, after[0] - before[0])


def _session(leader: int) -> Iterator[tuple[int, Stat]]:
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            stat = parse_stat(Path(f"/proc/{entry}/stat").read_text(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat.session == leader:
            yield int(entry), stat
