"""The process connector's messages beside a capture's segments: an Arrow IPC stream. Knows no kernel.

One record batch follows the other, so that what was written can be read up to where it was cut off. Each has
at most BATCH_ROWS rows, and its buffers are compressed by zstd one by one: `pyarrow.ipc.open_stream`, polars
and DuckDB read it. Here it is read by the reader of `capture.connector_reader`, which believes nothing.
"""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import files
from linnix_rec.capture.digest import sha256_of

FILE_NAME: Final = "witness-connector.arrow"
BATCH_ROWS: Final = 1 << 16


def _column(name: str, type_: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, type_, nullable=False, metadata={b"doc": doc.encode()})


MESSAGE_SCHEMA: Final = pa.schema(
    [
        _column("kind", pa.uint8(), "1 fork, 2 exec, 3 exit"),
        _column("cpu", pa.uint16(), "CPU that the message was made on"),
        _column("cpu_seq", pa.uint32(), "that CPU's number for it; messages of other kinds take some, too"),
        _column("boot_ns", pa.int64(), "the message's CLOCK_MONOTONIC as CLOCK_BOOTTIME, ns since boot"),
        _column("tid", pa.int32(), "who called exec or exits; of a fork the new task's real parent"),
        _column("tgid", pa.int32(), "its process id"),
        _column("child_tid", pa.int32(), "fork: thread id of the new task; else 0"),
        _column("child_tgid", pa.int32(), "fork: process id of the new task; else 0"),
        _column("exit_status", pa.uint32(), "exit: the thread's code << 8 | core << 7 | signal; else 0"),
    ]
)


class MessageWriter:
    """Writes one witness file; it gets its name when it is closed. Raises OSError."""

    def __init__(self, directory: Path, owner: files.Owner | None) -> None:
        self.rows = 0
        self._path = directory / FILE_NAME
        self._partial = directory / (FILE_NAME + files.PARTIAL_SUFFIX)
        self._owner = owner
        self._file = os.fdopen(files.create(self._partial, owner), "wb")
        try:
            self._stream = pa.ipc.new_stream(
                self._file, MESSAGE_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")
            )
        except BaseException:
            self.discard()
            raise

    def write(self, rows: NDArray[Any], boot_ns: NDArray[np.int64]) -> None:
        """Append rows: a structured array with the schema's columns, and (n,) their clock."""
        for at in range(0, len(rows), BATCH_ROWS):
            part = slice(at, at + BATCH_ROWS)
            self._stream.write_batch(_batch(rows[part], boot_ns[part]))
        self.rows += len(rows)

    def close(self) -> str:
        """Sync the file and give it its name; gives its SHA-256 in hex."""
        try:
            self._stream.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        files.publish(self._partial, self._path)
        return sha256_of(self._path)

    def discard(self) -> None:
        """Give up: leave no file."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


def _batch(rows: NDArray[Any], boot_ns: NDArray[np.int64]) -> pa.RecordBatch:
    columns = [boot_ns if field.name == "boot_ns" else rows[field.name] for field in MESSAGE_SCHEMA]
    arrays = [
        pa.Array.from_buffers(field.type, len(rows), [None, pa.py_buffer(np.ascontiguousarray(column))])
        for field, column in zip(MESSAGE_SCHEMA, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=MESSAGE_SCHEMA)
