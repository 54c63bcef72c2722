"""Loss is never silent: each lost ticket is in a gap at its place, and the accounts agree."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.capture.directory import prepare_directory
from linnix_rec.session.evidence import Evidence
from linnix_rec.session.record import Followed, begin
from linnix_rec.session.recording import CAUGHT_SIGNALS, Recording
from linnix_rec.session.request import Request
from linnix_rec.session.wakeup import Wakeup
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.sequencer import SequencerSource, load_sequencer
from tests.kernel.conftest import Read, has_begun, wait_until

pytestmark = pytest.mark.kernel

SLOTS = 1024

# Below an unshared shell that waits for a word, the tickets are known beforehand.
SCRIPT = "read go; /bin/true; /bin/true; exit 0"
TASK, FIRST_FORK, FIRST_EXEC, FIRST_EXIT, SECOND_FORK, SECOND_EXEC, SECOND_EXIT, EXIT = 0, 1, 2, 4, 5, 6, 8, 9
WHOLE = [TASK, FIRST_FORK, FIRST_EXEC, FIRST_EXIT, SECOND_FORK, SECOND_EXEC, SECOND_EXIT, EXIT]


@dataclass(frozen=True)
class Tampered:
    """A recording in this process, with a writable view of its ring."""

    capture: Read
    slots: Any

    @property
    def gaps(self) -> list[tuple[int, int, str]]:
        return [(row["seq"], row["lost"], row["reason"]) for row in self.capture.of("gap")]

    @property
    def seqs(self) -> list[int]:
        """Of all events but the listing at the end, in which the shell is a zombie."""
        first = self.capture.document.listings[-1].first_seq
        return [row["seq"] for row in self.capture.rows if row["kind"] != "gap" and row["seq"] < first]


@pytest.fixture
def tamper(tmp_path: Path, read_back: Callable[[Path], Read]) -> Callable[..., Tampered]:
    """Record SCRIPT after `stamps` (place -> stamp) were written into the ring, as a stray owner would."""

    def run(stamps: dict[int, int], script: str = SCRIPT) -> Tampered:
        directory = tmp_path / "tampered.lrec"
        with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE) as shell:
            slots = _record_tampered(shell, directory, stamps)
        return Tampered(read_back(directory), slots)

    return run


def _record_tampered(shell: subprocess.Popen[bytes], directory: Path, stamps: dict[int, int]) -> Any:
    """Record until the shell has ended; gives the ring as it was left."""
    request = Request(pid=shell.pid, output=directory, ring_slots=SLOTS, quiet=True)
    decoder = Decoder(page_size_bytes=4096, realtime_offset_ns=0)
    loaded = load_sequencer(SLOTS, tree_only=True)
    go = threading.Thread(target=_say_go, args=(shell, directory))
    pidfd = os.pidfd_open(shell.pid)
    try:
        with (
            SequencerSource(loaded, decoder) as source,
            Wakeup(CAUGHT_SIGNALS) as wakeup,
            Evidence(prove=False, witnesses=()) as evidence,
        ):
            memory = loaded.maps["ring"].map_memory(writable=True)
            slots = np.frombuffer(memory, struct_dtype(loaded.spec.btf, "slot"))
            for place, stamp in stamps.items():
                slots["stamp"][place] = stamp
            go.start()
            prepare_directory(directory, force=False)
            writer = begin(request, directory, source, evidence, Followed(shell.pid, pidfd))
            Recording(request, source, writer, wakeup, evidence).run(None, pidfd)
            return slots.copy()
    finally:
        os.close(pidfd)
        go.join()


def _say_go(shell: subprocess.Popen[bytes], recording: Path) -> None:
    wait_until(lambda: has_begun(recording), "for the recording to begin")
    assert shell.stdin is not None
    shell.stdin.write(b"go\n")
    shell.stdin.close()


def test_untouched_the_tickets_are_as_expected(tamper: Callable[..., Tampered]) -> None:
    recorded = tamper({})
    assert (recorded.seqs, recorded.gaps) == (WHOLE, [])
    assert recorded.capture.verdict.proven


@pytest.mark.parametrize("ticket", [FIRST_FORK, FIRST_EXIT, SECOND_FORK, EXIT])
@pytest.mark.parametrize("stamp", ["odd", "later"])
def test_a_slot_that_can_t_be_taken_is_one_abandoned_ticket_in_its_place(
    tamper: Callable[..., Tampered], ticket: int, stamp: str
) -> None:
    recorded = tamper({ticket: 1 if stamp == "odd" else 2 * (ticket + SLOTS) + 2})
    assert recorded.gaps == [(ticket, 1, "abandoned")]
    assert recorded.seqs == [seq for seq in WHOLE if seq != ticket]
    assert not recorded.capture.verdict.proven
    account = recorded.capture.document.accounts
    assert account is not None
    # With the listing at the end.
    assert (account.issued, account.published, account.abandoned) == (11, 10, 1)


@pytest.mark.parametrize("slot", [0, 1])
def test_an_exec_of_which_one_slot_can_t_be_taken_is_lost_whole(
    tamper: Callable[..., Tampered], slot: int
) -> None:
    recorded = tamper({FIRST_EXEC + slot: 1})
    assert recorded.gaps == [(FIRST_EXEC, 2, "abandoned")]
    assert recorded.seqs == [seq for seq in WHOLE if seq != FIRST_EXEC]
    account = recorded.capture.document.accounts
    assert account is not None
    assert (account.published, account.abandoned, account.events["exec"].abandoned) == (9, 2, 1)


def test_the_head_of_a_lost_exec_can_be_taken_by_the_next_lap(tamper: Callable[..., Tampered]) -> None:
    recorded = tamper({FIRST_EXEC + 1: 1})
    assert int(recorded.slots["stamp"][FIRST_EXEC]) == 2 * FIRST_EXEC


def test_neighbouring_abandoned_tickets_are_one_gap(tamper: Callable[..., Tampered]) -> None:
    recorded = tamper({FIRST_EXIT: 1, SECOND_FORK: 1, SECOND_EXEC: 1})
    assert recorded.gaps == [(FIRST_EXIT, 4, "abandoned")]


def test_a_log_that_overflows_loses_no_ticket(tamper: Callable[..., Tampered]) -> None:
    """100 events are abandoned one by one, and the producers' log names but 64."""
    stamps = {1 + 4 * turn: 1 for turn in range(100)}  # each fork of a /bin/true
    recorded = tamper(stamps, "read go; i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done; exit 0")
    assert recorded.gaps == [(place, 1, "abandoned") for place in stamps]
    assert recorded.capture.tickets == 403


def test_a_stopped_recorder_says_exactly_what_it_missed(
    record: Any, read_back: Callable[[Path], Read]
) -> None:
    storm = "i=0; while [ $i -lt 1000 ]; do (exit 3); i=$((i+1)); done"
    command = ["sh", "-c", f"kill -STOP $PPID; {storm}; kill -CONT $PPID; exit 0"]
    recording = record(*command, options=["--ring-slots", str(SLOTS)])
    assert recording.status == 0
    assert "tickets lost" in recording.stderr
    assert "--ring-slots 2048" in recording.stderr
    capture = read_back(recording.capture)
    (gap,) = capture.of("gap")
    assert gap["reason"] == "lapped"
    after = [row for row in capture.rows if row["seq"] >= gap["seq"] + gap["lost"]]
    # What the ring still held when the recorder went on, but for what came while it looked.
    assert SLOTS - 16 <= sum(row["slots"] for row in after) <= SLOTS + 8
    account = capture.document.accounts
    assert account is not None
    assert capture.tickets == account.issued >= 2000
    assert account.abandoned == 0
    assert account.events["exit"].claimed == 1001


def test_strict_turns_loss_into_failure(record: Any, read_back: Callable[[Path], Read]) -> None:
    storm = "i=0; while [ $i -lt 600 ]; do (exit 3); i=$((i+1)); done"
    command = ["sh", "-c", f"kill -STOP $PPID; {storm}; kill -CONT $PPID; exit 0"]
    recording = record(*command, options=["--strict", "--ring-slots", str(SLOTS)])
    assert recording.status == 125
    assert read_back(recording.capture).verdict.lost_tickets > 0


@pytest.mark.parametrize(("slots", "rounds", "laps"), [(16384, 4200, 10), (4096, 600, 5)])
def test_a_ring_that_is_lapped_loses_nothing(
    record: Any, read_back: Callable[[Path], Read], programs: Path, slots: int, rounds: int, laps: int
) -> None:
    # Whoever reads comes first: on a busy host a small ring is else lapped before he is let run.
    storm = ["nice", "-n", "19", programs / "thread_storm", str(rounds), "20"]
    recording = record(*storm, options=["--ring-slots", str(slots)])
    assert recording.status == 0
    capture = read_back(recording.capture)
    assert capture.verdict.proven, capture.verdict
    assert capture.verdict.events["fork"] == rounds * 20
    account = capture.document.accounts
    assert account is not None
    assert account.laps >= laps
    assert f"nothing lost, {account.laps} laps of the ring" in recording.stderr
