"""A capture that is being written is not replaced; one whose recorder is gone is."""

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


def test_checking_changes_nothing(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.lrec", Story())
    check_directory(capture, force=True)
    check_directory(tmp_path / "new.lrec", force=False)
    assert (capture / "capture.json").exists()
    assert not (tmp_path / "new.lrec").exists()
