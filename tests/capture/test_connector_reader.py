"""The witness file: what was written is read back, and nothing that it claims is believed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.capture.connector import BATCH_ROWS, FILE_NAME, MESSAGE_SCHEMA, MessageWriter
from linnix_rec.capture.connector_reader import MessageFile
from linnix_rec.errors import UnreadableCaptureError

ROW = np.dtype([(field.name, field.type.to_pandas_dtype()) for field in MESSAGE_SCHEMA])


def rows(count: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    made = np.zeros(count, ROW)
    made["kind"] = np.arange(count) % 3 + 1
    made["tid"] = made["tgid"] = np.arange(count)
    made["cpu_seq"] = np.arange(count) * 7
    made["boot_ns"] = np.arange(count) * 1000 + 10**15
    return made


def written(directory: Path, *counts: int) -> Path:
    writer = MessageWriter(directory, None)
    for count in counts:
        made = rows(count)
        writer.write(made, made["boot_ns"])
    assert writer.rows == sum(counts)
    assert writer.close() == hashlib.sha256((directory / FILE_NAME).read_bytes()).hexdigest()
    return directory / FILE_NAME


def read(path: Path) -> pa.Table:
    return pa.Table.from_batches(MessageFile(path, path.stat().st_size).batches(), MESSAGE_SCHEMA)


def stored(path: Path, schema: pa.Schema, *batches: pa.RecordBatch, compression: str | None = "zstd") -> Path:
    """Another writer's stream."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema, options=options) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return path


def batch_of(count: int) -> pa.RecordBatch:
    made = rows(count)
    return pa.RecordBatch.from_arrays(
        [pa.array(made[name]) for name in MESSAGE_SCHEMA.names], schema=MESSAGE_SCHEMA
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = written(tmp_path, 10, BATCH_ROWS + 5)
    batches = list(MessageFile(path, path.stat().st_size).batches())
    assert [batch.num_rows for batch in batches] == [10, BATCH_ROWS, 5]
    assert pa.Table.from_batches(batches)["boot_ns"].to_pylist()[:2] == [10**15, 10**15 + 1000]
    assert batches[2]["tid"].to_pylist() == list(range(BATCH_ROWS, BATCH_ROWS + 5))


def test_others_can_read_it_too(tmp_path: Path) -> None:
    table = pa.ipc.open_stream(written(tmp_path, 10).read_bytes()).read_all()
    assert table.schema.equals(MESSAGE_SCHEMA, check_metadata=True)
    assert table["kind"].to_pylist() == [1, 2, 3] * 3 + [1]


def test_it_is_its_owner_s_only_and_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    writer = MessageWriter(tmp_path, (os.getuid(), os.getgid()))
    assert [path.name for path in tmp_path.iterdir()] == [f"{FILE_NAME}.partial"]
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    MessageWriter(tmp_path, None).discard()
    assert list(tmp_path.iterdir()) == []


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path, 20, 20).read_bytes()
    cut = tmp_path / "cut"
    for size in range(0, len(whole), 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(UnreadableCaptureError, match=r"can't read .*cut"):
            read(cut)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray(written(folder, 30).read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path = folder / "changed"
    path.write_bytes(content)
    with contextlib.suppress(UnreadableCaptureError):
        assert read(path).num_rows <= len(content)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([("kind", pa.uint8())])
    path = stored(tmp_path / "other", schema, pa.record_batch([pa.array([1], pa.uint8())], schema))
    with pytest.raises(UnreadableCaptureError, match="its columns are others"):
        read(path)


def test_nulls_are_refused(tmp_path: Path) -> None:
    batch = batch_of(2)
    with_null = pa.RecordBatch.from_arrays(
        [pa.array([None, 1], pa.uint8()), *batch.columns[1:]],
        schema=pa.schema([field.with_nullable(True) for field in MESSAGE_SCHEMA]),
    )
    with pytest.raises(UnreadableCaptureError, match=r"columns are others|nulls"):
        read(stored(tmp_path / "null", with_null.schema, with_null))


def test_a_batch_with_too_many_rows_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = stored(tmp_path / "large", MESSAGE_SCHEMA, batch_of(BATCH_ROWS + 1))
    with pytest.raises(UnreadableCaptureError, match=f"a batch of {BATCH_ROWS + 1} rows is too large"):
        read(path)


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    """What zstd makes small without end."""
    nothing = np.zeros(BATCH_ROWS, ROW)
    batch = pa.RecordBatch.from_arrays(
        [pa.array(nothing[name]) for name in MESSAGE_SCHEMA.names], schema=MESSAGE_SCHEMA
    )
    path = stored(tmp_path / "bomb", MESSAGE_SCHEMA, *[batch] * 4)
    assert path.stat().st_size < BATCH_ROWS
    with pytest.raises(UnreadableCaptureError, match="expands to more rows than it has bytes"):
        read(path)


def test_a_buffer_that_claims_to_expand_without_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 1000)
    content = path.read_bytes()
    claimed = (8 * 1000).to_bytes(8, "little")  # the size of the boot_ns column
    assert content.count(claimed) == 1
    path.write_bytes(content.replace(claimed, (1 << 40).to_bytes(8, "little")))
    with pytest.raises(UnreadableCaptureError, match=f"a buffer of {1 << 40} bytes is too large"):
        read(path)


@pytest.mark.parametrize("size", [1 << 20, 1 << 31])
def test_metadata_without_end_is_not_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "metadata"
    path.write_bytes(b"\xff" * 4 + size.to_bytes(4, "little") + bytes(100))
    with pytest.raises(UnreadableCaptureError, match="no stream of Arrow messages"):
        read(path)


@pytest.mark.parametrize("metadata", [bytes(8), b"\xff" * 64, b"\x04\0\0\0" + b"\xff" * 60, bytes(64)])
def test_metadata_that_points_nowhere_is_refused(tmp_path: Path, metadata: bytes) -> None:
    path = tmp_path / "metadata"
    path.write_bytes(b"\xff" * 4 + len(metadata).to_bytes(4, "little") + metadata + bytes(100))
    with pytest.raises(UnreadableCaptureError, match="can't read"):
        read(path)


def test_dictionaries_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([("kind", pa.dictionary(pa.int32(), pa.string()))])
    batch = pa.record_batch([pa.array(["fork"]).dictionary_encode()], schema)
    with pytest.raises(UnreadableCaptureError, match="its columns are others"):
        read(stored(tmp_path / "dictionary", schema, batch))
