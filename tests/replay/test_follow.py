"""Claims about following a recording: all events, each once, until it stops."""

from pathlib import Path

import pytest

from linnix_rec.capture.document import CaptureDocument, Stopped
from linnix_rec.capture.files import lock_directory
from linnix_rec.capture.writer import CaptureWriter
from linnix_rec.errors import UnreadableCaptureError
from linnix_rec.replay.follow import follow
from tests.story import Row, Story, consistent_accounts, document, rows_to_batch, write_capture


def recording(directory: Path) -> CaptureWriter:
    directory.mkdir()
    return CaptureWriter(directory, document(), segment_rows=1 << 20, segment_seconds=3600)


def told() -> list[Row]:
    story = Story()
    shell = story.task(100)
    for tid in range(101, 110):
        story.fork(shell, tid)
    return story.rows


def test_new_segments_are_given_as_they_come(tmp_path: Path) -> None:
    rows = told()
    writer = recording(tmp_path / "a.lrec")
    left = [rows[3:4], [], rows[4:8], rows[8:]]

    def record_more() -> None:
        if not left:
            writer.close(Stopped("signal", "SIGINT", "2026-09-21T14:17:00Z", 1), consistent_accounts(rows))
            return
        if more := left.pop(0):
            writer.write(rows_to_batch(more))
            writer.turn_over()

    writer.write(rows_to_batch(rows[:3]))
    writer.turn_over()
    batches = follow(tmp_path / "a.lrec", ["seq"], record_more, pytest.fail, pytest.fail, batch_rows=2)
    assert [seq for batch in batches for seq in batch.column("seq").to_pylist()] == list(range(10))


def test_finished_capture_is_given_without_waiting(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.lrec", told())
    batches = follow(
        capture, ["seq"], pytest.fail, pytest.fail, pytest.fail, first_seq=2, end_seq=5, batch_rows=100
    )
    assert [seq for batch in batches for seq in batch.column("seq").to_pylist()] == [2, 3, 4]


def test_capture_that_goes_away_is_an_error(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.lrec", told(), finished=False)
    lock = lock_directory(capture)
    removed = (capture / "capture.json").unlink
    batches = follow(capture, ["seq"], removed, pytest.fail, pytest.fail, batch_rows=100)
    assert next(batches).num_rows == 10
    with pytest.raises(UnreadableCaptureError):
        next(batches)
    lock.close()


def test_a_recording_whose_recorder_died_ends_after_its_last_segment(tmp_path: Path) -> None:
    rows, directory = told(), tmp_path / "a.lrec"
    writer = recording(directory)
    writer.write(rows_to_batch(rows[:3]))
    writer.turn_over()
    ends: list[CaptureDocument] = []

    def close_one_and_die() -> None:
        writer.write(rows_to_batch(rows[3:5]))
        writer.turn_over()
        writer.write(rows_to_batch(rows[5:]))
        writer.abandon()

    batches = follow(directory, ["seq"], close_one_and_die, pytest.fail, ends.append, batch_rows=100)
    assert [seq for batch in batches for seq in batch.column("seq").to_pylist()] == [0, 1, 2, 3, 4]
    assert [end.durable_seq for end in ends] == [5]


def test_what_retention_removed_before_it_was_read_is_said(tmp_path: Path) -> None:
    rows, directory = told(), tmp_path / "a.lrec"
    directory.mkdir()
    writer = CaptureWriter(directory, document(), segment_rows=1 << 20, segment_seconds=3600, keep_bytes=1)
    left, passed_over = [rows[2:5], rows[5:8]], []

    def record_two_segments() -> None:
        if not left:
            writer.close(Stopped("signal", "SIGINT", "2026-09-21T14:17:00Z", 1), consistent_accounts(rows))
        while left:
            writer.write(rows_to_batch(left.pop(0)))
            writer.turn_over()

    writer.write(rows_to_batch(rows[:2]))
    writer.turn_over()
    batches = follow(
        directory,
        ["seq"],
        record_two_segments,
        lambda *range_: passed_over.append(range_),
        pytest.fail,
        batch_rows=100,
    )
    assert [seq for batch in batches for seq in batch.column("seq").to_pylist()] == [0, 1, 5, 6, 7]
    assert passed_over == [(2, 5)]
