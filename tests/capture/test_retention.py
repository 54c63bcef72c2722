"""Old segments go by bytes and by age; what is left is a whole capture that says where it begins."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from linnix_rec.capture import files
from linnix_rec.capture.directory import RESERVE_NAME
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, Pruned, Segment, Stopped
from linnix_rec.capture.parquet import SegmentMetadata
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.retention import NamedCgroups, Retention, is_leftover, summed
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import RecordingError, UnreadableCaptureError
from tests.story import Story, Task, document, write_capture

STOPPED = Stopped("signal", "SIGTERM", "2026-09-21T14:17:00Z", 5)


def name(first_seq: int) -> str:
    return f"segment-{first_seq:020d}.parquet"


def exits(count: int) -> Story:
    story = Story()
    task = story.task(1)
    for _ in range(count - 1):
        story.exit(task, last=False)
    return story


def pruned_by_hand(path: Path, segments: int) -> Path:
    """Note the first segments of a capture as removed, and leave their files."""
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    gone, kept = document.segments[:segments], document.segments[segments:]
    pruned = Pruned(
        end_seq=gone[-1].end_seq,
        segments=segments,
        bytes=1,
        rows={},
        event_tickets=gone[-1].end_seq,
        lost={},
        sha256=gone[-1].sha256,
        boot_ns=document.started.attached_boot_ns + 1,
    )
    (path / DOCUMENT_NAME).write_bytes(replace(document, segments=kept, pruned=pruned).dump())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A capture of four segments of five tickets each, of which the first two are noted as removed."""
    return pruned_by_hand(write_capture(tmp_path / "a.lrec", exits(20), rows_per_segment=5), segments=2)


@pytest.mark.parametrize(
    ("file", "is_one"),
    [
        (name(0), True),
        (name(9), True),
        (name(10), False),
        (name(11), False),
        (name(0) + ".partial", False),
        ("x" + name(0), False),
    ],
)
def test_a_leftover_is_a_segment_from_before_the_cut(file: str, is_one: bool) -> None:
    pruned = Pruned(10, 2, 1, {}, 10, {}, "", 0)
    assert is_leftover(file, pruned) is is_one
    assert not is_leftover(file, None)


def test_leftovers_are_neither_read_nor_found(path: Path) -> None:
    capture = open_capture(path)
    assert [segment.path.name for segment in capture.segments] == [name(10), name(15)]
    assert (capture.strays, capture.missing, capture.lack()) == ((), (), "")
    assert capture.findings() == []
    assert sum(batch.num_rows for batch in capture.batches()) == 10


def test_the_chain_of_a_pruned_capture_begins_at_the_last_segment_that_went(path: Path) -> None:
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    assert document.pruned is not None
    forged = replace(document, pruned=replace(document.pruned, sha256="0" * 64))
    (path / DOCUMENT_NAME).write_bytes(forged.dump())
    assert [(finding.code, finding.segment) for finding in open_capture(path).findings()] == [
        ("chain", name(10))
    ]


def test_a_cut_past_a_listed_segment_is_no_excuse_for_it(path: Path) -> None:
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    assert document.pruned is not None
    forged = replace(document, pruned=replace(document.pruned, end_seq=15))
    (path / DOCUMENT_NAME).write_bytes(forged.dump())
    assert [(finding.code, finding.segment) for finding in open_capture(path).findings()] == [
        ("missing", name(10))
    ]


def test_a_reader_that_meets_retention_at_work_looks_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read a capture.json that still lists what has gone meanwhile."""
    now = CaptureDocument.load(path / DOCUMENT_NAME)
    before = replace(now, stopped=None, pruned=None, segments=(replace(now.segments[0], name=name(0)),))
    (path / name(0)).unlink()
    documents = iter([before, replace(now, stopped=None)])
    monkeypatch.setattr(CaptureDocument, "load", lambda _: next(documents))
    capture = open_capture(path)
    assert [segment.path.name for segment in capture.segments] == [name(10), name(15)]
    assert capture.missing == ()


def test_a_segment_that_goes_while_it_is_read_is_told(path: Path) -> None:
    capture = open_capture(path)
    (path / name(10)).unlink()
    with pytest.raises(UnreadableCaptureError, match="it has been removed meanwhile"):
        list(capture.batches())


def closed(first_seq: int, size_bytes: int, at_s: float | None) -> Segment:
    """A segment of ten tickets."""
    closed_boot_ns = None if at_s is None else int(at_s * 1e9)
    return Segment(
        name(first_seq), f"{first_seq:064d}", first_seq, first_seq + 10, 8, size_bytes, closed_boot_ns
    )


FOUR = [closed(0, 100, 10), closed(10, 100, 20), closed(20, 100, 30), closed(30, 100, 40)]


@pytest.mark.parametrize(
    ("keep_bytes", "keep_s", "now_s", "due"),
    [
        (None, None, 1e6, 0),
        (400, None, 40, 0),
        (399, None, 40, 1),
        (300, None, 40, 1),
        (299, None, 40, 2),
        (0, None, 40, 3),
        (None, 30, 40, 0),
        (None, 29.9, 40, 1),
        (None, 10, 40, 2),
        (None, 0, 41, 3),
        (300, 0, 41, 3),
        (100, 1e6, 41, 3),
    ],
)
def test_the_oldest_go_until_bytes_and_age_are_within_bounds_and_the_newest_stays(
    keep_bytes: int | None, keep_s: float | None, now_s: float, due: int
) -> None:
    retention = Retention(keep_bytes, None if keep_s is None else int(keep_s * 1e9))
    assert retention.due(FOUR, int(now_s * 1e9)) == due


def test_no_segment_goes_by_an_age_that_it_does_not_say() -> None:
    segments = [closed(0, 100, None), closed(10, 100, None)]
    assert Retention(None, 1).due(segments, 1 << 60) == 0
    assert Retention(100, 1).due(segments, 1 << 60) == 1


def test_nothing_goes_from_nothing() -> None:
    assert Retention(0, 0).due([], 1) == 0


def footer(entry: Segment, lost: dict[str, int]) -> SegmentMetadata:
    rows = {"exit": 6, "fork": 1, "gap": 1} if lost else {"exit": 8}
    return SegmentMetadata("id", entry.first_seq, entry.end_seq, rows, None, "", lost, entry.closed_boot_ns)


def test_what_goes_is_added_to_what_went() -> None:
    first, second, third, _ = FOUR
    once = summed(None, [(first, footer(first, {})), (second, footer(second, {"lapped": 3}))])
    assert once == Pruned(
        end_seq=20,
        segments=2,
        bytes=200,
        rows={"exit": 14, "fork": 1, "gap": 1},
        event_tickets=17,
        lost={"lapped": 3},
        sha256=second.sha256,
        boot_ns=20_000_000_000,
    )
    twice = summed(once, [(third, footer(third, {"abandoned": 1}))])
    assert (twice.end_seq, twice.segments, twice.event_tickets) == (30, 3, 26)
    assert (twice.lost, twice.sha256) == ({"lapped": 3, "abandoned": 1}, third.sha256)


def test_a_segment_that_could_not_be_read_when_it_went_is_counted_as_that() -> None:
    pruned = summed(None, [(FOUR[0], None)])
    assert (pruned.rows, pruned.event_tickets, pruned.bytes) == ({"unreadable": 8}, 0, 100)


def writer_with(path: Path, clock: Callable[[], int] = lambda: 1, **retention: float) -> CaptureWriter:
    prepare_directory(path, force=False)
    return CaptureWriter(path, document(), segment_rows=5, segment_seconds=3600, clock=clock, **retention)  # type: ignore[arg-type]


def test_a_capture_keeps_within_its_bytes_and_sums_up_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.lrec"
    story = exits(12)
    story.gap(lost=100)
    story.gap(lost=3, reason="abandoned")
    for _ in range(26):
        story.exit(Task(1, 1, 1), last=False)
    writer = writer_with(path, keep_bytes=50_000)
    writer.write(story.batch())
    written = writer.close(STOPPED, None)
    sizes = [file.stat().st_size for file in path.glob("*.parquet")]
    assert 25_000 < sum(sizes) <= 50_000
    pruned = written.pruned
    assert pruned is not None
    kept = sum(entry.rows for entry in written.segments)
    assert sum(pruned.rows.values()) + kept == 40
    assert (pruned.rows["gap"], pruned.rows["task"], pruned.lost) == (2, 1, {"lapped": 100, "abandoned": 3})
    assert pruned.event_tickets == sum(pruned.rows.values()) - 2
    assert writer.bytes_written == sum(sizes)
    assert pruned.bytes // pruned.segments == pytest.approx(sum(sizes) / len(sizes), rel=0.1)
    assert open_capture(path).findings() == []


def test_a_capture_keeps_what_is_young_by_the_boot_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0]
    path = tmp_path / "a.lrec"
    writer = writer_with(path, clock=lambda: now_s[0] * 1_000_000_000, keep_seconds=20)
    monkeypatch.setattr(time, "time", lambda: 1e12)  # the wall clock jumps: nobody asks it
    monkeypatch.setattr(time, "time_ns", lambda: 10**21)
    batch = exits(40).batch()
    for now_s[0] in range(1000, 1060, 10):
        writer.write(batch.slice(writer.end_seq, 5))
    writer.abandon()
    assert [entry.first_seq for entry in writer.document.segments] == [15, 20, 25]
    assert writer.document.pruned is not None
    assert writer.document.pruned.boot_ns == 1_020_000_000_000
    assert writer.document.births_known_from_ns == 1_020_000_000_000


def test_the_document_says_what_went_before_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lrec"
    seen = []

    def remove(file: Path) -> None:
        if file.suffix == ".parquet":
            pruned = CaptureDocument.load(path / DOCUMENT_NAME).pruned
            seen.append((file.name, pruned.end_seq if pruned else None))
        file.unlink(missing_ok=True)

    monkeypatch.setattr(files, "remove", remove)
    writer = writer_with(path, keep_bytes=1)
    writer.write(exits(20).batch())
    writer.abandon()
    assert seen == [(name(0), 5), (name(5), 10), (name(10), 15)]


def test_a_segment_that_somebody_removed_ends_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.lrec"
    writer = writer_with(path, keep_bytes=1)
    writer.write(exits(7).batch())
    (path / name(0)).unlink()
    writer.write(exits(10).batch().slice(7))
    written = writer.close(STOPPED, None)
    assert written.pruned is not None
    assert written.pruned.rows == {"unreadable": 5}


def test_what_a_failing_disk_kept_from_being_removed_goes_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lrec"
    writer = writer_with(path, keep_bytes=1)
    writer.write(exits(5).batch())

    def broken(file: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "remove", broken)
    with pytest.raises(RecordingError, match="Input/output error; the recording stops before seq 10"):
        writer.write(exits(10).batch().slice(5))
    monkeypatch.undo()
    assert (path / name(0)).exists()
    writer.close(STOPPED, None)
    assert sorted(file.name for file in path.iterdir()) == ["capture.json", name(5)]
    assert open_capture(path).findings() == []


def test_paths_of_cgroups_stay_as_long_as_a_kept_segment_names_them() -> None:
    cgroups = NamedCgroups({"1": "/old", "2": "/busy"}, end_seq=10)
    cgroups.named([2, 3], end_seq=20)
    cgroups.learn({"3": "/late", "4": "/only in the open segment"})
    assert cgroups.kept(9) == {"1": "/old", "2": "/busy", "3": "/late", "4": "/only in the open segment"}
    assert cgroups.kept(10) == {"2": "/busy", "3": "/late", "4": "/only in the open segment"}
    assert cgroups.kept(20) == {"4": "/only in the open segment"}
    cgroups.named([1, 4], end_seq=30)
    assert cgroups.kept(20) == {"1": "/old", "4": "/only in the open segment"}


def test_capture_json_has_the_cgroups_of_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.lrec"
    story = Story()
    task = story.task(1, cgroup_id=1)
    for number in range(1, 24):
        story.exit(task, last=False, cgroup_id=1 + number // 5)
    writer = writer_with(path, keep_bytes=1)
    writer.note(cgroups={str(number): f"/{number}" for number in range(1, 6)})
    writer.write(story.batch())
    assert writer.document.cgroups == {"4": "/4", "5": "/5"}  # 5 is in the open segment
    writer.note(cgroups={str(number): f"/{number}" for number in range(1, 6)})
    assert writer.close(STOPPED, None).cgroups == {"5": "/5"}


def test_the_reserve_grows_with_the_document(tmp_path: Path) -> None:
    path = tmp_path / "a.lrec"
    writer = writer_with(path)
    writer.note(cgroups={str(number): "/" + "x" * 100 for number in range(5000)})
    writer.write(exits(5).batch())
    size = (path / DOCUMENT_NAME).stat().st_size
    assert size > 500_000
    assert (path / RESERVE_NAME).stat().st_size == 4 * size
    writer.abandon()
