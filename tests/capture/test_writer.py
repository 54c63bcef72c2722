"""Segments turn over by rows and by time, are durable once closed, and a failing disk loses no closed one."""

import errno
import hashlib
import json
import os
import stat
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnix_rec.capture import files, segment
from linnix_rec.capture.document import Accounts, CaptureDocument, ClockSample, Stopped
from linnix_rec.capture.pending import PendingRows
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import RecordingError
from tests.story import REALTIME_OFFSET_NS, Story, document

STOPPED = Stopped("duration", "10 s", "2026-09-21T14:17:00Z", 5)


def forks(count: int, first_seq: int = 0) -> pa.RecordBatch:
    story = Story(first_seq)
    shell = story.task(100)
    for child in range(count - 1):
        story.fork(shell, 1000 + child)
    return story.batch()


def new_writer(directory: Path, segment_rows: int = 1000, segment_seconds: float = 3600) -> CaptureWriter:
    prepare_directory(directory, force=False)
    return CaptureWriter(directory, document(), segment_rows=segment_rows, segment_seconds=segment_seconds)


def names_in(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_segments_turn_over_by_rows_and_are_named_for_their_first_ticket(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=4)
    writer.write(forks(10, first_seq=7))
    written = writer.close(STOPPED, None)
    assert [(entry.name, entry.first_seq, entry.end_seq, entry.rows) for entry in written.segments] == [
        ("segment-00000000000000000007.parquet", 7, 11, 4),
        ("segment-00000000000000000011.parquet", 11, 15, 4),
        ("segment-00000000000000000015.parquet", 15, 17, 2),
    ]
    assert names_in(tmp_path / "a.lrec") == ["capture.json", *(entry.name for entry in written.segments)]


def test_segments_turn_over_by_time_without_events(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_seconds=0.0)
    writer.turn_over_if_due()
    assert writer.document.segments == ()
    writer.write(forks(3))
    assert [entry.rows for entry in writer.document.segments] == [3]
    assert writer.durable_seq == 3


@pytest.mark.parametrize(
    ("segment_seconds", "first_segment_seconds", "closed_s"),
    [
        (10.0, 1.0, [1, 4, 9, 18, 29, 40]),  # the next one is opened a second after the last was closed
        (60.0, 1.0, [1, 4, 9, 18, 35, 68, 129]),
        (3.0, None, [3, 7, 11]),
        (2.0, 5.0, [2, 5, 8]),
    ],
)
def test_segments_stay_open_for_twice_as_long_each_time_up_to_what_was_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    segment_seconds: float,
    first_segment_seconds: float | None,
    closed_s: list[int],
) -> None:
    now_s = [0]
    monkeypatch.setattr(segment.time, "monotonic", lambda: now_s[0])
    prepare_directory(tmp_path / "a.lrec", force=False)
    writer = CaptureWriter(
        tmp_path / "a.lrec",
        document(),
        segment_seconds=segment_seconds,
        first_segment_seconds=first_segment_seconds,
    )
    batch, closed = forks(200), []
    while len(closed) < len(closed_s):
        writer.write(batch.slice(now_s[0], 1))
        if writer.durable_seq == writer.end_seq:
            closed.append(now_s[0])
        now_s[0] += 1
    writer.abandon()
    assert closed == closed_s


def test_a_young_segment_stays_open_and_out_of_every_parquet_glob(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec")
    writer.write(forks(3))
    writer.turn_over_if_due()
    assert list((tmp_path / "a.lrec").glob("*.parquet")) == []
    assert (writer.rows_written, writer.end_seq, writer.durable_seq) == (3, 3, 0)
    writer.turn_over()
    assert [path.name for path in (tmp_path / "a.lrec").glob("*.parquet")] == [
        "segment-00000000000000000000.parquet"
    ]
    assert (writer.end_seq, writer.durable_seq) == (3, 3)


def test_bytes_written_are_those_of_the_segments(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=40)
    writer.write(forks(100))
    writer.close(STOPPED, None)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "a.lrec").glob("*.parquet"))
    assert writer.bytes_written == on_disk


def test_end_seq_counts_the_tickets_of_spans_and_gaps(tmp_path: Path) -> None:
    story = Story()
    shell = story.task(100)
    story.exec(shell, "/bin/true", slots=3)
    writer = new_writer(tmp_path / "a.lrec")
    writer.write(story.batch())
    assert writer.end_seq == 4
    story.gap(lost=90)
    writer.write(story.batch().slice(2))
    assert writer.end_seq == 94
    writer.abandon()


def test_a_segments_metadata_says_what_it_holds_and_which_segment_came_before(tmp_path: Path) -> None:
    story = Story()
    child = story.fork(story.task(100), 101)
    story.exec(child, "/bin/true")
    story.exit(child)
    story.gap(lost=5)
    story.gap(lost=7, reason="abandoned")
    prepare_directory(tmp_path / "a.lrec", force=False)
    writer = CaptureWriter(tmp_path / "a.lrec", document(), segment_rows=3, clock=lambda: 77)
    writer.write(story.batch())
    first, second = writer.close(STOPPED, None).segments
    first_bytes = (tmp_path / "a.lrec" / first.name).read_bytes()
    assert hashlib.sha256(first_bytes).hexdigest() == first.sha256
    assert hashlib.sha256((tmp_path / "a.lrec" / second.name).read_bytes()).hexdigest() == second.sha256

    def metadata(name: str) -> dict[str, str]:
        keys = pq.read_metadata(tmp_path / "a.lrec" / name).metadata
        return {key.decode(): value.decode() for key, value in keys.items() if key.startswith(b"linnix_rec.")}

    assert metadata(first.name) == {
        "linnix_rec.schema_version": "1",
        "linnix_rec.capture_id": document().capture_id,
        "linnix_rec.first_seq": "0",
        "linnix_rec.end_seq": "3",
        "linnix_rec.rows": '{"gap": 0, "fork": 1, "exec": 1, "exit": 0, "task": 1}',
        "linnix_rec.lost": "{}",
        "linnix_rec.clock_offset_ns": str(REALTIME_OFFSET_NS),
        "linnix_rec.closed_boot_ns": "77",
        "linnix_rec.previous_sha256": "",
    }
    assert metadata(second.name)["linnix_rec.previous_sha256"] == first.sha256
    assert metadata(second.name)["linnix_rec.lost"] == '{"lapped": 5, "abandoned": 7}'
    assert [(entry.bytes, entry.closed_boot_ns) for entry in (first, second)] == [
        ((tmp_path / "a.lrec" / entry.name).stat().st_size, 77) for entry in (first, second)
    ]


def test_capture_json_lists_every_closed_segment_while_recording(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=2)
    assert CaptureDocument.load(tmp_path / "a.lrec" / "capture.json").segments == ()
    writer.write(forks(5))
    running = CaptureDocument.load(tmp_path / "a.lrec" / "capture.json")
    assert [entry.rows for entry in running.segments] == [2, 2]
    assert running.stopped is None
    writer.abandon()


def test_the_next_capture_json_says_what_was_noted(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=2)
    writer.note(clock=(ClockSample(8, 9),), cgroups={"43": "/late"})
    assert CaptureDocument.load(tmp_path / "a.lrec" / "capture.json").cgroups == document().cgroups
    writer.write(forks(2))
    read = CaptureDocument.load(tmp_path / "a.lrec" / "capture.json")
    assert (read.clock, read.cgroups) == ((ClockSample(8, 9),), {"43": "/late"})
    writer.close(STOPPED, Accounts(0, 0, 0))
    read = CaptureDocument.load(tmp_path / "a.lrec" / "capture.json")
    assert (read.clock, read.cgroups) == ((ClockSample(8, 9),), {"43": "/late"})
    assert (read.stopped, read.accounts) == (STOPPED, Accounts(0, 0, 0))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_files_and_directory_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        writer = new_writer(tmp_path / "a.lrec", segment_rows=2)
        writer.write(forks(3))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.lrec").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a.lrec").iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 4  # capture.json, its reserve, one closed and one open segment
    writer.abandon()


@pytest.mark.kernel
def test_everything_belongs_to_the_owner_named(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a.lrec", force=False, owner=(12345, 54321))
    writer = CaptureWriter(tmp_path / "a.lrec", document(), segment_rows=2, owner=(12345, 54321))
    writer.write(forks(3))
    writer.close(STOPPED, None)
    for path in [tmp_path / "a.lrec", *(tmp_path / "a.lrec").iterdir()]:
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_an_abandoned_capture_is_what_a_crash_leaves(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=2)
    writer.write(forks(3))
    writer.abandon()
    capture = open_capture(tmp_path / "a.lrec")
    assert capture.document.stopped is None
    assert sum(batch.num_rows for batch in capture.batches()) == 2
    assert capture.findings() == []


def test_row_groups_are_bounded_by_rows(tmp_path: Path) -> None:
    batch = forks(1000)
    many = pa.Table.from_batches([batch] * 150).combine_chunks().to_batches()[0]
    writer = new_writer(tmp_path / "a.lrec", segment_rows=1 << 20)
    writer.write(many)
    (entry,) = writer.close(STOPPED, None).segments
    metadata = pq.read_metadata(tmp_path / "a.lrec" / entry.name)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [
        1 << 17,
        18_928,
    ]


def test_row_groups_are_bounded_by_bytes() -> None:
    story = Story()
    shell = story.task(1)
    for _ in range(4096):
        story.exec(shell, "/bin/true", ["x" * 9000])
    pending = PendingRows()
    pending.add(story.batch())
    assert (pending.rows, pending.room) == (4097, 0)
    assert pending.take().num_rows == 4097
    assert (pending.rows, pending.room) == (0, 1 << 17)


def test_small_batches_with_dictionaries_of_their_own_become_one_dictionary() -> None:
    pending = PendingRows()
    story = Story()
    shell = story.task(1)
    for number in range(300):
        story.exec(shell, f"/bin/{number % 7}")
        pending.add(story.batch().slice(len(story.rows) - 1))
    table = pending.take()
    assert table["filename"].to_pylist() == [f"/bin/{number % 7}" for number in range(300)]
    assert {chunk.dictionary.to_pylist().__repr__() for chunk in table["filename"].chunks} == {
        repr([f"/bin/{number}" for number in range(7)])
    }


def test_no_column_falls_back_from_its_dictionary_when_batches_differ(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=1 << 20)
    for name in ("one", "two"):
        story = Story(first_seq=writer.end_seq)
        shell = story.task(1)
        for _ in range(5000):
            story.exec(shell, f"/bin/{name}")
        writer.write(story.batch())
    (entry,) = writer.close(STOPPED, None).segments
    column = pq.read_metadata(tmp_path / "a.lrec" / entry.name).row_group(0)
    filename = column.column(EVENT_SCHEMA.get_field_index("filename"))
    assert filename.total_compressed_size < 1000


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "the file size limit (ulimit -f) is reached"),
    ],
)
def test_a_full_disk_is_told_with_the_place_and_keeps_what_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=10)
    writer.write(forks(10))

    def full(self: object, chunk: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(segment._HashedFile, "write", full)
    with pytest.raises(RecordingError) as caught:
        writer.write(forks(25, first_seq=10))
    assert str(caught.value) == (
        f"can't write to {tmp_path / 'a.lrec'}: {why}; the recording stops before seq 10, "
        "what was recorded before can be read"
    )
    monkeypatch.undo()
    with pytest.raises(RecordingError, match="before seq 10"):
        writer.write(forks(1, first_seq=35))
    writer.close(Stopped("disk full", str(caught.value), "2026-09-21T14:17:00Z", 5), None)
    capture = open_capture(tmp_path / "a.lrec")
    assert [batch.num_rows for batch in capture.batches()] == [10]
    assert capture.findings() == []
    assert capture.document.stopped is not None
    assert capture.document.stopped.reason == "disk full"
    assert names_in(tmp_path / "a.lrec") == ["capture.json", "segment-00000000000000000000.parquet"]


def test_another_failure_of_the_disk_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(tmp_path / "a.lrec", segment_rows=10)

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(RecordingError, match="Input/output error; nothing was written"):
        writer.write(forks(10))


def test_the_reserve_is_spent_on_the_last_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = new_writer(tmp_path / "a.lrec")
    reserve = tmp_path / "a.lrec" / "capture.json.reserve"
    assert reserve.stat().st_size == 256 << 10
    write_whole = files.write_whole

    def full_until_the_reserve_is_gone(path: Path, content: bytes, owner: files.Owner | None) -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content, owner)

    monkeypatch.setattr(files, "write_whole", full_until_the_reserve_is_gone)
    writer.close(STOPPED, None)
    assert json.loads((tmp_path / "a.lrec" / "capture.json").read_bytes())["stopped"]["reason"] == "duration"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"can't write to .*nowhere: No such file or directory"):
        CaptureWriter(tmp_path / "nowhere", document())


def test_a_capture_that_spans_a_year_closes_its_segments_more_seldom(tmp_path: Path) -> None:
    now_ns = [1_000_000_000]
    (tmp_path / "a.lrec").mkdir()
    writer = CaptureWriter(tmp_path / "a.lrec", document(), segment_seconds=0, clock=lambda: now_ns[0])
    writer.write(forks(2))
    assert len(writer.document.segments) == 1
    now_ns[0] += 365 * 86_400 * 1_000_000_000
    writer.write(forks(2, first_seq=2))
    assert len(writer.document.segments) == 1, "open for an hour, as 8,192 such hours are a year"
    writer.abandon()
