"""A later recorder goes on exactly where the durable part of a capture ends, or says why it can't."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, Pruned, Resumption, Stopped
from linnix_rec.capture.parquet import segment_metadata
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import LinnixRecError, UnreadableCaptureError, UsageError
from tests.story import Story, document

STOPPED = Stopped("signal", "SIGTERM", "2026-09-21T14:17:00Z", 5)
LATER = Resumption("2026-09-21T14:16:00Z", 4, seq=0)

EVENTS = Story()
TASK = EVENTS.task(1)
for _ in range(99):
    EVENTS.exit(TASK, last=False)
BATCH = EVENTS.batch()


def name(first_seq: int) -> str:
    return f"segment-{first_seq:020d}.parquet"


def interrupted(path: Path, events: int, segment_rows: int = 5) -> Path:
    """A pinned recording whose recorder died after this many events."""
    prepare_directory(path, force=False)
    writer = CaptureWriter(
        path, replace(document(), pin="ci"), segment_rows=segment_rows, segment_seconds=3600
    )
    writer.write(BATCH.slice(0, events))
    writer.abandon()
    return path


def resume(path: Path) -> CaptureWriter:
    return CaptureWriter.resume(path, LATER, segment_rows=5, segment_seconds=3600)


def finish(path: Path) -> CaptureDocument:
    """Resume, write all that is not durable, and close."""
    writer = resume(path)
    writer.write(BATCH.slice(writer.durable_seq))
    return writer.close(STOPPED, None)


def seqs(path: Path) -> list[int]:
    return np.concatenate([batch["seq"].to_numpy() for batch in open_capture(path).batches(["seq"])]).tolist()


def edit(path: Path, **changes: object) -> None:
    edited = replace(CaptureDocument.load(path / DOCUMENT_NAME), **changes)  # type: ignore[arg-type]
    (path / DOCUMENT_NAME).write_bytes(edited.dump())


@pytest.mark.parametrize("events", [0, 3, 5, 12, 99])
def test_nothing_is_missing_or_double_after_a_resume(tmp_path: Path, events: int) -> None:
    path = interrupted(tmp_path / "a.lrec", events)
    written = finish(path)
    assert seqs(path) == list(range(100))
    assert open_capture(path).findings() == []
    assert written.resumptions == (replace(LATER, seq=events // 5 * 5),)
    assert written.stopped == STOPPED


def test_the_resumption_is_written_before_the_first_event(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 12)
    writer = resume(path)
    assert (writer.durable_seq, writer.end_seq) == (10, 10)
    assert CaptureDocument.load(path / DOCUMENT_NAME).resumptions == (replace(LATER, seq=10),)
    writer.abandon()


def test_a_segment_that_was_published_and_not_listed_is_gone_on_from(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 15)
    listed = CaptureDocument.load(path / DOCUMENT_NAME).segments
    edit(path, segments=listed[:2])
    writer = resume(path)
    assert writer.durable_seq == 15
    assert writer.document.segments == listed
    assert CaptureDocument.load(path / DOCUMENT_NAME).segments == listed
    writer.write(BATCH.slice(15))
    writer.close(STOPPED, None)
    assert seqs(path) == list(range(100))
    assert open_capture(path).findings() == []


def test_a_first_segment_that_was_not_listed_is_gone_on_from(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 5)
    edit(path, segments=())
    writer = resume(path)
    assert writer.durable_seq == 5
    writer.abandon()


def test_half_written_files_and_leftovers_of_retention_are_removed(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 15)
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    gone = document.segments[0]
    pruned = Pruned(gone.end_seq, 1, gone.bytes, {"exit": 5}, 5, {}, gone.sha256, 7)
    edit(path, segments=document.segments[1:], pruned=pruned)
    for partial in (name(15), "capture.json", "capture.json.reserve"):
        (path / f"{partial}.partial").write_bytes(b"half")
    for theirs in ("notes.txt", "witness-connector.arrow.partial"):  # a witness begins before the writer
        (path / theirs).write_text("not the writer's")
    writer = resume(path)
    assert sorted(entry.name for entry in path.iterdir()) == [
        "capture.json",
        "capture.json.reserve",
        "notes.txt",
        name(5),
        name(10),
        "witness-connector.arrow.partial",
    ]
    assert (writer.durable_seq, writer.document.pruned) == (15, pruned)
    writer.abandon()


def test_a_capture_of_which_everything_was_pruned_but_its_newest_goes_on(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 15)
    writer = CaptureWriter.resume(path, LATER, segment_rows=5, keep_bytes=1)
    writer.write(BATCH.slice(15, 5))
    writer.abandon()
    read = CaptureDocument.load(path / DOCUMENT_NAME)
    assert [entry.first_seq for entry in read.segments] == [15]
    assert read.pruned is not None
    assert (read.pruned.end_seq, read.pruned.segments, read.pruned.rows["exit"]) == (15, 3, 14)
    finish(path)
    assert seqs(path) == list(range(15, 100))
    assert open_capture(path).findings() == []


def test_bytes_written_are_those_of_the_whole_capture(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 15)
    writer = resume(path)
    assert writer.bytes_written == sum(file.stat().st_size for file in path.glob("*.parquet"))
    writer.abandon()


def test_a_capture_is_resumed_as_often_as_its_recorder_dies(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 7)
    for events in (20, 33, 47, 60, 81):
        writer = resume(path)
        writer.write(BATCH.slice(writer.durable_seq, events - writer.durable_seq))
        writer.abandon()
    assert [resumption.seq for resumption in finish(path).resumptions] == [5, 20, 30, 45, 60, 80]
    assert seqs(path) == list(range(100))
    assert open_capture(path).findings() == []


def test_a_capture_that_is_recorded_to_is_not_resumed(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 7)
    writer = resume(path)
    with pytest.raises(UsageError, match=r"a\.lrec is being recorded to: end that recorder first"):
        resume(path)
    writer.abandon()
    resume(path).abandon()


def test_a_finished_capture_is_not_resumed(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 7)
    finish(path)
    with pytest.raises(UsageError, match="is finished: there is nothing to resume"):
        resume(path)


def test_a_capture_without_a_pin_is_not_resumed(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 7)
    edit(path, pin=None)
    with pytest.raises(UsageError, match="was not recorded with --pin: its programs ended with its recorder"):
        resume(path)


def test_what_is_no_capture_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCaptureError, match="nowhere"):
        resume(tmp_path / "nowhere")
    with pytest.raises(UnreadableCaptureError, match=r"capture\.json"):
        resume(tmp_path)


def cut_short(path: Path) -> None:
    content = (path / name(10)).read_bytes()
    (path / name(10)).write_bytes(content[: len(content) // 2])


def edited(path: Path) -> None:
    content = bytearray((path / name(10)).read_bytes())
    content[20] ^= 1
    (path / name(10)).write_bytes(content)


def removed(path: Path) -> None:
    (path / name(10)).unlink()


def another_s(path: Path) -> None:
    shutil.copy(path / name(5), path / name(10))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (cut_short, "has another SHA-256 than capture.json says"),
        (edited, "has another SHA-256 than capture.json says"),
        (another_s, "has another SHA-256 than capture.json says"),
        (removed, "is missing"),
    ],
)
def test_a_last_segment_that_is_not_what_was_written_is_refused(
    tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    path = interrupted(tmp_path / "a.lrec", 15)
    harm(path)
    before = (path / DOCUMENT_NAME).read_bytes()
    with pytest.raises(UnreadableCaptureError) as caught:
        resume(path)
    assert str(caught.value) == (
        f"can't resume {path}: its last segment {name(10)} {told}; record anew, "
        "'linnix-rec verify' says what can be read"
    )
    assert (path / DOCUMENT_NAME).read_bytes() == before


def test_a_segment_that_does_not_go_on_there_is_refused(tmp_path: Path) -> None:
    """It would be overwritten as soon as a segment begins at its ticket."""
    path = interrupted(tmp_path / "a.lrec", 15)
    edit(path, segments=CaptureDocument.load(path / DOCUMENT_NAME).segments[:1])
    cut_short(path)
    with pytest.raises(UnreadableCaptureError, match=f"{name(10)} is there, but does not go on"):
        resume(path)
    removed(path)
    writer = resume(path)
    assert writer.durable_seq == 10
    writer.abandon()


def test_a_refusal_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a.lrec", 15)
    hidden = tmp_path / "hidden"
    (path / name(10)).rename(hidden)
    with pytest.raises(LinnixRecError):
        resume(path)
    hidden.rename(path / name(10))
    resume(path).abandon()


def test_footers_of_an_older_writer_are_read(tmp_path: Path) -> None:
    """Segments of before retention say neither what they lost nor when they were closed."""
    path = interrupted(tmp_path / "a.lrec", 5)
    metadata = segment_metadata(path / name(0))
    keys = {key.encode(): value.encode() for key, value in metadata.as_keys().items()}
    del keys[b"linnix_rec.lost"], keys[b"linnix_rec.closed_boot_ns"]
    assert type(metadata).from_keys(keys, "x") == replace(metadata, lost={}, closed_boot_ns=None)
