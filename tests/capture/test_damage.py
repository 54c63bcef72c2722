"""Whatever bytes change in a segment, a reader meets one clear error or well-formed events, and findings."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.errors import UnreadableCaptureError
from tests.story import Story, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    story = Story()
    shell = story.task(100)
    for number in range(40):
        child = story.fork(shell, 1000 + number)
        story.exec(child, "/usr/bin/cc", ["cc", "-c", f"{number}.c"], slots=2)
        story.exit(child, code=number % 2)
    story.gap(7, "lapped")
    return write_capture(tmp_path_factory.mktemp("damage") / "a.lrec", story)


def read_everything(path: Path) -> str:
    """Read all, as every command together would; give the error's message, or "" if it can be read."""
    try:
        opened = open_capture(path)
        for batch in opened.batches():
            assert batch.schema.equals(EVENT_SCHEMA)
            batch.validate(full=True)
            pa.Table.from_batches([batch]).to_pylist()
    except UnreadableCaptureError as error:
        return str(error)
    assert opened.findings() != []
    return ""


def segment_of(capture: Path) -> Path:
    return capture / "segment-00000000000000000000.parquet"


@given(st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=400, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_are_an_error_or_a_finding(capture: Path, changes: list[tuple[int, int]]) -> None:
    segment = segment_of(capture)
    whole = segment.read_bytes()
    raw = bytearray(whole)
    for where, mask in changes:
        raw[where % len(raw)] ^= mask
    if bytes(raw) == whole:  # two changes undid each other
        return
    try:
        segment.write_bytes(raw)
        message = read_everything(capture)
    finally:
        segment.write_bytes(whole)
    assert message == "" or (str(segment) in message and "\n" not in message)


@given(st.integers(0, 1 << 20))
@example(0)
@example(1)
@settings(max_examples=100, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_segment_cut_short_is_an_error_that_names_it(capture: Path, length: int) -> None:
    segment = segment_of(capture)
    whole = segment.read_bytes()
    try:
        segment.write_bytes(whole[: length % len(whole)])
        message = read_everything(capture)
    finally:
        segment.write_bytes(whole)
    assert message.startswith(f"can't read segment {segment}: ")
    assert "\n" not in message


@given(st.binary(min_size=1, max_size=64), st.integers(0))
@settings(max_examples=100, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_inserted_bytes_are_an_error_or_a_finding(capture: Path, inserted: bytes, where: int) -> None:
    segment = segment_of(capture)
    whole = segment.read_bytes()
    place = where % len(whole)
    try:
        segment.write_bytes(whole[:place] + inserted + whole[place:])
        message = read_everything(capture)
    finally:
        segment.write_bytes(whole)
    assert message == "" or (str(segment) in message and "\n" not in message)
