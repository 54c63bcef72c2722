"""The command between its fork and its exec, and what becomes of it. No BPF, no root."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from linnix_rec.errors import RecordingError
from linnix_rec.session.command import Command, CommandNotStartedError, look_up_user

# The recorder forks before it has threads; a test run may have some. The child only execs.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def test_nothing_runs_before_the_word(tmp_path: Path) -> None:
    command = Command(["touch", str(tmp_path / "ran")])
    assert not command.ended()
    assert not (tmp_path / "ran").exists()
    command.release()
    command.wait()
    assert (tmp_path / "ran").exists()
    assert command.wait_status == 0


def test_what_is_cancelled_never_runs_and_is_reaped(tmp_path: Path) -> None:
    command = Command(["touch", str(tmp_path / "ran")])
    command.cancel()
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(command.pid, os.WNOHANG)


def test_a_command_that_runs_is_not_cancelled_and_no_other_s_descriptor_is_closed() -> None:
    command = Command(["sleep", "60"])
    command.release()
    reader, writer = os.pipe()  # these get the numbers that the command's pipes had
    command.cancel()
    assert not command.ended()
    os.close(reader)
    os.close(writer)
    command.send(signal.SIGKILL)
    command.wait()
    assert command.wait_status == signal.SIGKILL


def test_a_command_whose_recorder_dies_before_the_word_does_not_run(tmp_path: Path) -> None:
    command = Command(["touch", str(tmp_path / "ran")])
    os.close(command._go)
    command._go = -1
    command.wait()
    assert command.wait_status == 0
    assert not (tmp_path / "ran").exists()


def test_an_interrupt_before_the_word_is_the_command_s_death() -> None:
    command = Command(["sleep", "60"])
    while "T" not in _ignoring(command.pid):
        pass
    os.kill(command.pid, signal.SIGINT)
    command.release()
    command.wait()
    assert command.wait_status == signal.SIGINT


def _ignoring(pid: int) -> str:
    """ "T" once the child has given SIGINT its default meaning: until then Python's handler is caught."""
    caught = int(Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
    return "" if caught >> (signal.SIGINT - 1) & 1 else "T"


@pytest.mark.parametrize(
    ("name", "status"),
    [("/no/such", 127), ("no-such-command-at-all", 127), ("/", 126), ("/etc/passwd", 126)],
)
def test_what_can_t_be_run_has_the_status_of_env(name: str, status: int) -> None:
    with pytest.raises(CommandNotStartedError) as refusal:
        Command([name]).release()
    assert refusal.value.exit_status == status
    assert repr(name) in str(refusal.value)


def test_an_ended_command_is_sent_nothing() -> None:
    command = Command(["true"])
    command.release()
    command.wait()
    command.send(signal.SIGTERM)
    assert command.wait_status == 0


def test_a_user_is_found_by_name_and_by_number() -> None:
    root = look_up_user("0") if os.geteuid() == 0 else look_up_user(str(os.getuid()))
    assert look_up_user(root.name) == root


@pytest.mark.parametrize("name", ["no-such-user", "4294967296", "99999999999999999999"])
def test_a_user_that_isn_t_there_is_refused(name: str) -> None:
    with pytest.raises(RecordingError, match=f"no user '{name}' on this host"):
        look_up_user(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_dying_of_a_signal_leaves_its_number_and_no_core(number: signal.Signals, tmp_path: Path) -> None:
    script = f"from linnix_rec.session.command import die_of; die_of({int(number)})"
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", script], os.environ)
    status = os.waitpid(pid, 0)[1]
    assert os.WTERMSIG(status) == number
    assert not os.WCOREDUMP(status)
