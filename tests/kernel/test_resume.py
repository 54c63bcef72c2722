"""A pinned recording goes on when its recorder dies, wherever it dies, and the next one takes it up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from linnix_rec.sources.pinned import pin_directory
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import Tickets, document_of, is_pinned, reads
from tests.kernel.conftest import Read, has_begun, wait_until

pytestmark = pytest.mark.kernel

Process = subprocess.Popen[str]
StartProcess = Callable[..., "subprocess.Popen[bytes]"]
Proven = Callable[[Path], Read]

STRUCK = str(Path(__file__).parent.parent / "faults" / "struck.py")
ROUND = 20
ROUNDS = 3
#: Each round waits for a word, and answers when it is over.
SHELL = (
    f"for round in {'x ' * ROUNDS}; do read go || exit 9; i=0;"
    f" while [ $i -lt {ROUND} ]; do /bin/true; i=$((i+1)); done; echo; done; exit 0"
)
SEGMENT = ("--segment", "0.05s")


@dataclass
class Pinned:
    """A pinned recording and its recorders, one after the other."""

    pin: str
    capture: Path
    start: Callable[..., Process]

    def record(self, *options: str | Path, slots: int = 4096) -> Process:
        begun = self._record(options, slots)
        wait_until(lambda: has_begun(self.capture), "for the recording to begin")
        return begun

    def record_and_die(self, place: str, nth: int, *options: str | Path) -> Process:
        """As `record`, but it dies there; perhaps before it has begun."""
        begun = self._record(options, 4096, place, str(nth), by=(STRUCK, "KILL"))
        wait_until(lambda: begun.poll() is not None or has_begun(self.capture), "for the recording to begin")
        return begun

    def resume(self) -> Process:
        return self.start("record", "--resume", self.capture, *SEGMENT)

    def _record(self, options: tuple[str | Path, ...], slots: int, *first: str, **extra: object) -> Process:
        pinned = ("--pin", self.pin, "-o", self.capture, "--ring-slots", str(slots), *SEGMENT)
        return self.start(*first, "record", *pinned, *options, **extra)


@pytest.fixture
def pinned(start_linnix_rec: Callable[..., Process], pin_name: Callable[[], str], tmp_path: Path) -> Pinned:
    return Pinned(pin_name(), tmp_path / "a.lrec", start_linnix_rec)


@dataclass
class Shell:
    """A shell that waits for words."""

    process: subprocess.Popen[bytes]

    @property
    def followed(self) -> tuple[str, str]:
        return "--pid", str(self.process.pid)

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    def go_and_wait(self) -> None:
        self.go()
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"\n"


@pytest.fixture
def start_shell(start_process: StartProcess) -> Callable[[str], Shell]:
    return lambda script: Shell(start_process("/bin/sh", "-c", script))


StartShell = Callable[[str], Shell]


def end_of(recorder: Process) -> tuple[int, str]:
    _, complaint = recorder.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    return recorder.returncode, complaint


def kill(recorder: Process) -> None:
    recorder.kill()
    recorder.wait()


def assert_whole(read: Read) -> None:
    """All that the shell did is there, once."""
    count = ROUNDS * ROUND
    forks = [row["child_tid"] for row in read.of("fork")]
    assert len(forks) == count
    assert [row["tid"] for row in read.of("exec")] == forks
    assert [row["tid"] for row in read.of("exit")][:count] == forks
    assert {row["filename"] for row in read.of("exec")} == {"/bin/true"}


BEFORE_THE_FIRST_ROUND = [
    ("linnix_rec.sources.sequencer:SequencerSource.pin_to", -1),
    ("linnix_rec.session.recording:Recording._list_tasks", 1),
    ("linnix_rec.session.recording:Recording._list_tasks", -1),
]
IN_THE_MIDST = [
    ("linnix_rec.capture.writer:CaptureWriter._take_some", -2),
    ("linnix_rec.capture.writer:CaptureWriter._publish", 1),
    ("linnix_rec.capture.writer:CaptureWriter._publish", -1),
    ("linnix_rec.capture.segment:OpenSegment.publish", -2),
    ("linnix_rec.capture.writer:CaptureWriter.turn_over", -2),
]
AT_THE_END = [
    ("linnix_rec.sources.sequencer:SequencerSource.live_tasks", 1),
    ("linnix_rec.sources.sequencer:SequencerSource.detach", 1),
    ("linnix_rec.sources.sequencer:SequencerSource.detach", -1),
    ("linnix_rec.session.recording:Recording._drain_to_the_end", -1),
    ("linnix_rec.session.recording:Recording._close", 1),
    ("linnix_rec.capture.writer:CaptureWriter.close", 1),
]


@pytest.mark.parametrize(("place", "nth"), BEFORE_THE_FIRST_ROUND)
def test_a_recorder_killed_as_it_begins_loses_nothing(
    pinned: Pinned, start_shell: StartShell, proven: Proven, place: str, nth: int
) -> None:
    shell = start_shell(SHELL)
    assert end_of(pinned.record_and_die(place, nth, *shell.followed))[0] == -signal.SIGKILL
    shell.go_and_wait()  # while nobody reads
    resumed = pinned.resume()
    for _ in range(ROUNDS - 1):
        shell.go_and_wait()
    assert end_of(resumed)[0] == 0
    read = proven(pinned.capture)
    assert_whole(read)
    assert (len(read.document.resumptions), is_pinned(pinned.pin)) == (1, False)


@pytest.mark.parametrize(("place", "nth"), IN_THE_MIDST)
def test_a_recorder_killed_as_it_writes_loses_nothing(
    pinned: Pinned, start_shell: StartShell, proven: Proven, place: str, nth: int
) -> None:
    shell = start_shell(SHELL)
    dying = pinned.record_and_die(place, nth, *shell.followed)
    shell.go_and_wait()
    wait_until(
        lambda: dying.poll() is not None or document_of(pinned.capture).durable_seq > 0,
        "for a segment to be closed",
    )
    shell.go_and_wait()  # whoever still lives begins another
    assert end_of(dying)[0] == -signal.SIGKILL
    resumed = pinned.resume()
    shell.go_and_wait()
    assert end_of(resumed)[0] == 0
    assert_whole(proven(pinned.capture))
    assert not is_pinned(pinned.pin)


@pytest.mark.parametrize(("place", "nth"), AT_THE_END)
def test_a_recorder_killed_as_it_ends_leaves_the_rest_to_the_next(
    pinned: Pinned, start_shell: StartShell, proven: Proven, place: str, nth: int
) -> None:
    shell = start_shell(SHELL)
    dying = pinned.record_and_die(place, nth, *shell.followed)
    for _ in range(ROUNDS):
        shell.go_and_wait()
    assert end_of(dying)[0] == -signal.SIGKILL
    assert end_of(pinned.resume())[0] == 0
    read = proven(pinned.capture)
    assert_whole(read)
    assert read.document.stopped is not None
    assert read.document.stopped.reason in ("pid", "signal")
    assert not is_pinned(pinned.pin)


def die_with_pins_left(pinned: Pinned, shell: Shell) -> None:
    """The capture is closed, and then the recorder dies, before it removes its pins."""
    dying = pinned.record_and_die("linnix_rec.sources.sequencer:SequencerSource.unpin", 1, *shell.followed)
    shell.go()
    assert end_of(dying)[0] == -signal.SIGKILL


def test_a_capture_that_was_closed_before_its_pins_were_gone_is_finished(
    pinned: Pinned, start_shell: StartShell, proven: Proven
) -> None:
    die_with_pins_left(pinned, start_shell("read go"))
    assert is_pinned(pinned.pin)
    proven(pinned.capture)
    complaint = f"linnix-rec: error: {pinned.capture} is finished: there is nothing to resume\n"
    assert end_of(pinned.resume()) == (125, complaint)
    assert not is_pinned(pinned.pin)


@pytest.mark.parametrize("removed", [[], ["note"], ["note", "map-accounts", "map-ring"]])
def test_a_service_begins_anew_where_only_pins_are_left(
    pinned: Pinned, start_shell: StartShell, proven: Proven, tmp_path: Path, removed: list[str]
) -> None:
    die_with_pins_left(pinned, start_shell("read go"))
    for name in removed:  # in the order in which they are removed
        (pin_directory(pinned.pin) / name).unlink()
    again = tmp_path / "b.lrec"
    service = pinned.start("record", "-ad0.1s", "--pin", pinned.pin, "--take-up", "-o", again)
    assert end_of(service)[0] == 0
    assert proven(again).document.resumptions == ()
    assert not is_pinned(pinned.pin)


def test_a_service_takes_up_what_its_dead_predecessor_recorded(
    pinned: Pinned, start_shell: StartShell, proven: Proven
) -> None:
    shell = start_shell(SHELL)
    for _ in range(ROUNDS):
        recorder = pinned.record("--take-up", *shell.followed)
        shell.go()
        time.sleep(0.1)
        kill(recorder)
    shell.process.wait()
    assert end_of(pinned.record("--take-up", *shell.followed))[0] == 0
    assert_whole(proven(pinned.capture))
    assert not is_pinned(pinned.pin)


COMMAND = (
    "i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done; touch $0; read go < $1; /bin/true; exit 3"
)


@dataclass
class HalfDone:
    """COMMAND has done its half, its recorder is dead, and a word in the pipe lets it go on."""

    pipe: Path
    tickets: Tickets


@pytest.fixture
def half_done(pinned: Pinned, tmp_path: Path) -> HalfDone:
    half, pipe = tmp_path / "half", tmp_path / "go"
    os.mkfifo(pipe)
    recorder = pinned.record("--", "/bin/sh", "-c", COMMAND, half, pipe)
    wait_until(half.exists, "for half of the command")
    tickets = Tickets(pinned.pin)
    os.kill(recorder.pid, signal.SIGKILL)  # the recorder alone
    recorder.wait()
    return HalfDone(pipe, tickets)


def test_a_command_outlives_its_recorder_and_is_recorded_to_its_end(
    pinned: Pinned, half_done: HalfDone, proven: Proven
) -> None:
    resumed = pinned.resume()
    wait_until(lambda: bool(document_of(pinned.capture).resumptions), "for the next recorder")
    half_done.pipe.write_text("go\n")
    assert end_of(resumed)[0] == 0  # COMMAND is no child of this one: its status is in the capture
    read = proven(pinned.capture)
    assert [row["exit_code"] for row in read.of("exit")][-1] == 3
    assert len(read.of("fork")) == 22  # touch, too
    assert not is_pinned(pinned.pin)


def test_of_a_command_that_has_ended_meanwhile_the_rest_is_written(
    pinned: Pinned, half_done: HalfDone, proven: Proven
) -> None:
    issued = half_done.tickets.issued
    half_done.pipe.write_text("go\n")
    # fork, exec of two slots, exit, and the shell's own
    wait_until(lambda: half_done.tickets.issued >= issued + 5, "for the command to end")
    assert end_of(pinned.resume())[0] == 0
    read = proven(pinned.capture)
    assert [row["exit_code"] for row in read.of("exit")][-1] == 3
    assert read.document.stopped is not None
    assert read.document.stopped.reason == "pid"
    assert not is_pinned(pinned.pin)


def test_a_later_process_of_the_same_id_is_not_taken_for_the_one_that_was_followed(
    pinned: Pinned, start_shell: StartShell, start_process: StartProcess, proven: Proven
) -> None:
    shell = start_shell("read go")
    kill(pinned.record(*shell.followed))
    shell.go()
    shell.process.wait()
    taker = start_process(sys.executable, "-c", TAKE_PID, str(shell.process.pid))
    assert taker.stdout is not None
    assert taker.stdout.readline() == b"taken\n"
    assert end_of(pinned.resume())[0] == 0
    assert [row["tid"] for row in proven(pinned.capture).of("exit")] == [shell.process.pid]


#: Asks the kernel for a number (ns_last_pid), until no other process comes in between.
TAKE_PID = """
import os, sys
wanted = int(sys.argv[1])
for _ in range(1000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(wanted - 1))
    pid = os.fork()
    if pid == 0:
        if os.getpid() == wanted:
            print("taken", flush=True)
            sys.stdin.read()
        os._exit(0)
    if pid == wanted:
        sys.stdin.read()
        break
    os.waitpid(pid, 0)
"""


def test_a_recorder_that_comes_too_late_says_exactly_what_it_missed(
    pinned: Pinned, start_shell: StartShell, read_back: Proven, programs: Path
) -> None:
    storm = programs / "thread_storm"
    shell = start_shell(f"read go; {storm} 3 20; echo; read go; {storm} 100 20; echo; read go")
    recorder = pinned.record(*shell.followed, slots=1024)
    tickets = Tickets(pinned.pin)
    shell.go_and_wait()
    wait_until(lambda: document_of(pinned.capture).durable_seq == tickets.issued, "for all to be durable")
    kill(recorder)
    durable = tickets.issued
    shell.go_and_wait()
    issued = tickets.issued
    assert issued - durable > 3 * 1024
    resumed = pinned.resume()
    wait_until(
        lambda: reads(resumed.pid) or document_of(pinned.capture).durable_seq == issued,
        "for the next recorder to read",
    )
    shell.go()
    status, complaint = end_of(resumed)
    assert status == 0
    lost = issued - 1024 - durable
    assert f"{lost:,} tickets lost" in complaint
    assert f"try --ring-slots {1 << (issued - durable - 1).bit_length()}" in complaint
    read = read_back(pinned.capture)
    (gap,) = read.of("gap")
    assert (gap["seq"], gap["lost"], gap["reason"]) == (durable, lost, "lapped")
    account = read.document.accounts
    assert account is not None
    assert read.tickets == account.issued
    assert account.published - sum(row["slots"] for row in read.rows) == lost
    assert not read.verdict.proven


@pytest.mark.parametrize("gone", [["link-on_newtask"], ["link-on_newtask", "link-on_exec"]])
def test_a_recorder_killed_between_two_links_leaves_a_recording_that_is_not_called_whole(
    pinned: Pinned, start_shell: StartShell, gone: list[str]
) -> None:
    """What its death in the midst of detaching leaves is what removing those links leaves."""
    shell = start_shell("read go")
    kill(pinned.record(*shell.followed))
    for link in gone:
        (pin_directory(pinned.pin) / link).unlink()
    assert end_of(pinned.resume())[0] == 0
    document = document_of(pinned.capture)
    assert document.stopped is not None
    assert document.stopped.reason == "failure"
    assert "while it detached the programs" in document.stopped.detail
    assert not is_pinned(pinned.pin)
