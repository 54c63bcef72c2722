"""`dump` and `import` without their command lines: from a ring, or its raw image, to files. Knows no slot."""

import os
import shlex
import time
from pathlib import Path

from linnix_rec.capture.text import decode_bytes, printable
from linnix_rec.errors import LinnixRecError, RecordingError, UsageError
from linnix_rec.session.beginning import redaction
from linnix_rec.session.image_capture import Written, write_image
from linnix_rec.session.raw import check_raw_target, read_raw_image, write_raw_image
from linnix_rec.session.request import CAPTURE_SUFFIX, utc_name
from linnix_rec.session.status import bytes_in_words, seconds_in_words


def dump(name: str, output: Path | None, *, force: bool, redact: str | None) -> str:
    """Write what a pinned ring holds as a capture; a line that says so. Raises LinnixRecError."""
    from linnix_rec.session.armed import copy_armed

    started = time.monotonic()
    directory = output or utc_name(name)
    copied = copy_armed(name)
    both = redaction(copied.redact, redact)  # what the recorder must not write, a dump must not either
    written = write_image(copied.image, copied.document, directory, force=force, redact=both)
    return _words(written, directory, started)


def dump_raw(name: str, path: Path, *, force: bool) -> str:
    """Write a pinned ring's image; a line that says so. Raises LinnixRecError."""
    from linnix_rec.session.armed import copy_armed

    started = time.monotonic()
    check_raw_target(path, force=force)
    copied = copy_armed(name)
    if copied.redact is not None:
        raise UsageError(f"{name!r} is recorded with --redact, which a raw image would undo: dump a capture")
    size_bytes = write_raw_image(copied.image, copied.document, copied.object, path, force=force)
    tickets = copied.image.end_seq - copied.image.first_seq
    return (
        f"{tickets:,} slots in {seconds_in_words(time.monotonic() - started)}, {bytes_in_words(size_bytes)};"
        f" make a capture of it, here or elsewhere: linnix-rec import {shlex.quote(_shown(path))}"
    )


def import_raw(
    path: Path, output: Path | None, *, force: bool, redact: str | None, maximum_slots: int
) -> str:
    """Write what a raw image holds as a capture; a line that says so. Raises LinnixRecError."""
    started = time.monotonic()
    directory = output or Path(path.with_suffix(CAPTURE_SUFFIX).name)
    image, document = read_raw_image(path, maximum_slots)
    try:
        written = write_image(image, document, directory, force=force, redact=redaction(redact))
    except RecordingError as error:  # nothing is recorded here: the disk failed, not a recorder
        raise LinnixRecError(str(error)) from error
    return _words(written, directory, started)


def _words(written: Written, directory: Path, started: float) -> str:
    loss = f"{written.lost:,} tickets lost" if written.lost else "nothing lost"
    begin = f" from seq {written.first_seq} on" if written.first_seq else ""
    return (
        f"{written.events:,} events{begin} in {seconds_in_words(time.monotonic() - started)}, {loss};"
        f" {bytes_in_words(written.bytes)} in {_shown(directory)}"
    )


def _shown(path: Path) -> str:
    return printable(decode_bytes(os.fsencode(path)))
