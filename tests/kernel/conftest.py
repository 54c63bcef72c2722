"""What the acceptance tests share: proven rows of a capture, recorders in the background."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from linnix_rec.bpf.pins import remove_pins
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.reader import Capture, open_capture
from linnix_rec.proof.verdict import Verdict
from linnix_rec.proof.verify import verify_capture
from linnix_rec.sources.pinned import pin_directory
from tests.conftest import PATIENCE

Row = dict[str, Any]
PATIENCE_SECONDS = 30 * PATIENCE


@dataclass(frozen=True)
class Read:
    """A capture and its verdict; rows are read when somebody asks for them."""

    capture: Capture
    verdict: Verdict

    @property
    def document(self) -> CaptureDocument:
        return self.capture.document

    @cached_property
    def rows(self) -> list[Row]:
        return [row for batch in self.capture.batches() for row in batch.to_pylist()]

    def of(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row["kind"] == kind]

    @property
    def tickets(self) -> int:
        """Tickets that rows and gaps account for."""
        batches = self.capture.batches(["slots", "lost"])
        return sum(int(pc.sum(column).as_py() or 0) for batch in batches for column in batch.columns)


@pytest.fixture(scope="session")
def read_back() -> Callable[[Path], Read]:
    """Read a capture of which every rule must hold."""

    def read(path: Path) -> Read:
        capture = open_capture(path)
        verdict = verify_capture(capture)
        assert verdict.holds, [rule for rule in verdict.rules if not rule.holds]
        return Read(capture, verdict)

    return read


@pytest.fixture
def proven(read_back: Callable[[Path], Read]) -> Callable[[Path], Read]:
    """Read a capture that must be proven: whole, finished, in order, nothing lost."""

    def read(path: Path) -> Read:
        capture = read_back(path)
        assert capture.verdict.proven, capture.verdict
        assert capture.document.accounts is not None
        assert capture.tickets == capture.document.accounts.issued
        return capture

    return read


def identity(row: Row) -> tuple[int, int]:
    return row["tid"], row["start_ns"]


def born(fork: Row) -> tuple[int, int]:
    return fork["child_tid"], fork["child_start_ns"]


def wait_until(
    holds: Callable[[], bool], what: str, *, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Look until it holds, with something to be done between looks."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        meanwhile()
        time.sleep(0.01)


def some_events() -> None:
    """A process comes and goes: whoever waits for events of a host makes them, for a quiet one has none."""
    subprocess.run(["/bin/true"], check=True)


def has_begun(capture: Path) -> bool:
    """Whether the tasks are listed, which is the last thing before a COMMAND is let go."""
    document = capture / "capture.json"
    return document.exists() and bool(CaptureDocument.load(document).listings)


class Recorder:
    """A `linnix-rec record` that still runs, in a session of its own."""

    def __init__(self, capture: Path, *arguments: str | Path, **extra: Any) -> None:
        self.capture = capture
        self.process = subprocess.Popen(
            [sys.executable, "-m", "linnix_rec", "record", "-o", capture, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **extra,
        )

    def wait_for_recording(self) -> None:
        """Until the programs are attached and the tasks are listed."""
        wait_until(lambda: has_begun(self.capture), "for the recording to begin")

    def end(self) -> tuple[int, str]:
        """Exit status and stderr."""
        _, complaint = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, complaint


@pytest.fixture
def start_recorder(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    """Start recorders that run beside the test; what still runs after it is killed, by its session."""
    started: list[Recorder] = []

    def start(*arguments: str | Path, **extra: Any) -> Recorder:
        started.append(Recorder(tmp_path / f"running-{len(started)}.lrec", *arguments, **extra))
        return started[-1]

    yield start
    for recorder in started:
        if recorder.process.poll() is None:
            os.killpg(recorder.process.pid, signal.SIGKILL)
        recorder.process.communicate()


@pytest.fixture
def pin_name() -> Iterator[Callable[[], str]]:
    """Names to pin under; whatever is left of them after the test is removed."""
    given: list[str] = []

    def name() -> str:
        given.append(f"test-{os.getpid()}-{len(given)}")
        return given[-1]

    yield name
    for pin in given:
        remove_pins(pin_directory(pin))
        remove_pins(pin_directory(pin).with_name(f"{pin}~"))


@pytest.fixture
def start_linnix_rec(pin_name: Callable[[], str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `linnix-rec` beside the test, in a session of its own; what still runs after it is killed.

    `by` are words between the interpreter and the arguments, for another way to start it.
    """
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str | Path, by: Sequence[str] = ("-m", "linnix_rec"), **extra: Any
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *by, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **extra,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def start_process() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start processes to be recorded; what still runs after the test is killed, with all that it started."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str | Path) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, bufsize=0, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
