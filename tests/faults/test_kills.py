"""The recorder is killed again and again in a storm, and not one event is missing, and none is double.

LINNIX_REC_KILLS=50 is the long form (`make faults`): it goes on until the ring was lapped ten times, too.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.bpf.descriptor import enable_run_statistics
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.reader import Capture, open_capture
from linnix_rec.proof.verify import verify_capture
from tests.conftest import PATIENCE, RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import Tickets, document_of, is_pinned, reads, run_counts
from tests.kernel.conftest import has_begun, wait_until

pytestmark = pytest.mark.kernel

REAPER = Path(__file__).parent / "reaper.py"
KILLS = int(os.environ.get("LINNIX_REC_KILLS", "5"))
LAPS = 10 if KILLS >= 50 else 0
LONGEST_READING_S = 7.0 if LAPS else 1.5
RING_SLOTS = 1 << 16
SEED = int(os.environ.get("LINNIX_REC_SEED", "1"))
SEGMENT = ("--segment", "0.3s")

Start = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True)
class Kill:
    """One kill -9, and what the next recorder that came to read found.

    moment_s: since that recorder was started; issued, durable: tickets then
    downtime_s: until another reads; waiting: tickets then in the ring, unread
    """

    moment_s: float
    reading: bool
    issued: int
    durable: int
    downtime_s: float
    waiting: int

    @property
    def lap_share(self) -> float:
        return self.waiting / RING_SLOTS


class Storm:
    """`stress-ng --fork 2` under a name of its own, by which perf(1) counts its forks and exits.

    It waits for `rage`; `pid` is the tree's root, and ends after the last of it: perf counts until its child
    ends, and an orphan of stress-ng's may outlive that, so its child is one that reaps all.
    """

    def __init__(self, directory: Path) -> None:
        self.comm = f"storm-{os.getpid()}"
        self._counts = directory / "perf.csv"
        program = directory / self.comm
        program.symlink_to(str(shutil.which("stress-ng")))
        fork = ["-e", "sched:sched_process_fork", "--filter", f'parent_comm == "{self.comm}"']
        exit_ = ["-e", "sched:sched_process_exit", "--filter", f'comm == "{self.comm}"']
        stress = [program, "--keep-name", "--fork", "2", "--quiet", "--timeout", "1h"]
        perf = ["perf", "stat", "-a", "-x,", "-o", self._counts, *fork, *exit_]
        waiting = ["/bin/sh", "-c", 'read go; exec "$@"', "sh", *perf, "--", sys.executable, REAPER, *stress]
        self._perf = subprocess.Popen(waiting, stdin=subprocess.PIPE, start_new_session=True)
        self.pid = self._perf.pid

    def rage(self) -> None:
        assert self._perf.stdin is not None
        self._perf.stdin.write(b"go\n")
        self._perf.stdin.close()

    def end(self) -> tuple[int, int]:
        """End it; how many forks and exits perf counted."""
        children = Path(f"/proc/{self._perf.pid}/task/{self._perf.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGINT)
        self._perf.wait(60)
        lines = [line.split(",") for line in self._counts.read_text().splitlines()]
        counted = {line[2]: int(line[0]) for line in lines if len(line) > 2}
        return counted["sched:sched_process_fork"], counted["sched:sched_process_exit"]

    def kill(self) -> None:
        if self._perf.poll() is None:
            os.killpg(self._perf.pid, signal.SIGKILL)
            self._perf.wait()


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    one = Storm(tmp_path)
    yield one
    one.kill()


@dataclass
class Siege:
    """One capture, and the recorders that were killed over it."""

    capture: Path
    tickets: Tickets
    start: Start
    chance: random.Random
    kills: list[Kill]

    def lay(self, recorder: subprocess.Popen[str], kills: int, laps: int) -> subprocess.Popen[str]:
        """Kill, and start the next, until both are had; the last one runs."""
        hits: list[tuple[float, bool, int, int]] = []
        died_s = 0.0
        while len(self.kills) < kills or self.tickets.issued < laps * RING_SLOTS or hits:
            born_s = time.monotonic()
            # Some die before they read, but the ring must not be lapped before one does.
            doomed = 0 < len(hits) < 3 and self.chance.random() < 0.3
            moment_s = self.chance.uniform(0.0, 0.6) if doomed else 0.0
            if not doomed:
                wait_until(lambda pid=recorder.pid: reads(pid), "for a recorder to read")
                now_s, waiting = time.monotonic(), self.tickets.issued - document_of(self.capture).durable_seq
                self.kills += [Kill(*hit, downtime_s=now_s - died_s, waiting=waiting) for hit in hits]
                hits.clear()
                if len(self.kills) >= kills and self.tickets.issued >= laps * RING_SLOTS:
                    break
                if waiting > RING_SLOTS // 2:
                    wait_until(self.has_caught_up, "for the durable seq to come near")
                moment_s = time.monotonic() - born_s + self.chance.uniform(0.0, LONGEST_READING_S)
            time.sleep(max(0.0, born_s + moment_s - time.monotonic()))
            reading, issued = reads(recorder.pid), self.tickets.issued
            recorder.kill()
            recorder.wait()
            died_s = died_s if hits else time.monotonic()
            hits.append((moment_s, reading, issued, document_of(self.capture).durable_seq))
            recorder = self.start("record", "--resume", self.capture, *SEGMENT)
        return recorder

    def has_caught_up(self) -> bool:
        return self.tickets.issued - document_of(self.capture).durable_seq < RING_SLOTS // 8


@pytest.fixture
def statistics() -> Iterator[None]:
    """Have the kernel count the runs of programs."""
    with enable_run_statistics():
        yield


@pytest.mark.timeout(900 * PATIENCE)
def test_kills_and_resumes_in_a_storm_lose_nothing_and_double_nothing(
    start_linnix_rec: Start,
    pin_name: Callable[[], str],
    storm: Storm,
    statistics: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pin, capture = pin_name(), tmp_path / "storm.lrec"
    options = ["--pin", pin, "--ring-slots", str(RING_SLOTS), *SEGMENT]
    # Its tree alone: the ring's laps are the storm's, whatever else this machine does.
    recorder = start_linnix_rec("record", "-p", str(storm.pid), *options, "-o", capture)
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    siege = Siege(capture, Tickets(pin), start_linnix_rec, random.Random(SEED), [])  # noqa: S311
    storm.rage()
    recorder = siege.lay(recorder, KILLS, LAPS)
    with run_counts(pin) as ran:
        forks, exits = storm.end()
        _, complaint = recorder.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    assert recorder.returncode == 0, complaint
    with capsys.disabled():
        sys.stderr.writelines(["\n", *table(siege.kills)])
    read = open_capture(capture)
    verdict = verify_capture(read)
    assert verdict.proven, verdict
    rows = rows_once(read)
    assert (rows["fork", storm.comm], rows["exit", storm.comm]) == (forks, exits)
    assert_kernel_agrees(read.document, rows, ran)
    assert all(kill.lap_share < 1 for kill in siege.kills)
    assert len(read.document.resumptions) >= len(siege.kills) - sum(not kill.reading for kill in siege.kills)
    account = read.document.accounts
    assert account is not None
    assert account.laps >= LAPS
    assert not is_pinned(pin)


def rows_once(read: Capture) -> Counter[tuple[str, str | None]]:
    """How many rows there are of each kind and name; their tickets have no step, up to the last issued."""
    rows: Counter[tuple[str, str | None]] = Counter()
    seq = 0
    for batch in read.batches():
        seqs, slots = (batch[name].to_numpy() for name in ("seq", "slots"))
        assert seqs[0] == seq
        assert (seqs[1:] == seqs[:-1] + slots[:-1]).all()
        seq = int(seqs[-1]) + int(slots[-1])
        rows.update(zip(batch["kind"].to_pylist(), batch["comm"].to_pylist(), strict=True))
    assert read.document.accounts is not None
    assert seq == read.document.accounts.issued
    return rows


def assert_kernel_agrees(
    document: CaptureDocument, rows: Counter[tuple[str, str | None]], ran: dict[str, int]
) -> None:
    """Each program ran once for each event, or filtered it (idle tasks' forks)."""
    assert document.accounts is not None
    exits = ran.get("on_exit_group_dead", 0) + ran.get("on_exit", 0)
    runs: dict[str, Any] = {"fork": ran["on_newtask"], "exec": ran["on_exec"], "exit": exits}
    for kind, count in runs.items():
        account = document.accounts.events[kind]
        events = sum(number for (of_kind, _), number in rows.items() if of_kind == kind)
        assert count == account.seen == events + account.filtered, kind


def table(kills: list[Kill]) -> Iterator[str]:
    yield "  n  at s  reading     issued    durable  downtime ms  waiting  share of a lap\n"
    for number, kill in enumerate(kills, 1):
        reading = "yes" if kill.reading else "no"
        yield (
            f"{number:3}  {kill.moment_s:4.2f}  {reading:7}  {kill.issued:9,}  {kill.durable:9,}"
            f"  {kill.downtime_s * 1000:11,.0f}  {kill.waiting:7,}  {kill.lap_share:14.3f}\n"
        )
