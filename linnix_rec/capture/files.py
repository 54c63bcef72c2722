"""Files that appear whole or not at all, readable by their owner only; knows no Parquet.

Works on Linux, macOS and Windows: what a system lacks (owners, syncing of directories) is left out.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700

#: Ends the name of a file that is still being written: no `*.parquet` glob matches it.
PARTIAL_SUFFIX: Final = ".partial"

_DIRECTORIES_SYNC: Final = os.name != "nt"

#: Between tries for a directory's lock.
_LOCK_PAUSES_S: Final = (0.001, 0.01, 0.05)

Owner = tuple[int, int]

#: Refusals after which a file that goes makes room for another, in the words of who has to make it.
_NO_ROOM: Final = {
    getattr(errno, name): words
    for name, words in {
        "ENOSPC": "the disk is full",
        "EDQUOT": "the disk quota is used up",
        "EFBIG": "the file size limit (ulimit -f) is reached",
    }.items()
    if hasattr(errno, name)
}


def no_room(error: OSError) -> bool:
    """Say whether a file could not be written for want of room, or of leave to use it."""
    return error.errno in _NO_ROOM


def reason(error: OSError) -> str:
    """Give why a file could not be written, in words."""
    return _NO_ROOM.get(error.errno or 0) or error.strerror or str(error)


def create(path: Path, owner: Owner | None) -> int:
    """Open a new file for writing (replacing a leftover one) and give its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), FILE_MODE)
    try:
        give_to(descriptor, owner)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def give_to(descriptor: int, owner: Owner | None) -> None:
    """Make `owner` (uid, gid) the owner, where files have owners."""
    if owner is not None and hasattr(os, "fchown"):
        os.fchown(descriptor, *owner)


def publish(partial: Path, final: Path) -> None:
    """Give a synced file its final name, durably."""
    os.replace(partial, final)
    sync_directory(final.parent)


def write_whole(path: Path, content: bytes, owner: Owner | None) -> None:
    """Replace a file's content atomically and durably."""
    write_streamed(path, lambda file: file.write(content), owner)


def write_streamed(path: Path, write: Callable[[BinaryIO], object], owner: Owner | None) -> int:
    """Replace a file by what `write` writes, atomically and durably, and give its size in bytes."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    descriptor = create(partial, owner)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            size_bytes = file.tell()
    except BaseException:
        remove(partial)
        raise
    publish(partial, path)
    return size_bytes


def remove(path: Path) -> None:
    """Remove a file, if it is there; after a power cut it may be there again."""
    path.unlink(missing_ok=True)


def make_directory(path: Path, owner: Owner | None) -> None:
    """Make a directory that only its owner can enter, durably if its parent can be read."""
    path.mkdir(mode=DIRECTORY_MODE)
    if owner is not None and hasattr(os, "chown"):
        os.chown(path, *owner)
    with contextlib.suppress(PermissionError):
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable; Windows can't open directories and needs no such call."""
    if not _DIRECTORIES_SYNC:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """Held by whoever writes to a directory; the system lets go of it when the process ends."""

    def __init__(self, descriptor: int = -1) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        """Let go, once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def lock_directory(path: Path) -> Lock:
    """Take the lock of a directory; raises BlockingIOError if somebody has it. Windows has no such lock.

    Who only asks whether somebody writes (`is_written_to`) has it for microseconds: it is tried again.
    """
    try:
        import fcntl
    except ImportError:
        return Lock()
    lock = Lock(os.open(path, os.O_RDONLY))
    try:
        for pause_s in _LOCK_PAUSES_S:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            time.sleep(pause_s)
        fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


def is_written_to(path: Path) -> bool:
    """Say whether somebody has the lock of a directory; True if that can't be known.

    A shared lock is tried for, and let go at once: of several who ask, none takes another for a writer.
    """
    try:
        import fcntl
    except ImportError:
        return True
    lock = Lock()
    try:
        lock = Lock(os.open(path, os.O_RDONLY))
        fcntl.flock(lock.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        lock.close()
    return False
