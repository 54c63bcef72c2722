"""A fork storm of a known size, counted by the kernel meanwhile: `python -m linnix_rec.bench.storm`.

Knows no recorder. It prints one JSON object, a `Storm`. The load is our own, or any command's.

Our own workers make as many processes a second as they can: each child shares its parent's memory and ends
at once, as by vfork(2) and _exit(2), so that nothing is copied but the task itself.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from linnix_rec.bpf.perf_event import TracepointCounter, tracepoint_id
from linnix_rec.errors import LinnixRecError
from linnix_rec.session.perf_witness import TRACEPOINTS
from linnix_rec.sources.cpus import online_cpus

_CLONE_VM, _CLONE_VFORK = 0x100, 0x4000  # include/uapi/linux/sched.h
_CHILD_STACK_BYTES = 1 << 14
_READINGS = 20
_PR_SET_NAME = 15  # include/uapi/linux/prctl.h

#: The name of our workers and their children, by which any tracer's output tells them from others.
NAME = "linnix-storm"


@dataclass(frozen=True)
class Storm:
    """What one storm was: from `begin_boot_ns` to `end_boot_ns` (ns since boot), on the whole host.

    made: events by kind, counted by perf on the tracepoints that recorders hang on
    complete: the same CPUs were online at both
    """

    made: dict[str, int]
    complete: bool
    begin_boot_ns: int
    end_boot_ns: int

    @property
    def events(self) -> int:
        """Forks, execs and exits."""
        return sum(self.made.values())

    @property
    def seconds(self) -> float:
        return (self.end_boot_ns - self.begin_boot_ns) / 1e9


def parse(text: str) -> Storm:
    """Give the storm that the process printed; raises ValueError."""
    try:
        return Storm(**json.loads(text))
    except TypeError as error:
        raise ValueError(str(error)) from error


def storm(load: Callable[[], None]) -> Storm:
    """Run `load` between two readings of the kernel's counters. Raises RecordingError."""
    with ExitStack() as held:
        counters = _counters(held)
        cpus = online_cpus()
        before = _read(counters)
        load()
        after = _read(counters)
    return Storm(
        made={kind: after.counts[kind] - before.counts[kind] for kind in counters},
        complete=cpus == online_cpus(),
        # What has its time between these was counted, and hardly anything else.
        begin_boot_ns=before.end_boot_ns,
        end_boot_ns=after.begin_boot_ns,
    )


@dataclass(frozen=True)
class _Reading:
    """All counters, read one by one between two times in ns since boot."""

    counts: Mapping[str, int]
    begin_boot_ns: int
    end_boot_ns: int

    @property
    def ns(self) -> int:
        return self.end_boot_ns - self.begin_boot_ns


def _counters(held: ExitStack) -> dict[str, list[TracepointCounter]]:
    """A counter a kind and CPU, of the tracepoints that recorders hang on."""
    counters: dict[str, list[TracepointCounter]] = {}
    for kind, (group, name) in TRACEPOINTS.items():
        number = tracepoint_id(group, name)
        counters[kind] = []
        for cpu in sorted(online_cpus()):
            counter = TracepointCounter(number, cpu)
            held.callback(counter.close)
            counters[kind].append(counter)
    return counters


def _read(counters: Mapping[str, Sequence[TracepointCounter]]) -> _Reading:
    """Read all counters in one go: of some tries that which took the least time.

    While others run in between, they may act, and some counters tell of it and others do not.
    """
    best: _Reading | None = None
    for _ in range(_READINGS):
        begin = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        counts = {kind: sum(each.read().count for each in of_kind) for kind, of_kind in counters.items()}
        reading = _Reading(counts, begin, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if best is None or reading.ns <= best.ns:
            best = reading
    assert best is not None
    return best


def shares(forks: int, workers: int) -> list[int]:
    """Give how many forks each worker makes: together `forks`, none more than one more than another."""
    return [forks // workers + (worker < forks % workers) for worker in range(workers)]


class Workers:
    """Processes that stand ready to fork; `go` lets them all fork at once and waits for their end.

    Should this process die before, so do they. Raises LinnixRecError if there may not be so many.
    """

    def __init__(self, count: int, forks: int) -> None:
        gate, self._open = os.pipe()
        self._pids: list[int] = []
        for share in shares(forks, count):
            try:
                pid = os.fork()
            except OSError as error:
                raise LinnixRecError(f"can't start {count} workers: {error.strerror}") from error
            if pid == 0:
                os.close(self._open)
                _work(gate, share)
            self._pids.append(pid)
        os.close(gate)

    def go(self) -> None:
        """Open the gate. Raises LinnixRecError if a worker failed."""
        os.write(self._open, bytes(len(self._pids)))
        os.close(self._open)
        failed = [pid for pid in self._pids if os.waitpid(pid, 0)[1]]
        if failed:
            raise LinnixRecError(
                f"{len(failed)} of {len(self._pids)} workers could not fork: is there a limit?"
            )


def _work(gate: int, forks: int) -> None:
    """Wait until the gate opens, fork, and end this process; never returns."""
    status = 1
    try:
        make = _births()
        if os.read(gate, 1):
            for _ in range(forks):
                os.waitpid(make(), 0)
            status = 0
    finally:
        os._exit(status)


def _births() -> Callable[[], int]:
    """Give a function that makes a process which ends at once, and gives its number; wait for each."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, NAME.encode(), 0, 0, 0)
    libc.clone.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    stack = ctypes.create_string_buffer(_CHILD_STACK_BYTES)
    top = (ctypes.addressof(stack) + _CHILD_STACK_BYTES) & ~15  # it grows down, in steps of 16
    ends = ctypes.cast(libc["_exit"], ctypes.c_void_p)
    flags = _CLONE_VM | _CLONE_VFORK | signal.SIGCHLD

    def make(_keeps: object = stack) -> int:
        # The child runs libc's _exit(0) on its own stack, and none of our code.
        pid: int = libc.clone(ends, top, flags, None)
        if pid < 0:
            raise OSError(ctypes.get_errno(), "clone")
        return pid

    return make


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a storm and print it; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m linnix_rec.bench.storm")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--forks", type=int, default=0)
    parser.add_argument("command", nargs="*", help="a load to run in the place of our own workers")
    given = parser.parse_args(arguments)
    try:
        load = _command(given.command) if given.command else Workers(given.workers, given.forks).go
        made = storm(load)
    except LinnixRecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    sys.stdout.write(json.dumps(asdict(made)) + "\n")
    return 0


def _command(command: Sequence[str]) -> Callable[[], None]:
    def run() -> None:
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if ended.returncode:
            raise LinnixRecError(f"the load failed: {command[0]} ended with status {ended.returncode}")

    return run


if __name__ == "__main__":
    sys.exit(main())
