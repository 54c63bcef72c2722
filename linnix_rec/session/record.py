"""`linnix-rec record` without its command line: starts the command, records it, says what came of it.

The command is forked before anything large is imported, so that it is quick and alone in its process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnix_rec.capture.text import printable
from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.session.command import Command, die_of, look_up_user
from linnix_rec.session.privileges import forestall_threads
from linnix_rec.session.request import FIRST_SEGMENT_SECONDS, Request, output_path, owner

if TYPE_CHECKING:
    from linnix_rec.capture.writer import CaptureWriter
    from linnix_rec.session.evidence import Evidence
    from linnix_rec.session.outcome import Outcome
    from linnix_rec.session.shadow import Shadow
    from linnix_rec.session.wakeup import Wakeup
    from linnix_rec.sources.source import Source

STATUS_LOSS = 125


def record(request: Request) -> int:
    """Carry out the request and give the exit status; raises LinnixRecError.

    Does not return if the command died of a signal: then this process dies of it too.
    """
    if request.take_up or request.resume is not None:
        forestall_threads()
        resuming = _resuming_what_is_pinned(request)
        if resuming is not None:
            status, was_over = _resume(resuming)
            # A service whose last recorder died as it ended goes on with a capture of its own.
            if not (request.take_up and request.pid is None and was_over and status == 0):
                return status
    command = None
    if request.command:
        user = look_up_user(request.user) if request.user else None
        command = Command(request.command, user)
    forestall_threads()  # in our own environment: the command has its copy already
    try:
        root = Followed(command.pid, command.pidfd) if command else followed(request.pid)
        return _record(request, command, root)
    finally:
        if command is not None:
            command.cancel()


def _resuming_what_is_pinned(request: Request) -> Request | None:
    """The request to resume: what was asked for, or what the name to take up is pinned for, if it is."""
    from linnix_rec.session.taking_up import unfinished_capture

    if request.resume is not None:
        return request
    capture = unfinished_capture(request)
    if capture is None:
        return None
    if not request.quiet:
        _tell(f"going on with {printable(str(capture))}, for which {request.pin!r} is pinned")
    return replace(request, resume=capture, pin=None)


@dataclass(frozen=True)
class Followed:
    """The process with which recording ends, and whose tree is recorded unless the whole host is."""

    pid: int
    pidfd: int


def followed(pid: int | None) -> Followed | None:
    """The process of that id, if one is given; raises RecordingError if there is none."""
    if pid is None:
        return None
    try:
        return Followed(pid, os.pidfd_open(pid))
    except OSError as error:
        if Path(f"/proc/{pid}").exists():
            raise RecordingError(f"{pid} is a thread: give --pid the id of its process") from error
        raise RecordingError(f"no process has the id {pid}") from error


def _record(request: Request, command: Command | None, root: Followed | None) -> int:
    # Imported only now: see above.
    from linnix_rec.capture.directory import check_directory, discard_capture, prepare_directory
    from linnix_rec.session.evidence import Evidence
    from linnix_rec.session.opening import new_decoder, open_source
    from linnix_rec.session.recording import CAUGHT_SIGNALS, Recording
    from linnix_rec.session.taking_up import is_still_pinned
    from linnix_rec.session.wakeup import Wakeup
    from linnix_rec.sources.pinned import check_free

    directory = output_path(request)
    check_directory(directory, request.force)
    if request.force and is_still_pinned(directory):
        raise UsageError(
            f"{printable(str(directory))} lacks what its ring still holds: go on with it by"
            " `record --resume`, or end that by `linnix-rec disarm`, before it is replaced"
        )
    if request.pin is not None:
        check_free(request.pin)
    with (
        open_source(request, new_decoder(request)) as source,
        _shadowed(request, directory, root) as shadow,
        Evidence(prove=request.prove, witnesses=request.witnesses) as evidence,
        Wakeup(CAUGHT_SIGNALS) as wakeup,
    ):
        prepare_directory(directory, request.force, owner())
        recording = None
        try:
            evidence.open()
            writer = begin(request, directory, source, evidence, root)
            remarks = (*source.remarks, *evidence.remarks)
            for remark in (*remarks, *_lower_privileges(request, directory, command)):
                _tell(remark)
            recording = Recording(request, source, writer, wakeup, evidence)
            outcome = recording.run(command, None if root is None else root.pidfd)
        except BaseException:
            if recording is None or not recording.begun:
                source.close()  # first, as what follows needs descriptors, of which there may be none left
                source.unpin()
                discard_capture(directory)  # it holds nothing that was asked for
            raise
        source.close()  # a command that outlives the recording is not slowed any longer
        _summarize(request, directory, outcome)
        if shadow is not None:
            ends_by_itself = request.tree_only and outcome.stopped.reason in ("command", "pid", "tree")
            _end_shadow(shadow, directory, now=not ends_by_itself)
        _outlast(command, wakeup)
    return _exit_status(request, outcome, command)


@contextlib.contextmanager
def _shadowed(request: Request, directory: Path, root: Followed | None) -> Iterator[Shadow | None]:
    """A second recorder that records already, if one is wanted; its capture goes if ours could not begin."""
    if request.shadow is None:
        yield None
        return
    from linnix_rec.session.shadow import Shadow

    shadow = Shadow(request, directory, None if root is None else root.pid)
    try:
        shadow.wait_for_recording()
        yield shadow
    except BaseException:
        shadow.discard()
        raise


def _end_shadow(shadow: Shadow, directory: Path, *, now: bool) -> None:
    complaint = shadow.end(now=now)
    if complaint:
        _tell(f"the shadow recorder failed: {complaint}")
    else:
        _tell(f"compare the two: linnix-rec reconcile {directory} {shadow.capture}")


def begin(
    request: Request,
    directory: Path,
    source: Source,
    evidence: Evidence,
    root: Followed | None,
) -> CaptureWriter:
    """Attach, and open the capture; pinned, if it is to be, from its first moment on."""
    from linnix_rec.bpf.object import read_object
    from linnix_rec.capture.writer import CaptureWriter
    from linnix_rec.session import clock
    from linnix_rec.session.beginning import first_document
    from linnix_rec.session.taking_up import root_of
    from linnix_rec.sources.pinned import Note, pin_directory
    from linnix_rec.sources.sequencer import OBJECT_NAME, SequencerSource

    source.attach()
    if request.tree_only and root is not None:
        source.mark(root.pidfd)
        if not request.command:
            source.adopt()
    evidence.attached(directory, owner())
    document = first_document(request, source, clock.sample(), None if root is None else root.pid)
    writer = CaptureWriter(
        directory,
        document,
        segment_seconds=request.segment_seconds,
        first_segment_seconds=min(FIRST_SEGMENT_SECONDS, request.segment_seconds),
        keep_bytes=request.keep_bytes,
        keep_seconds=request.keep_seconds,
        owner=owner(),
    )
    if request.pin is not None:
        process = None if root is None else root_of(root.pid)
        assert isinstance(source, SequencerSource)
        note = Note(document, str(directory.absolute()), process, request.redact, read_object(OBJECT_NAME))
        source.pin_to(pin_directory(request.pin), note.dump())
    return writer


def _lower_privileges(request: Request, directory: Path, command: Command | None) -> Iterator[str]:
    """Give up what a running recording does not need; before this process starts threads of its own."""
    from linnix_rec.session.cgroups import cgroup2_mount
    from linnix_rec.session.privileges import (
        capabilities_needed_later,
        drop_privileges,
        held_capabilities,
        look_ahead,
    )

    remaining = look_ahead(
        directory,
        owner=owner(),
        has_command=command is not None,
        cgroup2=cgroup2_mount() is not None,
        connector="connector" in (*request.witnesses, request.source),
        looks_up_files=request.source == "connector",
    )
    dropped = drop_privileges(capabilities_needed_later(remaining, held_capabilities()))
    for name in dropped.threads_beyond:
        yield f"a thread of this process, {name}, keeps its capabilities: it was started before"


def _resume(request: Request) -> tuple[int, bool]:
    """Go on with a capture; the status, and whether only its rest was to be written."""
    from linnix_rec.session.evidence import Evidence
    from linnix_rec.session.recording import CAUGHT_SIGNALS, Recording
    from linnix_rec.session.taking_up import take_up
    from linnix_rec.session.wakeup import Wakeup

    assert request.resume is not None
    taken_up = take_up(request)
    with (
        taken_up.source as source,
        Evidence() as evidence,
        Wakeup(CAUGHT_SIGNALS) as wakeup,
    ):
        for remark in _lower_privileges(taken_up.request, request.resume, None):
            _tell(remark)
        recording = Recording(taken_up.request, source, taken_up.writer, wakeup, evidence)
        if taken_up.over is not None:
            outcome = recording.finish(taken_up.over)
        else:
            outcome = recording.run(None, taken_up.root_pidfd)
        _summarize(taken_up.request, request.resume, outcome)
    return _exit_status(request, outcome, None), taken_up.over is not None


def _summarize(request: Request, directory: Path, outcome: Outcome) -> None:
    from linnix_rec.session.summary import summary

    if not request.quiet or outcome.lost or outcome.shed or outcome.failure:
        for line in summary(request, directory, outcome):
            _tell(line)


def _outlast(command: Command | None, wakeup: Wakeup) -> None:
    """Stay until the command has ended, as whoever started us waits for it."""
    while command is not None and not command.ended():
        from linnix_rec.session.recording import PASSED_ON_SIGNALS

        for number in wakeup.take():
            if number in PASSED_ON_SIGNALS:
                command.send(number)
        wakeup.wait(60)


def _exit_status(request: Request, outcome: Outcome, command: Command | None) -> int:
    if outcome.failure is not None:
        return outcome.failure.exit_status
    status = _status_of(command)
    return STATUS_LOSS if request.strict and (outcome.lost or outcome.shed) and status == 0 else status


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
