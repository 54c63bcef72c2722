"""Raw images of rings as files, with what a capture of them needs to say. Knows no kernel."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Final

import numpy as np

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.capture import files
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.text import printable
from linnix_rec.errors import RecordingError, UnreadableCaptureError, UsageError
from linnix_rec.ring.image import RingImage
from linnix_rec.ring.raw import MAGIC, RawImage, read_raw, write_raw
from linnix_rec.session.request import owner
from linnix_rec.sources.image import image_of
from linnix_rec.sources.sequencer import OBJECT_NAME

_FORMAT: Final = "linnix-rec raw image"
_VERSION: Final = 1
_END_OF_TIME_NS: Final = 1 << 62  # in the year 2116; sums of two of them are 64-bit numbers still

#: Refusals of a place, not of a disk: another one is to be named.
_NOT_THERE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
    (bool, "no regular file"),
)


def write_raw_image(
    image: RingImage, document: CaptureDocument, loaded_object: bytes, path: Path, *, force: bool
) -> int:
    """Write an image to a new file, readable by its owner only; its size in bytes. Raises LinnixRecError."""
    check_raw_target(path, force=force)
    raw = RawImage(
        head={"format": _FORMAT, "version": _VERSION, "document": json.loads(document.dump())},
        btf=read_object_spec(loaded_object, OBJECT_NAME).btf.content,
        log=image.abandon_log,
        slots=image.slots.view(np.uint8),
        first_seq=image.first_seq,
        end_seq=image.end_seq,
    )
    try:
        return files.write_streamed(path, lambda file: write_raw(file, raw), owner())
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise UsageError(f"can't write {path}: {error.strerror}") from error
        raise RecordingError(f"can't write {path}: {files.reason(error)}; nothing was written") from error


def check_raw_target(path: Path, *, force: bool) -> None:
    """Raise UsageError if an image can't go to `path`; changes nothing.

    With `force` an image that is there is replaced, and nothing else ever is: who is root could rename a file
    over a device. The file that is written first, under a name of its own, is looked at, too.
    """
    if not path.parent.is_dir():
        raise UsageError(f"can't write {path}: there is no directory {path.parent}")
    partial = path.with_name(path.name + files.PARTIAL_SUFFIX)
    for name in (path, partial):
        try:
            what = name.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"can't write {path}: {error.strerror}") from error
        if not stat.S_ISREG(what.st_mode):
            kind = next(word for is_one, word in _KINDS if is_one(what.st_mode))
            raise UsageError(
                f"{name} is {kind}, no raw image: it is left alone; choose another name with --raw"
            )
        if name == partial:
            continue
        if not force:
            raise UsageError(f"{path} exists: choose another name with --raw, or replace it with --force")
        if not _begins_as_image(path):
            raise UsageError(f"{path} is no raw image: it is left alone; choose another name with --raw")


def _begins_as_image(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and file.read(len(MAGIC)) == MAGIC


def read_raw_image(path: Path, maximum_slots: int) -> tuple[RingImage, CaptureDocument]:
    """Read what `write_raw_image` wrote; raises UnreadableCaptureError."""
    raw = read_raw(path, maximum_slots)
    name = printable(str(path))
    if raw.head.get("format") != _FORMAT or "document" not in raw.head:
        raise UnreadableCaptureError(f"{name} is damaged: its head is not a raw image's")
    version = raw.head.get("version")
    if type(version) is not int or version > _VERSION:
        raise UnreadableCaptureError(f"{name} was written by a newer linnix-rec: upgrade this one")
    document = CaptureDocument.parse(json.dumps(raw.head["document"]).encode(), name)
    if (
        not document.clock
        or max(document.clock[-1].boot_ns, document.clock[-1].realtime_ns) >= _END_OF_TIME_NS
    ):
        raise UnreadableCaptureError(f"{name} is damaged: it says no time, or none that can be")
    return image_of(raw, name), document
