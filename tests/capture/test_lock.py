"""A capture that is being written is not replaced; one whose recorder is gone is."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from linnix_rec.capture import files
from linnix_rec.capture.directory import check_directory, prepare_directory
from linnix_rec.errors import UsageError
from tests.story import Story, write_capture


def test_force_leaves_a_capture_alone_while_it_is_recorded_to(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.lrec", Story())
    lock = files.lock_directory(capture)
    with pytest.raises(UsageError, match="is being recorded to"):
        prepare_directory(capture, force=True)
    assert (capture / "capture.json").exists()
    lock.close()
    prepare_directory(capture, force=True)
    assert list(capture.iterdir()) == []


def test_who_asks_whether_somebody_writes_disturbs_nobody(tmp_path: Path) -> None:
    """Not even a recorder that starts in the very moment: it tries again."""
    assert not files.is_written_to(tmp_path)
    with files_locked_shared(tmp_path) as asking:
        assert not files.is_written_to(tmp_path)  # two who ask are no writer
        threading.Timer(0.005, asking.close).start()
        lock = files.lock_directory(tmp_path)
    assert files.is_written_to(tmp_path)
    with pytest.raises(BlockingIOError):
        files.lock_directory(tmp_path)
    lock.close()
    assert not files.is_written_to(tmp_path)


@contextmanager
def files_locked_shared(path: Path) -> Iterator[files.Lock]:
    lock = files.Lock(os.open(path, os.O_RDONLY))
    fcntl.flock(lock.descriptor, fcntl.LOCK_SH)
    try:
        yield lock
    finally:
        lock.close()


def test_checking_changes_nothing(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.lrec", Story())
    check_directory(capture, force=True)
    check_directory(tmp_path / "new.lrec", force=False)
    assert (capture / "capture.json").exists()
    assert not (tmp_path / "new.lrec").exists()
