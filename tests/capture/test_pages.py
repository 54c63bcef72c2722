"""A segment that claims what no recorder writes is refused before anything is made of the claim."""

import resource
import struct
import sys
import zlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnix_rec.capture import limits
from linnix_rec.capture.pages import read_footer, read_row_groups
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.errors import UnreadableCaptureError
from tests.fuzz import thrift
from tests.fuzz.segments import Chunk, Parsed, _parsed, _written
from tests.story import Story, write_capture

SEGMENT = "segment-00000000000000000000.parquet"
#: Room for pyarrow's own pools, and for nothing of what the files below claim.
PEAK_BYTES = 64 << 20


def changed(tmp_path: Path, change: Callable[[Parsed], None]) -> Path:
    """A capture whose segment was changed in its structure, offsets and lengths made to fit again."""
    story = Story()
    shell = story.task(1)
    for number in range(40):
        story.exec(shell, f"/bin/{number % 3}", ["a", "bc"])
    path = write_capture(tmp_path / "a.lrec", story)
    parsed = _parsed((path / SEGMENT).read_bytes())
    change(parsed)
    (path / SEGMENT).write_bytes(_written(parsed, fits=True))
    return path


def refusal(path: Path) -> str:
    """Why the capture can't be read; its reading may not take memory worth speaking of."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    with pytest.raises(UnreadableCaptureError) as caught:
        list(open_capture(path).batches())
    if sys.platform == "linux":
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before < PEAK_BYTES
    assert str(path / SEGMENT) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chunk(parsed: Parsed, name: str) -> Chunk:
    return parsed.chunks[EVENT_SCHEMA.get_field_index(name)]


def footer_field(number: int, value: object) -> Callable[[Parsed], None]:
    return lambda parsed: thrift.put(parsed.footer, number, value)


def page_header(name: str, page: int, number: int, value: int) -> Callable[[Parsed], None]:
    return lambda parsed: thrift.put(chunk(parsed, name).pages[page].header, number, value)


def page_part(name: str, page: int, part: int, number: int, value: int) -> Callable[[Parsed], None]:
    def change(parsed: Parsed) -> None:
        thrift.put(thrift.get(chunk(parsed, name).pages[page].header, part), number, value)

    return change


def meta(name: str, number: int, value: object) -> Callable[[Parsed], None]:
    return lambda parsed: thrift.put(chunk(parsed, name).meta, number, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(footer_field(3, 1 << 40), "claims 1099511627776 rows", id="2^40 rows"),
        pytest.param(footer_field(3, -1), "claims -1 rows", id="rows below 0"),
        pytest.param(
            page_header("seq", 0, 2, (1 << 31) - 1), "expands to more than 64 MiB", id="a page of 2 GiB"
        ),
        pytest.param(page_header("seq", 0, 3, (1 << 31) - 1), "its pages hold", id="2 GiB compressed"),
        pytest.param(page_header("seq", 0, 2, -5), "out of range", id="a page below 0"),
        pytest.param(
            page_part("comm", 0, 7, 1, (1 << 31) - 1), "never written", id="2^31 dictionary entries"
        ),
        pytest.param(page_part("seq", 0, 5, 1, (1 << 31) - 1), "hold more", id="2^31 values in a page"),
        pytest.param(page_part("seq", 0, 5, 2, 6), "never written", id="another encoding"),
        pytest.param(meta("argv", 5, 1 << 40), "claims 1099511627776 values", id="2^40 arguments"),
        pytest.param(meta("seq", 5, 39), "claims 39 values in 41 rows", id="fewer values than rows"),
        pytest.param(meta("seq", 4, 1), "compressed by codec 1", id="another codec"),
    ],
)
def test_what_claims_more_than_is_written_is_refused(
    tmp_path: Path, change: Callable[[Parsed], None], said: str
) -> None:
    assert said in refusal(changed(tmp_path, change))


def test_arguments_in_a_dictionary_are_refused_as_they_could_expand_without_end(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _: None)
    with pq.ParquetFile(path / SEGMENT) as file:
        table, keys = file.read(), file.metadata.metadata
    ours = {key: value for key, value in keys.items() if key.startswith(b"linnix_rec.")}
    pq.write_table(table.replace_schema_metadata(ours), path / SEGMENT, compression="zstd")
    assert "column argv is damaged: a page is of a kind that is never written" in refusal(path)


def test_a_page_that_expands_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    def change(parsed: Parsed) -> None:
        page = chunk(parsed, "seq").pages[0]
        page.body = pa.Codec("zstd").compress(bytes(1 << 30), asbytes=True)
        crc = zlib.crc32(page.body)
        thrift.put(page.header, 3, len(page.body))
        thrift.put(page.header, 4, struct.unpack("<i", struct.pack("<I", crc))[0])

    path = changed(tmp_path, change)
    with pytest.raises(UnreadableCaptureError):
        list(open_capture(path).batches())


def test_statistics_of_sizes_that_contradict_the_schema_do_not_end_the_process(tmp_path: Path) -> None:
    """pyarrow 26 calls std::terminate when it is asked about such a column."""

    def change(parsed: Parsed) -> None:
        sizes = thrift.get(chunk(parsed, "tid").meta, 16)
        thrift.put(sizes, 3, thrift.Items(thrift.I64, [40]))

    assert refusal(changed(tmp_path, change))


def test_a_footer_with_a_field_twice_is_refused(tmp_path: Path) -> None:
    def change(parsed: Parsed) -> None:
        parsed.footer.append(thrift.Field(3, thrift.I64, 5))

    assert "fields out of order" in refusal(changed(tmp_path, change))


@pytest.mark.parametrize("name", ["comm", "argv"])
def test_text_longer_than_any_event_is_refused(tmp_path: Path, name: str) -> None:
    story = Story()
    text = "x" * (limits.TEXT_BYTES + 1)
    story.exec(story.task(1), "/bin/sh", **({"comm": text} if name == "comm" else {"argv": [text]}))
    path = write_capture(tmp_path / "a.lrec", story)
    assert f"its column {name} has text of more than 16384 bytes" in refusal(path)


def test_more_arguments_than_any_event_has_are_refused(tmp_path: Path) -> None:
    story = Story()
    story.exec(story.task(1), "/bin/sh", [""] * (limits.ARGUMENTS + 1))
    assert "has lists of more than 4096" in refusal(write_capture(tmp_path / "a.lrec", story))


def test_the_footer_may_claim_no_more_than_is_there(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _: None)
    raw = (path / SEGMENT).read_bytes()
    (path / SEGMENT).write_bytes(raw[:-8] + struct.pack("<I", 1 << 30) + b"PAR1")
    assert "it claims a footer of 1073741824 bytes" in refusal(path)


def test_the_footer_is_read_as_pyarrow_reads_it(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _: None) / SEGMENT
    with FileIO(path) as file:
        (group,) = read_row_groups(read_footer(file), path.stat().st_size)
    theirs = pq.read_metadata(path).row_group(0)
    assert group.rows == theirs.num_rows
    for ours, index in zip(group.columns, range(theirs.num_columns), strict=True):
        column = theirs.column(index)
        assert ours.begin == (column.dictionary_page_offset or column.data_page_offset)
        assert ours.end - ours.begin == column.total_compressed_size
        assert ours.values == column.num_values
    statistics = theirs.column(0).statistics
    assert group.columns[0].bounds() == (statistics.min, statistics.max) == (0, 40)
