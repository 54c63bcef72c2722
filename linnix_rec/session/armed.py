"""A ring that nobody reads until somebody wants to know: armed, looked at, disarmed. Knows no file format."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.object import read_object
from linnix_rec.bpf.pins import open_object, remove_pins
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import LinnixRecError, RecordingError, UsageError
from linnix_rec.ring.image import RingImage, copy_ring
from linnix_rec.session import clock
from linnix_rec.session.beginning import first_document
from linnix_rec.session.cgroups import CgroupPaths
from linnix_rec.session.record import followed
from linnix_rec.session.request import Request
from linnix_rec.session.taking_up import root_of
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.image import cgroup_ids
from linnix_rec.sources.pinned import (
    Note,
    check_free,
    finish_removal,
    is_read,
    pin_directory,
    pinned,
    read_note,
)
from linnix_rec.sources.sequencer import OBJECT_NAME, SequencerSource, load_sequencer


@dataclass(frozen=True)
class Armed:
    """What is pinned under a name.

    since: RFC 3339; issued: tickets so far; attached: programs of three
    capture: the directory that a recorder fills, or None; lost_sight: whether that is not there any more
    unread: tickets that it lacks; overwritten: how many of these the ring lacks, too
    recorded: whether its recorder is at work
    problem: why nothing else is known
    """

    name: str
    since: str = ""
    mode: str = ""
    ring_slots: int = 0
    issued: int = 0
    attached: int = 0
    capture: str | None = None
    unread: int = 0
    overwritten: int = 0
    lost_sight: bool = False
    recorded: bool = False
    problem: str = ""


def arm(name: str, request: Request) -> Armed:
    """Attach, list the tasks, pin, and leave; raises LinnixRecError."""
    check_free(name)
    root = followed(request.pid)
    loaded = load_sequencer(request.ring_slots, tree_only=request.tree_only, with_argv=request.argv)
    with SequencerSource(loaded, Decoder(os.sysconf("SC_PAGE_SIZE"), 0)) as source:
        source.attach()
        if root is not None:
            source.mark(root.pidfd)
            source.adopt()
        document = replace(first_document(request, source, clock.sample()), listings=(source.list_tasks(),))
        if request.tree_only and not source.listed:
            raise RecordingError(
                "this kernel does not show that process to BPF programs: it can't be followed"
            )
        process = None if root is None else root_of(root.pid)
        note = Note(document, None, process, None, read_object(OBJECT_NAME))
        source.pin_to(pin_directory(name), note.dump())
        return _look_at(name, note, source)


def armed() -> list[Armed]:
    """All that is pinned, by name."""
    found = []
    for name, note in pinned().items():
        try:
            if isinstance(note, LinnixRecError):
                raise note
            with _opened(name, note) as source:
                found.append(_look_at(name, note, source))
        except LinnixRecError as error:
            found.append(Armed(name, problem=str(error)))
    return found


@dataclass(frozen=True)
class Copied:
    """A ring's last lap, what a capture of it says, and from the note what to take out, and the object."""

    image: RingImage
    document: CaptureDocument
    redact: str | None
    object: bytes


def copy_armed(name: str) -> Copied:
    """Copy the ring as it is at this moment; it goes on recording.

    The tasks that run are listed first, through the ring. Raises LinnixRecError.
    """
    note = read_note(name)
    with _opened(name, note) as source:
        listing = source.list_tasks()
        image = copy_ring(source.ring, source.quiesce)
        accounts = source.accounts(running=True)
    document = replace(
        note.document,
        listings=(listing,),
        accounts_at_start=None,
        accounts=accounts,
        clock=(clock.sample(),),
        cgroups=_cgroup_paths(image),
    )
    return Copied(image, document, note.redact, note.object)


def disarm(name: str, *, force: bool) -> Armed:
    """End what is pinned under a name, whichever kind it is, and say what it was; raises LinnixRecError.

    What a recording's capture still lacks is only dropped with `force`, and what can't be read only removed.
    """
    directory = pin_directory(name)
    if finish_removal(name):
        return Armed(name, problem="half removed")
    try:
        what = _ended(name, force=force)
    except RecordingError as error:
        if not force:
            raise RecordingError(
                f"{error}; `linnix-rec disarm --force {name}` removes it all the same"
            ) from error
        what = Armed(name, problem=str(error))
    remove_pins(directory)
    return what


def _ended(name: str, *, force: bool) -> Armed:
    note = read_note(name)
    with _opened(name, note) as source:
        what = _look_at(name, note, source)
        if what.recorded:
            raise UsageError(
                f"{name!r} is being recorded to {what.capture}: stop that recorder (Ctrl-C, SIGTERM)"
            )
        if what.lost_sight and not force:
            raise UsageError(
                f"{what.capture}, which {name!r} is pinned for, is not there, or can't be read: save the"
                f" ring's last lap by `linnix-rec dump {name}`, then end it by --force"
            )
        if what.unread and not force:
            raise UsageError(
                f"{what.capture} lacks {what.unread:,} tickets of {name!r}: have them written by"
                f" `record --resume {what.capture} -d 0s`, or drop them by --force"
            )
        source.detach()
    return what


@contextmanager
def _opened(name: str, note: Note) -> Iterator[SequencerSource]:
    decoder = Decoder(note.document.host.page_size_bytes, 0)
    directory = pin_directory(name)
    loaded = open_object(directory, read_object_spec(note.object, OBJECT_NAME))
    with SequencerSource(loaded, decoder, pin=directory) as source:
        yield source


def _look_at(name: str, note: Note, source: SequencerSource) -> Armed:
    issued = source.issued
    end_seq = None if note.capture is None else _end_seq(Path(note.capture), note)
    unread = 0 if note.capture is None else issued - (end_seq or 0)
    return Armed(
        name,
        since=note.document.started.time,
        mode=note.document.filter.mode,
        ring_slots=source.ring_slots,
        issued=issued,
        attached=source.attached,
        capture=note.capture,
        unread=unread,
        overwritten=max(0, unread - source.ring_slots),
        lost_sight=note.capture is not None and end_seq is None,
        recorded=is_read(name),
    )


def _end_seq(directory: Path, note: Note) -> int | None:
    """Where the capture ends that a note is about; None if it is not there, or can't be read."""
    try:
        capture = open_capture(directory)
    except LinnixRecError:
        return None
    if capture.document.capture_id != note.document.capture_id:
        return None
    return capture.segments[-1].metadata.end_seq if capture.segments else 0


def _cgroup_paths(image: RingImage) -> dict[str, str]:
    paths = CgroupPaths()
    try:
        paths.look_up(cgroup_ids(image))
        return dict(paths.paths)
    finally:
        paths.close()
