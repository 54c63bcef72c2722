"""Opens a capture's files for reading: regular ones of its own, never through a link. Knows no content.

A capture that was unpacked from an archive may hold a link to any file of the reader's, a pipe that nobody
writes to, or a device. The directory itself may be a link: the person at the prompt has named that.
"""

import os
import stat
from io import FileIO
from pathlib import Path

from linnix_rec.errors import UnreadableCaptureError


def open_file(path: Path, what: str) -> FileIO:
    """Open a file of a capture, unbuffered; `what` it is ("segment") stands in UnreadableCaptureError.

    Windows has no way to open a link as such: there it is looked at before.
    """
    try:
        if path.is_symlink():
            raise UnreadableCaptureError(
                f"can't read {what}{path}: it is a symbolic link, and a capture's files are its own"
            )
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        # Without O_NONBLOCK, to open a pipe would wait for a writer.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = FileIO(os.open(path, flags), "r")
    except OSError as error:
        raise UnreadableCaptureError(f"can't read {what}{path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnreadableCaptureError(f"can't read {what}{path}: it is not a file")
    return file


def read_file(path: Path, at_most_bytes: int) -> bytes:
    """Read a whole file of a capture; raises UnreadableCaptureError, also if it is larger."""
    with open_file(path, "") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > at_most_bytes:
            raise UnreadableCaptureError(
                f"can't read {path}: it has {size_bytes} bytes, {at_most_bytes} are allowed"
            )
        try:
            return file.readall()
        except OSError as error:
            raise UnreadableCaptureError(f"can't read {path}: {error.strerror}") from error
