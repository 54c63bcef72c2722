"""A capture's files are regular ones of its own: no link, pipe or device in their place is read."""

import os
from pathlib import Path

import pytest

from linnix_rec.capture import limits
from linnix_rec.capture.document import DOCUMENT_NAME
from linnix_rec.capture.opening import read_file
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import UnreadableCaptureError
from tests.story import Story, write_capture

SEGMENT = "segment-00000000000000000000.parquet"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    story = Story()
    story.task(1)
    return write_capture(tmp_path / "a.lrec", story)


@pytest.mark.parametrize("name", [DOCUMENT_NAME, SEGMENT])
def test_a_link_is_refused_even_to_what_would_do(path: Path, name: str, tmp_path: Path) -> None:
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreadableCaptureError, match="is a symbolic link, and a capture's files are its own"):
        open_capture(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
@pytest.mark.parametrize("name", [DOCUMENT_NAME, SEGMENT])
def test_a_pipe_is_refused_and_not_waited_for(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(UnreadableCaptureError, match=r"is no(t a)? file"):
        open_capture(path)


def test_a_device_is_refused(path: Path) -> None:
    with pytest.raises(UnreadableCaptureError, match="is not a file"):
        read_file(Path(os.devnull), 5)


def test_the_capture_itself_may_be_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "latest.lrec").symlink_to(path)
    assert sum(batch.num_rows for batch in open_capture(tmp_path / "latest.lrec").batches()) == 1


def test_a_stray_link_is_told_and_not_followed(path: Path, tmp_path: Path) -> None:
    (path / "other.parquet").symlink_to(tmp_path / "secret")
    assert [finding.code for finding in open_capture(path).findings()] == ["extra"]


def test_a_document_larger_than_allowed_is_not_read(path: Path) -> None:
    with (path / DOCUMENT_NAME).open("ab") as file:
        file.truncate(limits.DOCUMENT_BYTES + 1)
    with pytest.raises(UnreadableCaptureError, match="33554433 bytes, 33554432 are allowed"):
        open_capture(path)
