"""Old segments go by bytes and by age; what is left is a whole capture that says where it begins."""

from dataclasses import replace
from pathlib import Path

import pytest

from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, Pruned
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.retention import is_leftover
from linnix_rec.errors import UnreadableCaptureError
from tests.story import Story, write_capture


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
