"""A recorder that can't keep up: what was overwritten is gaps whose tickets add up, the rest is whole."""

from __future__ import annotations

import io
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.session.status import Progress, StatusLine, enough_slots
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import Tickets
from tests.kernel.conftest import Read, has_begun, wait_until

pytestmark = pytest.mark.kernel

SLOTS = 4096
ROUNDS, THREADS = 400, 20  # two tickets a thread: nearly four laps


def stopped_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def overloaded(
    start_linnix_rec: Callable[..., subprocess.Popen[str]],
    start_process: Callable[..., subprocess.Popen[bytes]],
    pin_name: Callable[[], str],
    programs: Path,
    tmp_path: Path,
) -> tuple[Path, str]:
    """A capture whose recorder was stopped twice, for three laps each; and what it said in the end."""
    storm = f"{programs / 'thread_storm'} {ROUNDS} {THREADS}"
    shell = start_process("/bin/sh", "-c", f"read go; {storm}; echo; read go; {storm}; echo; read go; exit 0")
    assert shell.stdin is not None
    assert shell.stdout is not None
    pin, capture = pin_name(), tmp_path / "a.lrec"
    options = ("--pin", pin, "-p", str(shell.pid), "--ring-slots", str(SLOTS), "-o", capture)
    recorder = start_linnix_rec("record", *options)  # pinned, so that its counter can be seen
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    tickets, missed = Tickets(pin), []
    for _ in range(2):
        before = tickets.issued
        recorder.send_signal(signal.SIGSTOP)
        wait_until(lambda: stopped_state(recorder.pid) == "T", "for the recorder to stop")
        shell.stdin.write(b"go\n")
        assert shell.stdout.readline() == b"\n"
        missed.append(tickets.issued - before)
        recorder.send_signal(signal.SIGCONT)
    shell.stdin.write(b"go\n")
    _, complaint = recorder.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    assert recorder.returncode == 0, complaint
    assert min(missed) >= 3 * SLOTS
    return capture, complaint


def test_the_gaps_of_a_stopped_recorder_are_the_tickets_that_are_missing(
    overloaded: tuple[Path, str], read_back: Callable[[Path], Read], linnix_rec: Any
) -> None:
    path, complaint = overloaded
    read = read_back(path)
    account = read.document.accounts
    assert account is not None
    gaps = read.of("gap")
    captured = sum(row["slots"] for row in read.rows)
    lost = sum(row["lost"] for row in gaps)
    assert lost == account.issued - captured >= 4 * SLOTS
    assert {row["reason"] for row in gaps} == {"lapped"}
    assert f"{lost:,} tickets lost" in complaint

    # Events that are missing: the kernel's own count of each kind, less the rows.
    rows = Counter(row["kind"] for row in read.rows)
    claimed = {kind: event.claimed for kind, event in account.events.items()}
    missing = {kind: claimed[kind] - rows[kind] for kind in claimed}
    assert claimed["fork"] == 2 * (ROUNDS * THREADS + 1)
    assert all(count >= 0 for count in missing.values())
    # Threads' forks and exits take a ticket each; an exec that was lost took more than one.
    assert missing["fork"] + missing["exit"] + missing["task"] <= lost
    assert (
        missing["exec"] <= lost - missing["fork"] - missing["exit"] - missing["task"] <= 16 * missing["exec"]
    )

    assert linnix_rec("verify", path).returncode == 1
    assert linnix_rec("verify", "--allow-loss", path).returncode == 0


def test_a_stop_is_one_gap_and_what_is_around_it_is_whole(
    overloaded: tuple[Path, str], read_back: Callable[[Path], Read]
) -> None:
    path, _ = overloaded
    rows = read_back(path).rows
    seq = 0
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        assert row["seq"] == seq
        seq += row["slots"] + (row["lost"] or 0)
        if row["kind"] == "gap":
            assert after is not None
            assert after["kind"] != "gap"  # neighbours are one
            assert after["seq"] == seq
    forks = [row for row in rows if row["kind"] == "fork" and row["comm"] == "thread_storm"]
    assert {row["child_tgid"] - row["tgid"] for row in forks} == {0}
    exits = [row for row in rows if row["kind"] == "exit" and row["comm"] == "thread_storm"]
    assert {(row["exit_code"], row["exit_signal"], row["core_dumped"]) for row in exits} == {(0, 0, False)}


def test_the_advice_is_a_ring_that_would_have_been_enough(
    overloaded: tuple[Path, str], read_back: Callable[[Path], Read]
) -> None:
    path, complaint = overloaded
    longest = max(row["lost"] for row in read_back(path).of("gap"))
    enough = 1 << (SLOTS + longest - 1).bit_length()
    assert f"the ring was too small for this load: try --ring-slots {enough}" in complaint
    assert enough in (16384, 32768)


def test_the_status_line_says_so_meanwhile() -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    line = StatusLine(True, screen)
    line._drawn -= 1
    line.show(
        Progress(events=5, lag=7, lost=14_000, bytes_written=0, enough_slots=enough_slots(SLOTS, 14_000))
    )
    assert "lost 14,000 (try --ring-slots 32768)" in screen.getvalue()
