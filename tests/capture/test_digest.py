"""What was done to a capture's files is found, told apart, and named by segment and ticket."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from linnix_rec.capture.digest import Finding, sha256_of
from linnix_rec.capture.reader import open_capture
from tests.story import Story, document, write_capture

OTHER_ID = "0ddba11d-0000-4000-8000-000000000000"


def name(first_seq: int) -> str:
    return f"segment-{first_seq:020d}.parquet"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A capture of four segments: tickets 0 to 4, 5 to 9, 10 to 14 and 15 to 18."""
    return write_capture(tmp_path / "a.lrec", exits(19), rows_per_segment=5)


def exits(count: int) -> Story:
    story = Story()
    task = story.task(1)
    for _ in range(count - 1):
        story.exit(task, last=False)
    return story


def edit_document(path: Path, change: Callable[[Any], None]) -> None:
    file = path / "capture.json"
    whole = json.loads(file.read_bytes())
    change(whole)
    file.write_text(json.dumps(whole))


def edit_segment(file: Path) -> None:
    """Change a value and keep all metadata, as somebody would who hides something."""
    table = pq.ParquetFile(file).read()
    metadata = pq.read_metadata(file).metadata
    ours = {key: value for key, value in metadata.items() if key.startswith(b"linnix_rec.")}
    index = table.schema.get_field_index("uid")
    changed = table.set_column(index, table.schema.field(index), table["gid"])
    pq.write_table(changed.replace_schema_metadata(ours), file)


def codes(path: Path) -> list[tuple[str, str, int]]:
    return [(finding.code, finding.segment, finding.seq) for finding in open_capture(path).findings()]


def test_an_untouched_capture_has_no_findings(path: Path) -> None:
    assert codes(path) == []


def test_a_removed_segment_is_missing(path: Path) -> None:
    (path / name(5)).unlink()
    assert open_capture(path).findings() == [
        Finding("missing", name(5), "capture.json lists it, and it is not there", 5)
    ]


def test_a_removed_last_segment_is_missing(path: Path) -> None:
    (path / name(15)).unlink()
    assert codes(path) == [("missing", name(15), 15)]


def test_an_edited_segment_is_edited(path: Path) -> None:
    edit_segment(path / name(10))
    assert open_capture(path).findings() == [
        Finding("edited", name(10), "its bytes have another SHA-256 than capture.json says", 10)
    ]


def test_an_edited_segment_with_its_hash_replaced_breaks_the_chain_after_it(path: Path) -> None:
    edit_segment(path / name(5))
    digest = sha256_of(path / name(5))
    edit_document(path, lambda whole: whole["segments"][1].update(sha256=digest))
    assert codes(path) == [("chain", name(10), 10)]


def test_two_exchanged_segments_are_swapped(path: Path) -> None:
    (path / name(5)).rename(path / "x")
    (path / name(10)).rename(path / name(5))
    (path / "x").rename(path / name(10))
    assert open_capture(path).findings() == [
        Finding("swapped", name(5), f"it holds what {name(10)} should hold", 5),
        Finding("swapped", name(10), f"it holds what {name(5)} should hold", 10),
    ]
    seqs = [seq for batch in open_capture(path).batches(["seq"]) for seq in batch["seq"].to_pylist()]
    assert seqs == list(range(19))


def test_a_segment_of_another_capture_is_foreign(path: Path, tmp_path: Path) -> None:
    other = write_capture(tmp_path / "b.lrec", exits(19), rows_per_segment=5, capture_id=OTHER_ID)
    shutil.copy(other / name(10), path / name(10))
    assert open_capture(path).findings() == [
        Finding("foreign", name(10), f"it belongs to the capture {OTHER_ID}", 10)
    ]


def test_a_parquet_file_that_is_not_listed_is_extra_and_not_read(path: Path) -> None:
    shutil.copy(path / name(5), path / "copy.parquet")
    (path / "notes.parquet").write_text("no parquet at all")
    assert codes(path) == [("extra", "copy.parquet", 0), ("extra", "notes.parquet", 0)]
    assert sum(batch.num_rows for batch in open_capture(path).batches()) == 19


def test_a_segment_that_an_unfinished_capture_can_not_have_is_extra(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", exits(19), finished=False, rows_per_segment=5)
    shutil.copy(path / name(5), path / name(90))
    assert codes(path) == [("extra", name(90), 0)]


def test_a_segment_removed_with_its_entry_breaks_the_chain(path: Path) -> None:
    (path / name(5)).unlink()
    edit_document(path, lambda whole: whole["segments"].pop(1))
    assert codes(path) == [("count", name(10), 10), ("chain", name(10), 10)]


def test_a_first_segment_removed_with_its_entry_breaks_the_chain(path: Path) -> None:
    (path / name(0)).unlink()
    edit_document(path, lambda whole: whole["segments"].pop(0))
    assert codes(path) == [("chain", name(5), 5)]


def test_a_last_entry_removed_leaves_an_extra_segment(path: Path) -> None:
    edit_document(path, lambda whole: whole["segments"].pop())
    assert codes(path) == [("extra", name(15), 0)]


def test_a_document_of_another_capture_makes_every_segment_foreign(path: Path) -> None:
    edit_document(path, lambda whole: whole.update(capture_id=OTHER_ID))
    assert {code for code, _, _ in codes(path)} == {"foreign"}
    assert len(codes(path)) == 4


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            "rows",
            [
                "capture.json says rows 6, the segment 5",
                "capture.json says rows by kind 6, the segment 5",
            ],
        ),
        ("end_seq", ["capture.json says end seq 20, the segment 19"]),
    ],
)
def test_a_document_that_lies_about_numbers_is_told(path: Path, field: str, said: list[str]) -> None:
    where = 0 if field == "rows" else 3

    def lie(whole: Any) -> None:
        whole["segments"][where][field] += 1

    edit_document(path, lie)
    assert [(finding.code, finding.message) for finding in open_capture(path).findings()] == [
        ("count", message) for message in said
    ]


def test_an_entry_listed_twice_is_told(path: Path) -> None:
    edit_document(path, lambda whole: whole["segments"].append(whole["segments"][-1]))
    found = open_capture(path).findings()
    assert found[0] == Finding("count", name(15), "capture.json lists it 2 times")


def test_an_unfinished_capture_without_segments_has_no_findings(tmp_path: Path) -> None:
    (tmp_path / "a.lrec").mkdir()
    (tmp_path / "a.lrec" / "capture.json").write_bytes(document().dump())
    assert codes(tmp_path / "a.lrec") == []
