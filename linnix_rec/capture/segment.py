"""One segment file while it is written; knows no other segment and no capture.json."""

import contextlib
import hashlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linnix_rec.capture import columns, files
from linnix_rec.capture.parquet import ROW_GROUP_ROWS, SegmentMetadata, parquet_writer
from linnix_rec.capture.schema import GAP, KINDS

_BUFFER_BYTES: Final = 1 << 20


def segment_name(first_seq: int) -> str:
    """Give the file name of the segment that begins with this ticket."""
    return f"segment-{first_seq:020d}.parquet"


class _HashedFile:
    """The file object that pyarrow writes to: hashes what passes, so that no segment is read again."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, chunk: Any) -> int:
        view = memoryview(chunk)
        size_bytes = len(view)
        if self._file.closed:  # abandoned: the footer that pyarrow's writer still wants to leave goes nowhere
            return size_bytes
        self._digest.update(view)
        self.size_bytes += size_bytes
        while view:
            view = view[self._file.write(view) :]
        return size_bytes

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """pyarrow closes what it wrote to; `seal` must sync first."""

    def seal(self) -> str:
        """Sync and close the file, and give the SHA-256 of its bytes, in hex."""
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        self._file.close()


class OpenSegment:
    """A segment under its partial name; ends by `publish` or `abandon`."""

    def __init__(self, directory: Path, first_seq: int, owner: files.Owner | None, schema: pa.Schema) -> None:
        self.name = segment_name(first_seq)
        self.first_seq = first_seq
        self.end_seq = first_seq
        self.rows = 0
        self.rows_by_kind: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.cgroup_ids: set[int] = set()
        self._opened_s = time.monotonic()
        self._final = directory / self.name
        self._partial = directory / (self.name + files.PARTIAL_SUFFIX)
        self._file = _HashedFile(files.create(self._partial, owner))
        # pyarrow writes some 600 pieces a row group, and each would be a call into Python.
        self._stream = pa.BufferedOutputStream(pa.PythonFile(self._file, mode="w"), _BUFFER_BYTES)
        self._parquet = parquet_writer(self._stream, schema)

    @property
    def size_bytes(self) -> int:
        """Bytes that are in the file so far."""
        return self._file.size_bytes

    @property
    def age_s(self) -> float:
        """Seconds since it was opened."""
        return time.monotonic() - self._opened_s

    def count(self, batch: pa.RecordBatch) -> None:
        """Note rows (at least one) that will be in it, whether or not they are written yet."""
        kinds = columns.kind_codes(batch)
        counts = np.bincount(kinds, minlength=len(KINDS))
        self.rows_by_kind += Counter({kind: int(counts[code]) for code, kind in enumerate(KINDS)})
        self.rows += batch.num_rows
        self.cgroup_ids |= set(pc.unique(batch["cgroup_id"]).drop_null().to_pylist())
        if counts[GAP]:
            self.lost += _lost_by_reason(batch.filter(pa.array(kinds == GAP)))
        self.end_seq = _end_seq(batch)

    def write_row_group(self, table: pa.Table) -> None:
        """Write one row group; raises OSError."""
        self._parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def publish(self, metadata: SegmentMetadata) -> str:
        """Complete the file, make it durable under its name, and give its SHA-256; raises OSError."""
        self._parquet.add_key_value_metadata(metadata.as_keys())
        self._parquet.close()
        self._stream.flush()
        digest = self._file.seal()
        files.publish(self._partial, self._final)
        return digest

    def abandon(self) -> None:
        """Remove the file, whatever state it is in."""
        self._file.abandon()
        with contextlib.suppress(OSError, pa.ArrowException):
            self._parquet.close()
            self._stream.close()
        with contextlib.suppress(OSError):
            files.remove(self._partial)


def _lost_by_reason(gaps: pa.RecordBatch) -> Counter[str]:
    lost: Counter[str] = Counter()
    for reason, tickets in zip(gaps["reason"].to_pylist(), gaps["lost"].to_pylist(), strict=True):
        lost[reason] += tickets
    return lost


def _end_seq(batch: pa.RecordBatch) -> int:
    first_ticket = int(columns.uint64(batch, "seq")[-1])
    if columns.kind_codes(batch.slice(batch.num_rows - 1))[0] == GAP:
        return first_ticket + int(columns.uint64(batch, "lost")[-1])
    return first_ticket + int(columns.uint8(batch, "slots")[-1])
