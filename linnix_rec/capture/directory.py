"""The directory that a capture is written to: made new, replaced, or discarded. Knows no event."""

import contextlib
from pathlib import Path
from typing import Final

from linnix_rec.capture import files
from linnix_rec.capture.document import DOCUMENT_NAME, FORMAT
from linnix_rec.errors import RecordingError, UsageError

#: Holds some disk space until a full disk leaves none for the last capture.json.
RESERVE_NAME: Final = DOCUMENT_NAME + ".reserve"


def check_directory(path: Path, force: bool) -> None:
    """Raise UsageError if a new capture can't go to `path`; changes nothing."""
    if not (path.is_symlink() or path.exists()):
        return
    if not force:
        raise UsageError(f"{path} exists: choose another name with -o, or replace it with --force")
    try:
        files.lock_directory(path).close()
    except BlockingIOError as error:
        raise UsageError(f"{path} is being recorded to: choose another name with -o") from error
    except OSError:
        pass  # no directory, or none of ours: removing it says so


def prepare_directory(path: Path, force: bool, owner: files.Owner | None = None) -> None:
    """Make the directory of a new capture; raises UsageError if something is there, or it can't be.

    Raises RecordingError if the disk has no room for it.

    With `force` a capture that is there is removed first; nothing that is not a capture ever is.
    """
    check_directory(path, force)
    if path.is_symlink() or path.exists():
        _remove(path)
    try:
        files.make_directory(path, owner)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            with contextlib.suppress(OSError):
                path.rmdir()  # made, but not to the end
        if files.no_room(error):
            raise RecordingError(f"can't make {path}: {files.reason(error)}; nothing was written") from error
        raise UsageError(f"can't make {path}: {error.strerror}") from error


def discard_capture(path: Path) -> None:
    """Remove a capture's directory; raises UsageError, and removes nothing, if it holds anything else."""
    _remove(path)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        raise UsageError(f"{path} is no directory, so no capture: it is left alone")
    try:
        entries = sorted(path.iterdir())
        for entry in entries:
            if not (is_of_writer(entry) or _is_of_witness(entry)):
                raise UsageError(f"{path} holds {entry.name}, which is not of a capture: it is left alone")
        if entries and not _says_capture(path / DOCUMENT_NAME):
            raise UsageError(f"{path} has no {DOCUMENT_NAME} of a capture: it is left alone")
        for entry in entries:
            entry.unlink()
        path.rmdir()
    except OSError as error:
        raise UsageError(f"can't remove {path}: {error.strerror}") from error


def is_of_writer(entry: Path) -> bool:
    """Say whether a directory's entry is a file such as the writer of events makes, whole or not."""
    name = entry.name.removesuffix(files.PARTIAL_SUFFIX)
    named_so = name in (DOCUMENT_NAME, RESERVE_NAME) or (
        name.startswith("segment-") and name.endswith(".parquet")
    )
    return named_so and entry.is_file() and not entry.is_symlink()


def _is_of_witness(entry: Path) -> bool:
    name = entry.name.removesuffix(files.PARTIAL_SUFFIX)
    named_so = name.startswith("witness-") and name.endswith(".arrow")
    return named_so and entry.is_file() and not entry.is_symlink()


def _says_capture(document: Path) -> bool:
    # A document that is damaged further down is still a capture's: --force may replace it.
    return document.is_file() and f'"{FORMAT}"'.encode() in document.read_bytes()
