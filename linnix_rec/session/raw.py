"""Raw images of rings as files, with what a capture of them needs to say. Knows no kernel."""

import json
from pathlib import Path
from typing import Final

import numpy as np

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.capture import files
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.text import printable
from linnix_rec.errors import LinnixRecError, UnreadableCaptureError, UsageError
from linnix_rec.ring.image import RingImage
from linnix_rec.ring.raw import RawImage, read_raw, write_raw
from linnix_rec.session.request import owner
from linnix_rec.sources.image import image_of
from linnix_rec.sources.sequencer import OBJECT_NAME

_FORMAT: Final = "linnix-rec raw image"
_VERSION: Final = 1


def write_raw_image(
    image: RingImage, document: CaptureDocument, loaded_object: bytes, path: Path, *, force: bool
) -> int:
    """Write an image to a new file, readable by its owner only; its size in bytes. Raises LinnixRecError."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists: choose another name with --raw, or replace it with --force")
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
        raise LinnixRecError(f"can't write {path}: {error.strerror}") from error


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
    if not document.clock:
        raise UnreadableCaptureError(f"{name} is damaged: it says no time")
    return image_of(raw, name), document
