"""`linnix-rec record` without its command line: starts the command, records it, says what came of it.

The command is forked before anything large is imported, so that it is quick and alone in its process.
"""

import contextlib
import os
from pathlib import Path

from linnix_rec.errors import RecordingError
from linnix_rec.session.command import Command, die_of, look_up_user
from linnix_rec.session.request import Request, output_path, owner

STATUS_LOSS = 125


def record(request: Request) -> int:
    """Carry out the request and give the exit status; raises LinnixRecError.

    Does not return if the command died of a signal: then this process dies of it too.
    """
    command = None
    if request.command:
        user = look_up_user(request.user) if request.user else None
        command = Command(request.command, user)
    try:
        pidfd = command.pidfd if command else _open_pid(request.pid)
        return _record(request, command, pidfd)
    finally:
        if command is not None:
            command.cancel()


def _open_pid(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if Path(f"/proc/{pid}").exists():
            raise RecordingError(f"{pid} is a thread: give --pid the id of its process") from error
        raise RecordingError(f"no process has the id {pid}") from error


def _record(request: Request, command: Command | None, pidfd: int | None) -> int:
    # Imported only now: see above.
    from linnix_rec.capture.directory import check_directory, discard_capture
    from linnix_rec.session.recording import CAUGHT_SIGNALS, PASSED_ON_SIGNALS, Recording
    from linnix_rec.session.summary import summary
    from linnix_rec.session.wakeup import Wakeup
    from linnix_rec.sources.decode import Decoder
    from linnix_rec.sources.sequencer import SequencerSource

    directory, capture_owner = output_path(request), owner()
    check_directory(directory, request.force)
    decoder = Decoder(os.sysconf("SC_PAGE_SIZE"), realtime_offset_ns=0)
    with (
        SequencerSource(request.ring_slots, tree_only=request.tree_only, decoder=decoder) as source,
        Wakeup(CAUGHT_SIGNALS) as wakeup,
    ):
        recording = Recording(request, directory, source, wakeup, capture_owner)
        try:
            outcome = recording.run(command, pidfd)
        except BaseException:
            if recording.prepared and not recording.begun:
                discard_capture(directory)  # it holds nothing that was asked for
            raise
        source.close()  # a command that outlives the recording is not slowed any longer
        if not request.quiet or outcome.lost or outcome.failure:
            for line in summary(request, directory, outcome):
                _tell(line)
        while command is not None and not command.ended():
            for number in wakeup.take():
                if number in PASSED_ON_SIGNALS:
                    command.send(number)
            wakeup.wait(60)
    if outcome.failure is not None:
        return outcome.failure.exit_status
    status = _status_of(command)
    return STATUS_LOSS if request.strict and outcome.lost and status == 0 else status


def _tell(line: str) -> None:
    """A line on stderr. If that is closed or full, COMMAND's status must not suffer."""
    with contextlib.suppress(OSError):
        os.write(2, f"linnix-rec: {line}\n".encode(errors="backslashreplace"))


def _status_of(command: Command | None) -> int:
    if command is None or command.wait_status is None:
        return 0
    if os.WIFSIGNALED(command.wait_status):
        number = os.WTERMSIG(command.wait_status)
        die_of(number)
        return 128 + number
    return os.WEXITSTATUS(command.wait_status)
