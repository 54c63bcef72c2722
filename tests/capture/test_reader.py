"""What was written is read: all of it, or what was asked for, and of an unfinished capture what is there."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linnix_rec.capture import reader
from linnix_rec.capture.document import Stopped
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.schema import EVENT_SCHEMA, GAP_REASONS, KINDS, NAME
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import UnreadableCaptureError
from tests.story import Story, document, rows_to_batch, write_capture

Row = dict[str, Any]


def build_story(processes: int = 20) -> Story:
    story = Story()
    shell = story.task(100)
    for number in range(processes):
        child = story.fork(shell, 1000 + number)
        story.exec(child, "/usr/bin/cc", ["cc", "-c", f"{number}.c"], slots=2)
        story.exit(child, code=number % 2)
    story.gap(7, "lapped")
    return story


def rows_of(batches: Iterator[pa.RecordBatch]) -> list[Row]:
    return [row for batch in batches for row in batch.to_pylist()]


def test_a_story_comes_back_row_by_row(tmp_path: Path) -> None:
    story = build_story()
    capture = open_capture(write_capture(tmp_path / "a.lrec", story, rows_per_segment=9))
    assert len(capture.segments) == 7
    assert rows_of(capture.batches()) == story.batch().to_pylist()
    assert all(batch.schema.equals(EVENT_SCHEMA, check_metadata=True) for batch in capture.batches())


def test_columns_come_in_the_order_and_types_asked_for(tmp_path: Path) -> None:
    capture = open_capture(write_capture(tmp_path / "a.lrec", build_story()))
    (batch,) = capture.batches(["comm", "seq", "argv", "kind"])
    assert batch.schema.names == ["comm", "seq", "argv", "kind"]
    assert batch.schema.types == [NAME, pa.uint64(), pa.list_(pa.string()), NAME]


def test_batches_hold_no_more_rows_than_asked_for(tmp_path: Path) -> None:
    capture = open_capture(write_capture(tmp_path / "a.lrec", build_story()))
    assert [batch.num_rows for batch in capture.batches(batch_rows=25)] == [25, 25, 12]


@given(
    st.none() | st.integers(-1, 95) | st.just(1 << 64),
    st.none() | st.integers(-1, 95) | st.just(1 << 64),
    st.none() | st.sets(st.sampled_from([*KINDS, "syscall"])),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_choice_gives_the_rows_that_match(
    tmp_path: Path, first_seq: int | None, end_seq: int | None, kinds: set[str] | None
) -> None:
    path = tmp_path / "a.lrec"
    story = build_story()
    if not path.exists():
        write_capture(path, story, rows_per_segment=10)
    got = rows_of(open_capture(path).batches(["tid"], first_seq=first_seq, end_seq=end_seq, kinds=kinds))
    assert [row.get("tid") for row in got] == [
        row.get("tid")
        for row in story.rows
        if (first_seq is None or row["seq"] >= first_seq)
        and (end_seq is None or row["seq"] < end_seq)
        and (kinds is None or row["kind"] in kinds)
    ]


def test_row_groups_out_of_range_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    task = story.task(1)
    for _ in range(99):
        story.exit(task)
    monkeypatch.setattr("linnix_rec.capture.pending.ROW_GROUP_ROWS", 10)
    path = write_capture(tmp_path / "a.lrec", story, rows_per_segment=50)
    read: list[tuple[str, list[int]]] = []
    iter_batches = pq.ParquetFile.iter_batches

    def spy(self: pq.ParquetFile, size: int, groups: list[int], columns: list[str], **rest: Any) -> Any:
        read.append((columns[0], groups))
        return iter_batches(self, size, groups, columns, **rest)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    rows = rows_of(open_capture(path).batches(["seq"], first_seq=35, end_seq=61))
    assert [row["seq"] for row in rows] == list(range(35, 61))
    assert read == [("seq", [3, 4]), ("seq", [0, 1])]


def test_segments_without_a_kind_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    task = story.task(1)
    for _ in range(19):
        story.exit(task)
    story.exec(task, "/bin/true")
    capture = open_capture(write_capture(tmp_path / "a.lrec", story, rows_per_segment=10))
    opened: list[str] = []
    open_parquet = reader._open

    def spy(path: Path) -> Any:
        opened.append(path.name)
        return open_parquet(path)

    monkeypatch.setattr(reader, "_open", spy)
    assert len(rows_of(capture.batches(kinds=["exec"]))) == 1
    assert opened == ["segment-00000000000000000020.parquet"]


def test_an_unknown_column_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    capture = open_capture(write_capture(tmp_path / "a.lrec", build_story()))
    with pytest.raises(KeyError):
        list(capture.batches(["weather"]))


def test_an_unfinished_capture_is_read_and_a_partial_file_ignored(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story(), finished=False)
    (path / "segment-00000000000000000999.parquet.partial").write_bytes(b"PAR1 cut")
    capture = open_capture(path)
    assert capture.document.stopped is None
    assert capture.document.accounts is None
    assert len(rows_of(capture.batches())) == 62
    assert capture.findings() == []


def test_segments_that_a_crash_kept_from_being_listed_are_read(tmp_path: Path) -> None:
    story = build_story()
    path = write_capture(tmp_path / "a.lrec", story, finished=False, rows_per_segment=20)
    listed = open_capture(path).document
    kept = listed.segments[:1]
    (path / "capture.json").write_bytes(document(segments=kept).dump())
    capture = open_capture(path)
    assert [segment.rows for segment in capture.segments] == [20, 20, 20, 2]
    assert rows_of(capture.batches()) == story.batch().to_pylist()
    assert capture.findings() == []


def test_a_capture_without_events_has_no_batches(tmp_path: Path) -> None:
    capture = open_capture(write_capture(tmp_path / "a.lrec", Story()))
    assert list(capture.batches()) == []
    assert capture.findings() == []


def test_a_missing_segment_is_stepped_over(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story(), rows_per_segment=20)
    (path / "segment-00000000000000000026.parquet").unlink()
    assert len(rows_of(open_capture(path).batches())) == 42


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _path: None, "does not exist"),
        (lambda path: path.touch(), "is not a directory"),
        (lambda path: path.mkdir(), r"has no capture\.json"),
    ],
)
def test_what_is_no_capture_is_told(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(UnreadableCaptureError, match=f"x {said}: a capture is a directory"):
        open_capture(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it does not end as a Parquet file"),
        (b"PAR1", "it does not end as a Parquet file"),
        (b"x" * 5000, "it does not end as a Parquet file"),
    ],
)
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story())
    segment = path / "segment-00000000000000000000.parquet"
    segment.write_bytes(content)
    with pytest.raises(UnreadableCaptureError, match=said) as caught:
        open_capture(path)
    assert str(segment) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_of_somebody_else_under_a_segments_name_is_told(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story())
    pq.write_table(pa.table({"a": [1]}), path / "segment-00000000000000000000.parquet")
    with pytest.raises(UnreadableCaptureError, match="is Parquet, but no segment of a linnix-rec capture"):
        open_capture(path)


def rewritten(path: Path, change: Any, keys: dict[bytes, bytes] | None = None) -> None:
    """Rewrite the only segment with pyarrow after `change` of its table."""
    (segment,) = path.glob("*.parquet")
    metadata = pq.read_metadata(segment).metadata
    table = change(pq.ParquetFile(segment).read())
    ours = {key: value for key, value in metadata.items() if key.startswith(b"linnix_rec.")}
    names = ["comm", "filename", "kind", "reason"]  # argv in a dictionary could expand without end
    pq.write_table(
        table.replace_schema_metadata({**ours, **(keys or {})}),
        segment,
        compression="zstd",
        use_dictionary=names,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["tid"]), "it has no column tid"),
        (lambda table: table.append_column("tid", table["tid"]), "it has no column tid"),
        (
            lambda table: table.set_column(6, "tid", table["tid"].cast(pa.string())),
            "its column tid is string, not int32",
        ),
        (
            lambda table: table.set_column(0, "seq", pa.nulls(len(table), pa.uint64())),
            "its column seq has nulls",
        ),
        (
            lambda table: table.set_column(2, "kind", pa.nulls(len(table), NAME)),
            "its column kind has nulls",
        ),
    ],
)
def test_a_segment_with_other_columns_is_told(tmp_path: Path, change: Any, said: str) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story())
    rewritten(path, change)
    with pytest.raises(UnreadableCaptureError, match=said):
        list(open_capture(path).batches(first_seq=2, kinds=["exit"]))


def test_a_column_of_a_newer_minor_version_is_left_out(tmp_path: Path) -> None:
    story = build_story()
    path = write_capture(tmp_path / "a.lrec", story)
    rewritten(path, lambda table: table.append_column("weather", pa.nulls(len(table), pa.int8())))
    assert rows_of(open_capture(path).batches()) == story.batch().to_pylist()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            b"linnix_rec.schema_version",
            b"3",
            "has schema version 3, this linnix-rec reads up to 2: upgrade it",
        ),
        (b"linnix_rec.first_seq", b"zero", "has damaged segment metadata"),
        (b"linnix_rec.first_seq", b"9" * 5000, "has damaged segment metadata"),
        (b"linnix_rec.rows", b"[]", "has damaged segment metadata"),
        (b"linnix_rec.rows", b"{", "has damaged segment metadata"),
        (b"linnix_rec.capture_id", b"\xff", "has damaged segment metadata"),
    ],
)
def test_segment_metadata_that_lies_is_told(tmp_path: Path, key: bytes, value: bytes, said: str) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story())
    rewritten(path, lambda table: table, {key: value})
    with pytest.raises(UnreadableCaptureError, match=said):
        open_capture(path)


def test_a_page_with_a_flipped_bit_is_not_taken_for_events(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", build_story(2000))
    (segment,) = path.glob("*.parquet")
    column = pq.read_metadata(segment).row_group(0).column(EVENT_SCHEMA.get_field_index("boot_ns"))
    raw = bytearray(segment.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 5] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(UnreadableCaptureError, match="CRC checksum verification failed"):
        list(open_capture(path).batches())


def test_names_that_outgrow_their_dictionary_come_back_as_dictionaries(tmp_path: Path) -> None:
    story = Story()
    shell = story.task(1)
    for number in range(3000):
        story.exec(shell, f"/usr/bin/program-{number % 2000}", ["x"])
    capture = open_capture(write_capture(tmp_path / "a.lrec", story))
    (batch,) = capture.batches(["filename"])
    assert batch.schema.types == [NAME]
    assert batch["filename"].to_pylist() == [row.get("filename") for row in story.rows]


def _column_values(field: pa.Field) -> st.SearchStrategy[Any]:
    type_ = field.type
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    if type_ == pa.bool_():
        values: st.SearchStrategy[Any] = st.booleans()
    elif type_ == NAME:
        values = st.sampled_from(GAP_REASONS) if field.name == "reason" else text
    elif type_ == pa.list_(pa.string()):
        values = st.lists(text | st.none(), max_size=4)
    elif pa.types.is_timestamp(type_):
        values = st.integers(-(1 << 50), 1 << 50)
    elif pa.types.is_signed_integer(type_):
        values = st.integers(-(1 << type_.bit_width - 1), (1 << type_.bit_width - 1) - 1)
    else:
        values = st.integers(0, (1 << type_.bit_width) - 1)
    return st.none() | values


_FREE_COLUMNS = [field for field in EVENT_SCHEMA if field.name not in ("seq", "slots", "kind", "lost")]


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_rows_in_any_batches_and_segments_come_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    # Columns are drawn as a few values each and spread over the rows: real columns repeat.
    count = data.draw(st.integers(1, 60), "rows")
    pools = {
        field.name: data.draw(st.lists(_column_values(field), min_size=1, max_size=4))
        for field in _FREE_COLUMNS
    }
    steps = data.draw(st.lists(st.integers(1, 16), min_size=count, max_size=count))
    rows, seq = [], data.draw(st.sampled_from([0, 5, 1 << 40, (1 << 64) - 1000]))
    for number, slots in enumerate(steps):
        row = {name: pool[number % len(pool)] for name, pool in pools.items()}
        rows.append({**row, "seq": seq, "slots": slots, "kind": KINDS[1 + number % 4], "lost": None})
        seq += slots
    whole = rows_to_batch(rows)
    directory = tmp_path_factory.mktemp("any") / "a.lrec"
    prepare_directory(directory, force=False)
    writer = CaptureWriter(
        directory, document(rows[0]["seq"]), segment_rows=data.draw(st.integers(1, 70)), segment_seconds=3600
    )
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=8))})
    for begin, end in itertools.pairwise(cuts):
        # A batch of its own has dictionaries of its own; a slice shares its parent's buffers.
        own = data.draw(st.booleans())
        writer.write(rows_to_batch(rows[begin:end]) if own else whole.slice(begin, end - begin))
    writer.close(Stopped("command", "", "2026-09-21T14:17:00Z", 0), None)
    capture = open_capture(directory)
    assert pa.Table.from_batches(list(capture.batches())).to_pylist() == whole.to_pylist()
    assert capture.findings() == []
    assert writer.end_seq == seq
    shutil.rmtree(directory)
