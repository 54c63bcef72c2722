"""Counts the tracepoints that the recorder hangs on a second time, by perf; knows no ring and no file.

The programs can't be attached, nor counters be read, on all CPUs at one moment. So it counts twice, over
two windows that enclose the recorder's from both sides:

    outer  opened before the first program is attached, read after the last is detached and has ended
    inner  from a reading after the last program was attached to one before the first is detached

What the programs saw is at least what inner says, and at most what outer says. When nothing happens while
programs are attached and detached, all three are equal.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from linnix_rec.bpf.perf_event import TracepointCounter, tracepoint_id
from linnix_rec.capture.document import PerfWitness
from linnix_rec.sources.cpus import online_cpus
from linnix_rec.sources.quiesce import wait_for_running_programs

#: The tracepoint behind each kind of event: (group, name).
TRACEPOINTS: Final[Mapping[str, tuple[str, str]]] = {
    "fork": ("task", "task_newtask"),
    "exec": ("sched", "sched_process_exec"),
    "exit": ("sched", "sched_process_exit"),
}


# perf's clock is not disciplined by NTP, which may slew ours by 500 ppm; reading takes some time, too.
_CLOCK_ERROR: Final = 1e-3
_READING_NS: Final = 10_000_000


@dataclass(frozen=True)
class _Total:
    """All CPUs' counts of one moment, and whether no counter has missed any time since the start."""

    counts: Mapping[str, int]
    whole: bool


class PerfCounters:
    """One counter a CPU and kind. Make it before attaching; raises RecordingError."""

    def __init__(self) -> None:
        self._cpus = online_cpus()
        self._counters: dict[str, list[TracepointCounter]] = {kind: [] for kind in TRACEPOINTS}
        self._begin: _Total | None = None
        self._end: _Total | None = None
        try:
            for kind, (group, name) in TRACEPOINTS.items():
                number = tracepoint_id(group, name)
                for cpu in sorted(self._cpus):
                    self._counters[kind].append(TracepointCounter(number, cpu))
        except BaseException:
            self.close()
            raise
        self._opened_ns = time.monotonic_ns()

    def after_attach(self) -> None:
        """Begin the inner window; call it when the last program is attached."""
        # A tracepoint that fired just before the last program was attached may still be running its
        # probes: perf's could yet count what ours has not seen.
        wait_for_running_programs(lambda: True)
        self._begin = self._read()

    def before_detach(self) -> None:
        """End the inner window; call it before the first program is detached."""
        self._end = self._read()

    def after_detach(self) -> PerfWitness:
        """End the outer window and close; call it when no program runs any more."""
        outer = self._read()
        begin, end = self._begin or outer, self._end or outer
        self.close()
        return PerfWitness(
            inner={kind: end.counts[kind] - begin.counts[kind] for kind in TRACEPOINTS},
            outer=outer.counts,
            cpus=len(self._cpus),
            complete=begin.whole and end.whole and outer.whole and self._begin is not None,
        )

    def close(self) -> None:
        """Stop counting, once."""
        for counters in self._counters.values():
            while counters:
                counters.pop().close()

    def _read(self) -> _Total:
        """Read all counters; a CPU that is offline, or was, has a counter that stood still."""
        elapsed_ns = time.monotonic_ns() - self._opened_ns
        least_ns = elapsed_ns * (1 - _CLOCK_ERROR) - _READING_NS
        counts, whole = {}, online_cpus() == self._cpus
        for kind, counters in self._counters.items():
            readings = [counter.read() for counter in counters]
            counts[kind] = sum(reading.count for reading in readings)
            whole &= all(reading.running_ns >= least_ns for reading in readings)
        return _Total(counts, whole)
