"""What a pinned sequencer says about itself: enough for any later process to read it. Knows no ring.

The note holds the capture document as it was when the programs were attached, who is followed, and the very
object that was loaded, so that another version of this program finds the layout of the ring in it.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from linnix_rec.bpf import pins
from linnix_rec.capture.decode import decode
from linnix_rec.capture.document import CaptureDocument, Listing, Stopped
from linnix_rec.errors import LinnixRecError, RecordingError, UsageError

#: Where this program's pins are: a directory a name.
ROOM: Final = pins.BPFFS / "linnix-rec"

_FORMAT: Final = "linnix-rec pin"
_VERSION: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Root:
    """The process whose tree is followed; its start, in clock ticks since boot, tells it from a later one."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Note:
    """What is pinned beside the programs.

    capture: the directory that a recorder fills, absolute; None if nobody reads all along (`arm`)
    root: whose tree is followed; None for the whole host
    redact: what a later recorder must take out, too
    object: the object file's bytes
    """

    document: CaptureDocument
    capture: str | None
    root: Root | None
    redact: str | None
    object: bytes

    def dump(self) -> bytes:
        """One line of JSON, then the object."""
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "document": json.loads(self.document.dump()),
            "capture": self.capture,
            "root": None if self.root is None else asdict(self.root),
            "redact": self.redact,
        }
        return json.dumps(head).encode() + b"\n" + self.object

    @staticmethod
    def parse(content: bytes, name: str) -> "Note":
        """Read a note; `name` stands in the RecordingError of one that can't be read."""
        head, _, loaded_object = content.partition(b"\n")
        try:
            value = json.loads(head)
            if value["format"] != _FORMAT or value["version"] > _VERSION:
                raise RecordingError(f"{name} was pinned by a newer linnix-rec: use that one")
            document = CaptureDocument.parse(json.dumps(value["document"]).encode(), name)
            root = None if value["root"] is None else Root(**value["root"])
            return Note(document, value["capture"], root, value["redact"], loaded_object)
        except (ValueError, LookupError, TypeError) as error:
            raise RecordingError(f"{name} was not pinned by linnix-rec: its note can't be read") from error


@dataclass(frozen=True)
class End:
    """What a recorder notes beside the pins before it detaches: its capture may not hold it yet."""

    stopped: Stopped
    listings: tuple[Listing, ...]

    def dump(self) -> bytes:
        """JSON."""
        return json.dumps(asdict(self)).encode()


def read_end(name: str) -> End | None:
    """How what is pinned under a name was ended; None if no recorder has. Raises RecordingError."""
    content = pins.read_end(pin_directory(name))
    if not content:
        return None
    try:
        return decode(End, json.loads(content))
    except ValueError as error:
        raise RecordingError(f"{pin_directory(name)} has an end that can't be read") from error


def pin_directory(name: str) -> Path:
    """Where a name's pins are, or would be; raises UsageError for what can't be a name."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} can't be a pin's name: take up to 64 letters, digits, - and _")
    return ROOM / name


def check_free(name: str) -> None:
    """Raise UsageError unless a sequencer can be pinned under a name; RecordingError if we may not look."""
    try:
        there = pin_directory(name).exists()
    except PermissionError as error:
        raise _hidden() from error
    if there:
        raise UsageError(
            f"{name!r} is pinned already: `linnix-rec armed` shows what it is; a recording goes on by"
            " `record --resume`, and `disarm` ends it; or take another name"
        )


def finish_removal(name: str) -> bool:
    """Remove what is left of pins, if a process died while it made or removed them; whether one did."""
    directory = pin_directory(name)
    try:
        half_removed = pins.is_half_removed(directory)
        half_made = is_half_pinned(name)
    except PermissionError as error:
        raise _hidden() from error
    if half_removed:
        pins.remove_pins(directory)
    if half_made:
        pins.remove_pins(pins.staged_directory(directory))
    return half_removed or half_made


def is_half_pinned(name: str) -> bool:
    """Whether a process died while it pinned something under a name, and nothing else is."""
    directory = pin_directory(name)
    staged = pins.staged_directory(directory)
    return staged.is_dir() and not directory.exists() and not _is_locked(staged)


def is_read(name: str) -> bool:
    """Whether a recorder reads what is pinned under a name."""
    return _is_locked(pin_directory(name))


def hold(name: str) -> pins.Held:
    """Become the one that reads what is pinned under a name; raises UsageError if there is one."""
    try:
        return pins.Held(pin_directory(name))
    except BlockingIOError as error:
        raise UsageError(f"{name!r} is being recorded: stop that recorder (Ctrl-C, SIGTERM) first") from error
    except OSError as error:
        raise RecordingError(f"can't open {pin_directory(name)}: {error.strerror}") from error


def _is_locked(directory: Path) -> bool:
    try:
        pins.Held(directory).close()
    except BlockingIOError:
        return True
    except (OSError, RecordingError):
        return False
    return False


def _hidden() -> RecordingError:
    return RecordingError(f"can't look into {ROOM}: only its owner can; run it as root")


def read_note(name: str) -> Note:
    """The note of what is pinned under a name; raises UsageError if nothing is."""
    directory = pin_directory(name)
    try:
        there = directory.is_dir()
    except PermissionError as error:
        raise _hidden() from error
    if not there and is_half_pinned(name):
        raise RecordingError(f"{name!r} is half pinned: `linnix-rec disarm {name}` removes it")
    if not there:
        raise UsageError(f"nothing is pinned under {name!r}: `linnix-rec armed` lists what is")
    if pins.is_half_removed(directory):
        raise RecordingError(f"{name!r} is half removed: `linnix-rec disarm {name}` removes the rest")
    return Note.parse(pins.read_note(directory), str(directory))


def pinned() -> dict[str, Note | LinnixRecError]:
    """All notes by their names; of one that can't be read, why not. Raises RecordingError."""
    found: dict[str, Note | LinnixRecError] = {}
    try:
        names = pins.pinned_names(ROOM)
    except PermissionError as error:
        raise _hidden() from error
    for name in names:
        try:
            found[name] = read_note(name)
        except LinnixRecError as error:
            found[name] = error
    return found
