"""What goes through a ring buffer or perf buffers comes out, or is told as lost: by kind, and in sum."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.bpf import perf_event
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.capture.document import Accounts
from linnix_rec.sources import perf
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.perf import PerfSource, load_perf
from linnix_rec.sources.ringbuf import RingbufSource, load_ringbuf
from tests.kernel.conftest import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.kernel

Row = dict[str, Any]
Source = RingbufSource | PerfSource

PAGE = os.sysconf("SC_PAGE_SIZE")
ROOMY = 1 << 22
KINDS = ("fork", "exec", "exit", "task")


def open_ringbuf(size_bytes: int, wakeup: str = "adaptive") -> RingbufSource:
    return RingbufSource(load_ringbuf(size_bytes, wakeup=wakeup, tree_only=True), Decoder(PAGE, 0))


def open_perf(size_bytes: int, wakeup: str = "adaptive", merge: str = "time") -> PerfSource:
    return PerfSource(load_perf(size_bytes, wakeup=wakeup, tree_only=True), Decoder(PAGE, 0), merge=merge)


def open_perf_unmerged(size_bytes: int, wakeup: str = "adaptive") -> PerfSource:
    return open_perf(size_bytes, wakeup, "none")


CHANNELS = pytest.mark.parametrize("open_channel", [open_ringbuf, open_perf, open_perf_unmerged])


@dataclass
class Channelled:
    """A tree's life through one channel."""

    rows: list[Row] = field(default_factory=list)
    readings: list[int] = field(default_factory=list)  # rows of each
    accounts: Accounts | None = None
    lag: int = 0

    def take(self, source: Source, limit: int, *, final: bool = False) -> int:
        before = len(self.rows)
        for batch in source.read(limit, final=final):
            self.rows += batch.to_pylist()
        self.readings.append(len(self.rows) - before)
        return self.readings[-1]

    def of(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row["kind"] == kind]

    @property
    def known(self) -> Accounts:
        assert self.accounts is not None
        return self.accounts


def waiting_shell(
    start_process: Callable[..., subprocess.Popen[bytes]], script: str
) -> subprocess.Popen[bytes]:
    """A shell that is over its own exec, and runs `script` once it is told to."""
    shell = start_process("/bin/sh", "-c", f"echo; read go; {script}")
    assert shell.stdout is not None
    assert shell.stdout.readline() == b"\n"
    return shell


def channelled(
    source: Source,
    start_process: Callable[..., subprocess.Popen[bytes]],
    script: str,
    *,
    reading: bool = True,
    limit: int = 1 << 14,
) -> Channelled:
    """All that a shell does that runs `script`; not `reading`: only read once it has ended."""
    what = Channelled()
    shell = waiting_shell(start_process, script)
    pidfd = os.pidfd_open(shell.pid)
    with source:
        source.attach()
        source.mark(pidfd)
        source.adopt()
        source.list_tasks()
        assert shell.stdin is not None
        shell.stdin.write(b"go\n")
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        wait_until(
            lambda: bool(ended.poll(0)),
            "for the shell to end",
            meanwhile=lambda: what.take(source, limit) if reading else None,
        )
        source.detach()
        while source.lag:
            assert what.take(source, limit, final=True)
        what.take(source, limit, final=True)
        what.accounts, what.lag = source.accounts(), source.lag
    os.close(pidfd)
    return what


def adds_up(what: Channelled) -> None:
    """Each kind's rows are what the channel took, gaps what it refused, and numbers go on through both."""
    rows = Counter(row["kind"] for row in what.rows)
    accounts = what.known
    for kind in KINDS:
        assert rows[kind] == accounts.events[kind].claimed - accounts.events[kind].abandoned, kind
    assert sum(row["lost"] for row in what.of("gap")) == accounts.abandoned
    assert accounts.issued == accounts.published + accounts.abandoned
    assert accounts.published == sum(rows[kind] for kind in KINDS)
    seq = 0
    for row in what.rows:
        assert row["seq"] == seq
        seq += row["lost"] if row["kind"] == "gap" else 1
    assert seq == accounts.issued
    assert what.lag == 0


@CHANNELS
def test_a_storm_comes_out_whole(
    open_channel: Callable[..., Source],
    start_process: Callable[..., subprocess.Popen[bytes]],
    programs: Path,
) -> None:
    what = channelled(open_channel(ROOMY), start_process, f"{programs / 'vfork_storm'} 2000; exit 0")
    adds_up(what)
    assert what.known.abandoned == 0
    assert len(what.of("fork")) == 2001
    assert {row["slots"] for row in what.rows} == {1}
    assert what.of("task")[0]["seq"] == 0


@CHANNELS
def test_what_a_small_buffer_drops_is_told_to_the_last_event(
    open_channel: Callable[..., Source],
    start_process: Callable[..., subprocess.Popen[bytes]],
    programs: Path,
) -> None:
    what = channelled(open_channel(PAGE), start_process, f"{programs / 'vfork_storm'} 2000; exit 0")
    adds_up(what)
    assert {row["reason"] for row in what.of("gap")} == {"dropped"}
    told = [pair for pair in pairwise(what.rows) if pair[0]["kind"] == "gap" and pair[0]["cpu"] is not None]
    assert told
    for gap, found_room in told:
        assert gap["cpu"] == found_room["cpu"]


def test_a_full_ring_buffer_keeps_the_old_and_its_gap_stands_behind(
    start_process: Callable[..., subprocess.Popen[bytes]], programs: Path
) -> None:
    script = f"{programs / 'vfork_storm'} 2000; exit 0"
    what = channelled(open_ringbuf(PAGE), start_process, script, reading=False)
    adds_up(what)
    assert [row["kind"] == "gap" for row in what.rows] == [False] * (len(what.rows) - 1) + [True]
    assert [row["kind"] for row in what.rows[:4]] == ["task", "fork", "exec", "fork"]


def test_a_full_perf_buffer_tells_on_which_cpu_and_the_kernel_counts_the_same(
    start_process: Callable[..., subprocess.Popen[bytes]], programs: Path
) -> None:
    script = f"{programs / 'vfork_storm'} 2000; exit 0"
    what = channelled(open_perf(PAGE), start_process, script)
    adds_up(what)
    assert what.known.channel_lost == what.known.abandoned
    online = os.sched_getaffinity(0)
    assert {row["cpu"] for row in what.of("gap")[:-1]} <= online
    assert {row["cpu"] for row in what.of("gap")} & online


@CHANNELS
def test_a_reading_gives_as_much_as_was_asked_for_whichever_cpu_has_it(
    open_channel: Callable[..., Source],
    start_process: Callable[..., subprocess.Popen[bytes]],
    programs: Path,
) -> None:
    cpu = min(os.sched_getaffinity(0))
    script = f"taskset -c {cpu} {programs / 'vfork_storm'} 2000; exit 0"
    what = channelled(open_channel(ROOMY), start_process, script, reading=False, limit=1000)
    adds_up(what)
    assert len(what.rows) > 4000
    assert min(what.readings[:3]) >= 900


def test_perf_buffers_that_are_merged_come_by_time(
    start_process: Callable[..., subprocess.Popen[bytes]], programs: Path
) -> None:
    """However little is read at once, and though one buffer holds far more than another."""
    cpus = sorted(os.sched_getaffinity(0))
    storms = " & ".join(
        f"taskset -c {cpu} {programs / 'vfork_storm'} {500 * count}" for count, cpu in enumerate(cpus[:4], 1)
    )
    what = channelled(open_perf(ROOMY), start_process, f"{storms} & wait; exit 0", reading=False, limit=100)
    adds_up(what)
    assert len({row["cpu"] for row in what.rows}) >= min(len(cpus), 2)
    latest: dict[int, int] = {}  # a CPU's own order is kept, whatever its times
    times = []
    for row in what.rows:
        latest[row["cpu"]] = max(latest.get(row["cpu"], 0), row["boot_ns"])
        times.append(latest[row["cpu"]])
    assert times == sorted(times)


@CHANNELS
def test_an_exec_s_arguments_come_through_to_their_last_byte(
    open_channel: Callable[..., Source], start_process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    arguments = ["/bin/echo", *(f"{place:03d}" + "x" * 76 for place in range(20))]
    what = channelled(open_channel(ROOMY), start_process, f"{' '.join(arguments)} >/dev/null; exit 0")
    adds_up(what)
    (row,) = what.of("exec")
    assert row["argv"] == arguments
    assert not row["argv_truncated"]


def test_a_ring_buffer_s_order_is_causal(
    start_process: Callable[..., subprocess.Popen[bytes]], programs: Path
) -> None:
    """A birth reserves before the newborn first runs, and what was reserved comes in that order."""
    script = "for i in 1 2 3 4 5 6 7 8; do (/bin/true; /bin/true) & done; wait; exit 0"
    what = channelled(open_ringbuf(ROOMY), start_process, script)
    adds_up(what)
    born = {(row["tid"], row["start_ns"]) for row in what.of("task")}
    for row in what.rows:
        assert (row["tid"], row["start_ns"]) in born, row
        if row["kind"] == "fork":
            born.add((row["child_tid"], row["child_start_ns"]))
    assert len(what.of("fork")) >= 8


@pytest.mark.parametrize(
    ("open_channel", "size_bytes", "wakeup", "is_woken"),
    [
        (open_ringbuf, ROOMY, "adaptive", True),
        (open_ringbuf, ROOMY, "force", True),
        (open_ringbuf, ROOMY, "every:2", True),
        (open_ringbuf, ROOMY, "every:1000000", False),
        (open_perf, ROOMY, "adaptive", False),
        (open_perf, PAGE, "adaptive", True),
        (open_perf, ROOMY, "force", True),
        (open_perf, ROOMY, "every:2", True),
        (open_perf, ROOMY, "every:1000000", False),
    ],
)
def test_a_reader_is_woken_as_was_asked_for(
    open_channel: Callable[..., Source],
    size_bytes: int,
    wakeup: str,
    is_woken: bool,
    start_process: Callable[..., subprocess.Popen[bytes]],
    programs: Path,
) -> None:
    shell = waiting_shell(start_process, f"{programs / 'vfork_storm'} 100; exit 0")
    pidfd = os.pidfd_open(shell.pid)
    with open_channel(size_bytes, wakeup) as source, select.epoll() as waiting:
        for descriptor in source.descriptors:
            waiting.register(descriptor, select.EPOLLIN)
        source.attach()
        source.mark(pidfd)
        shell.communicate(b"go\n")
        assert bool(waiting.poll(PATIENCE_SECONDS if is_woken else 0.05)) is is_woken
    os.close(pidfd)


@CHANNELS
def test_who_wakes_nobody_has_nothing_to_wait_for(open_channel: Callable[..., Source]) -> None:
    with open_channel(ROOMY, "none") as source:
        assert source.descriptors == ()


def test_a_cpu_without_a_buffer_loses_its_events_and_says_so(
    start_process: Callable[..., subprocess.Popen[bytes]], programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if one CPU had been offline at the start, and come since."""
    offline = max(os.sched_getaffinity(0))

    class OutputBuffer(perf_event.OutputBuffer):
        def __init__(self, cpu: int, size_bytes: int, **options: int) -> None:
            if cpu == offline:
                raise KernelRefusedError("can't open a buffer", errno.ENODEV)
            super().__init__(cpu, size_bytes, **options)

    monkeypatch.setattr(perf, "OutputBuffer", OutputBuffer)
    script = f"taskset -c {offline} {programs / 'vfork_storm'} 100; exit 0"
    what = channelled(open_perf(ROOMY), start_process, script)
    adds_up(what)
    assert what.known.abandoned >= 200
    assert [(row["lost"], row["cpu"]) for row in what.of("gap")] == [(what.known.abandoned, None)]
    assert what.known.channel_lost == 0


def test_before_linux_6_0_what_perf_told_is_what_it_lost(
    start_process: Callable[..., subprocess.Popen[bytes]], programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perf_event, "_PERF_FORMAT_LOST", 1 << 40)  # which no kernel knows
    script = f"{programs / 'vfork_storm'} 2000; exit 0"
    what = channelled(open_perf(PAGE), start_process, script)
    adds_up(what)
    told = sum(row["lost"] for row in what.of("gap") if row["cpu"] is not None)
    assert what.known.channel_lost == told > 0
