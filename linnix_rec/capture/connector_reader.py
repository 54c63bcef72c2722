"""Reads the process connector's messages back; believes nothing that the file says of itself.

Arrow's own reader allocates whatever a file claims: so the frames of the stream are taken apart here (the
"encapsulated message format" of Arrow's columnar specification, its flatbuffers read by hand), and only what
is small enough goes on to Arrow. A file that expands to more rows than it has bytes is refused.
"""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from linnix_rec.capture.connector import BATCH_ROWS, FILE_NAME, MESSAGE_SCHEMA
from linnix_rec.capture.digest import sha256_of
from linnix_rec.capture.document import ConnectorWitness
from linnix_rec.capture.text import printable
from linnix_rec.errors import UnreadableCaptureError

_CONTINUES: Final = 0xFFFFFFFF
_METADATA_BYTES: Final = 1 << 16
_BUFFER_BYTES: Final = 8 * BATCH_ROWS
_BODY_BYTES: Final = 2 * _BUFFER_BYTES * len(MESSAGE_SCHEMA)

# Message.fbs and Schema.fbs: numbers of fields in their tables, of the header's kinds, and a struct's bytes.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_BATCH_LENGTH, _BATCH_BUFFERS = 0, 2
_SCHEMA_MESSAGE, _BATCH_MESSAGE = 1, 3
_BUFFER: Final = struct.Struct("<qq")
_PLAIN_BUFFER: Final = -1

_DAMAGE: Final = (OSError, pa.ArrowException, ValueError, TypeError, struct.error, OverflowError, MemoryError)


@dataclass(frozen=True)
class MessageFile:
    """An opened witness file; `batches` may be called again and again."""

    path: Path
    size_bytes: int

    def sha256(self) -> str:
        """Give the SHA-256 of the file's bytes, in hex; raises UnreadableCaptureError."""
        return sha256_of(self.path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield messages in the order of arrival, in MESSAGE_SCHEMA; raises UnreadableCaptureError."""
        rows = 0
        try:
            with _opened(self.path) as file:
                for batch in _read_stream(file):
                    rows += batch.num_rows
                    if rows > self.size_bytes:
                        raise UnreadableCaptureError(
                            f"can't read {self.path}: it expands to more rows than it has bytes"
                        )
                    yield batch
        except _DAMAGE as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UnreadableCaptureError(f"can't read {self.path}: {printable(reason)}") from error


def open_messages(directory: Path, witness: ConnectorWitness) -> MessageFile | None:
    """Open the file that a capture.json names; None if it is not there. Raises UnreadableCaptureError."""
    if witness.file != FILE_NAME:
        raise UnreadableCaptureError(
            f"capture.json is damaged: no connector's file is called {printable(witness.file)}"
        )
    path = directory / FILE_NAME
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableCaptureError(f"can't read {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):  # a link could lead out of the capture, a pipe never end
        raise UnreadableCaptureError(f"can't read {path}: it is not a file")
    return MessageFile(path, status.st_size)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        yield file


def _read_stream(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    metadata = _next_metadata(file)
    if metadata is None or _header_type(metadata) != _SCHEMA_MESSAGE or _body_bytes(metadata):
        raise ValueError("it does not begin with a schema")
    schema = pa.ipc.read_schema(pa.py_buffer(_framed(metadata)))
    if not schema.equals(MESSAGE_SCHEMA):
        raise ValueError("its columns are others than a connector's file has")
    while (metadata := _next_metadata(file)) is not None:
        if _header_type(metadata) != _BATCH_MESSAGE:
            raise ValueError("it holds something else than record batches")
        body = _exactly(file, _body_bytes(metadata))
        _check_batch(metadata, body)
        message = pa.ipc.read_message(pa.py_buffer(_framed(metadata) + body))
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        if any(column.null_count for column in batch.columns):
            raise ValueError("it has nulls")
        yield batch


def _next_metadata(file: BinaryIO) -> bytes | None:
    """The next message's metadata; None at the end, which the stream must say."""
    continues, size = struct.unpack("<II", _exactly(file, 8))
    if continues != _CONTINUES or size > _METADATA_BYTES:
        raise ValueError("it is no stream of Arrow messages, or is damaged")
    return _exactly(file, size) if size else None


def _framed(metadata: bytes) -> bytes:
    return struct.pack("<II", _CONTINUES, len(metadata)) + metadata


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError("it is cut short")
    return content


def _header_type(metadata: bytes) -> int:
    at = _field(metadata, _root(metadata), _HEADER_TYPE)
    return 0 if at is None else metadata[at]


def _body_bytes(metadata: bytes) -> int:
    size = _int64(metadata, _root(metadata), _BODY_LENGTH)
    if not 0 <= size <= _BODY_BYTES:
        raise ValueError(f"a batch of {size} bytes is too large")
    return size


def _check_batch(metadata: bytes, body: bytes) -> None:
    """Refuse a batch that would take more memory than one of ours can."""
    header = _field(metadata, _root(metadata), _HEADER)
    if header is None:
        raise ValueError("a batch has no header")
    table = _reference(metadata, header)
    rows = _int64(metadata, table, _BATCH_LENGTH)
    if not 0 <= rows <= BATCH_ROWS:
        raise ValueError(f"a batch of {rows} rows is too large")
    buffers = _field(metadata, table, _BATCH_BUFFERS)
    vector = _reference(metadata, buffers) if buffers is not None else None
    count = struct.unpack_from("<I", metadata, vector)[0] if vector is not None else 0
    if vector is None or count > 2 * len(MESSAGE_SCHEMA):
        raise ValueError("a batch has other buffers than its columns need")
    for index in range(count):
        offset, length = _BUFFER.unpack_from(metadata, vector + 4 + index * _BUFFER.size)
        if offset < 0 or length < 0 or offset + length > len(body):
            raise ValueError("a batch has a buffer outside of itself")
        if length == 0:
            continue
        (expanded,) = struct.unpack_from("<q", body[offset : offset + length])
        if not _PLAIN_BUFFER <= expanded <= _BUFFER_BYTES:
            raise ValueError(f"a buffer of {expanded} bytes is too large")


# ---- flatbuffers: a table begins with the distance back to its list of fields, each a distance or 0


def _root(content: bytes) -> int:
    return _reference(content, 0)


def _reference(content: bytes, at: int) -> int:
    (distance,) = struct.unpack_from("<I", content, at)
    return at + int(distance)


def _field(content: bytes, table: int, number: int) -> int | None:
    """Where a table's field lies; None if it has its default."""
    (back,) = struct.unpack_from("<i", content, table)
    fields = table - back
    if fields < 0:
        raise ValueError("its metadata is damaged")
    (size,) = struct.unpack_from("<H", content, fields)
    place = 4 + 2 * number
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", content, fields + place)
    if offset and table + offset >= len(content):
        raise ValueError("its metadata is damaged")
    return table + offset if offset else None


def _int64(content: bytes, table: int, number: int) -> int:
    at = _field(content, table, number)
    return 0 if at is None else int(struct.unpack_from("<q", content, at)[0])
