"""Takes up a pinned recording whose recorder has died: finds the ring, the place in it, and who is followed.

Knows no events: what the ring still holds is read by `session.recording`, as if nothing had happened.
"""

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.pins import Held, open_object, remove_pins
from linnix_rec.capture.document import DOCUMENT_NAME, FAILURE, CaptureDocument, Resumption, Stopped
from linnix_rec.capture.writer import CaptureWriter
from linnix_rec.errors import LinnixRecError, RecordingError, UnreadableCaptureError, UsageError
from linnix_rec.session import clock
from linnix_rec.session.beginning import redaction
from linnix_rec.session.recording import stopped_now
from linnix_rec.session.request import FIRST_SEGMENT_SECONDS, Request, owner
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.pinned import (
    Note,
    Root,
    finish_removal,
    hold,
    pin_directory,
    pinned,
    read_end,
    read_note,
)
from linnix_rec.sources.sequencer import OBJECT_NAME, SequencerSource
from linnix_rec.sources.syscalls import parse_events, syscall_names

_PROGRAMS_FOR_PROCESSES = 3


@dataclass(frozen=True)
class TakenUp:
    """A recording that goes on; `over` says why it can't, if only its rest is to be written."""

    request: Request
    source: SequencerSource
    writer: CaptureWriter
    root_pidfd: int | None
    over: Stopped | None


def root_of(pid: int) -> Root:
    """A process as it is known for later; raises OSError."""
    return Root(pid, _start_ticks(pid))


def unfinished_capture(request: Request) -> Path | None:
    """The capture that what is pinned under `request.pin` fills; None if there is none to go on with.

    Removes the pins that a recorder left which died when it had closed its capture. Raises UsageError if
    the name is armed, or recorded otherwise than is asked for now, RecordingError.
    """
    pin = request.pin
    assert pin is not None
    if finish_removal(pin) or not pin_directory(pin).exists():
        return None
    note = read_note(pin)
    if note.capture is None:
        raise UsageError(f"{pin!r} is armed, not recorded: `linnix-rec disarm {pin}` ends it")
    capture = Path(note.capture)
    if _is_left_behind(note, _document_of(capture)):
        return None
    other = _asked_otherwise(request, note)
    if other:
        raise UsageError(
            f"{pin!r} is pinned for {capture}, which was begun with another {other}: give the same one,"
            f" or go on with it by `record --resume {capture}`, or take another name"
        )
    return capture


def _asked_otherwise(request: Request, note: Note) -> str:
    """The first option of which something else is asked than the note has; empty if none."""
    begun = note.document.filter
    root = None if note.root is None or begun.mode == "all" else note.root.pid
    pairs = {
        "choice of processes": ((request.mode, request.pid), (begun.mode, root)),
        "--no-argv": (request.argv, begun.argv),
        "--events": (request.events.asked, begun.events),
        "--redact": (request.redact, note.redact),
    }
    return next((what for what, (asked, noted) in pairs.items() if asked != noted), "")


def is_still_pinned(directory: Path) -> bool:
    """Whether the ring still holds what a capture lacks."""
    with contextlib.suppress(LinnixRecError):
        document = CaptureDocument.load(directory / DOCUMENT_NAME)
        if document.pin is not None and document.stopped is None:
            return read_note(document.pin).document.capture_id == document.capture_id
    return False


def _document_of(directory: Path) -> CaptureDocument:
    """A capture's document; if it can't be read, the error says where its ring is."""
    try:
        return CaptureDocument.load(directory / DOCUMENT_NAME)
    except UnreadableCaptureError as error:
        for name, note in pinned().items():
            if isinstance(note, Note) and note.capture == str(directory.absolute()):
                raise RecordingError(
                    f"{error}; what its ring still holds can be had by `linnix-rec dump {name}`, and"
                    f" `linnix-rec disarm --force {name}` ends it"
                ) from error
        raise


def _is_left_behind(note: Note, document: CaptureDocument) -> bool:
    """Whether the pins of a capture have outlived its end; they are removed then."""
    if document.stopped is None or document.pin is None or note.document.capture_id != document.capture_id:
        return False
    remove_pins(pin_directory(document.pin))
    return True


def take_up(request: Request) -> TakenUp:
    """Go on with the capture `request.resume`; raises UsageError, RecordingError."""
    assert request.resume is not None
    directory = request.resume
    note = _note_of(_document_of(directory), directory)
    document = note.document
    assert document.pin is not None
    held = hold(document.pin)
    now = clock.sample()
    writer = CaptureWriter.resume(
        directory,
        Resumption(clock.rfc3339(now.realtime_ns), now.boot_ns, seq=0),
        segment_seconds=request.segment_seconds,
        first_segment_seconds=min(FIRST_SEGMENT_SECONDS, request.segment_seconds),
        keep_bytes=request.keep_bytes,
        keep_seconds=request.keep_seconds,
        owner=owner(),
    )
    source = _source(note, document.pin, writer.durable_seq, held)
    request = replace(
        request,
        pid=None if note.root is None else note.root.pid,
        whole_host=document.filter.mode == "all",
        pin=document.pin,
        ring_slots=source.ring_slots,
    )
    root_pidfd = None if note.root is None else _open_root(note.root)
    if source.attached == 0 and (end := read_end(document.pin)) is not None:
        writer.note(listings=end.listings)
        return TakenUp(request, source, writer, root_pidfd, end.stopped)
    return TakenUp(request, source, writer, root_pidfd, _why_over(request, source, note, root_pidfd))


def _note_of(document: CaptureDocument, directory: Path) -> Note:
    """The note of the pin that fills a capture."""
    if document.stopped is not None:
        if document.pin is not None and pin_directory(document.pin).exists():
            _is_left_behind(read_note(document.pin), document)
        raise UsageError(f"{directory} is finished: there is nothing to resume")
    if document.pin is None:
        raise UsageError(f"{directory} was not recorded with --pin: its programs ended with its recorder")
    try:
        note = read_note(document.pin)
    except UsageError as error:
        raise RecordingError(
            f"{directory} can't be resumed: nothing is pinned under {document.pin!r} any more"
            " (disarmed, or the host was booted anew); what it holds can be read"
        ) from error
    if note.document.capture_id != document.capture_id:
        raise RecordingError(
            f"{directory} can't be resumed: {document.pin!r} is pinned for another capture by now"
        )
    return note


def _source(note: Note, pin: str, seq: int, held: Held) -> SequencerSource:
    document = note.document
    decoder = Decoder(
        document.host.page_size_bytes,
        realtime_offset_ns=0,
        with_argv=document.filter.argv,
        syscall_names=syscall_names(document.host.machine) if document.filter.is_wide else None,
        redact=redaction(note.redact),
    )
    return SequencerSource(
        open_object(pin_directory(pin), read_object_spec(note.object, OBJECT_NAME)),
        decoder,
        attached_boot_ns=document.started.attached_boot_ns,
        seq=seq,
        pin=pin_directory(pin),
        held=held,
    )


def _open_root(root: Root) -> int | None:
    """A descriptor of the process that is followed, if it still runs."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(root.pid)
        # The descriptor first: if the start is the right one after it, it is that process's.
        if _start_ticks(root.pid) == root.start_ticks:
            return pidfd
        os.close(pidfd)
    return None


def _why_over(
    request: Request, source: SequencerSource, note: Note, root_pidfd: int | None
) -> Stopped | None:
    if source.attached == 0:
        return stopped_now(FAILURE, "its programs were detached, nobody knows when, and not by its recorder")
    if source.attached < _programs_of_a_recording(note.document.filter.events):
        return stopped_now(FAILURE, "the recorder was killed while it detached the programs one by one")
    if note.root is None or root_pidfd is not None or (request.wait and source.live_tasks()):
        return None
    return stopped_now("pid", "it had ended before the recording was taken up")


def _programs_of_a_recording(events: tuple[str, ...]) -> int:
    further = parse_events(",".join(events))
    return _PROGRAMS_FOR_PROCESSES + (1 + further.syscalls if further else 0)


def _start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), field 22 of stat)."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[19])
