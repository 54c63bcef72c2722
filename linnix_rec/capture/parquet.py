"""How events become Parquet: encodings, row groups, segment metadata. Knows no directory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from linnix_rec.capture.schema import EVENT_SCHEMA, FORMAT_VERSION, NAME
from linnix_rec.errors import UnreadableCaptureError

ROW_GROUP_ROWS: Final = 1 << 17

_PREFIX: Final = "linnix_rec."
_DICTIONARY: Final = [field.name for field in EVENT_SCHEMA if field.type == NAME] + ["argv.list.element"]
_ENCODINGS: Final = {
    field.name: "DELTA_BINARY_PACKED"
    for field in EVENT_SCHEMA
    if field.type in (pa.uint64(), pa.int64(), pa.int32(), pa.uint32(), pa.uint16(), pa.uint8(), pa.timestamp("us", tz="UTC"))
}


@dataclass(frozen=True)
class SegmentMetadata:
    """What a segment's footer says about it; `previous_sha256` is "" in a capture's first segment."""

    capture_id: str
    first_seq: int
    end_seq: int
    rows: Mapping[str, int]
    clock_offset_ns: int | None
    previous_sha256: str
    schema_version: int = FORMAT_VERSION

    def as_keys(self) -> dict[str, str]:
        """Give the Parquet key-value metadata."""
        return {
            _PREFIX + "schema_version": str(self.schema_version),
            _PREFIX + "capture_id": self.capture_id,
            _PREFIX + "first_seq": str(self.first_seq),
            _PREFIX + "end_seq": str(self.end_seq),
            _PREFIX + "rows": json.dumps(dict(self.rows)),
            _PREFIX + "clock_offset_ns": "" if self.clock_offset_ns is None else str(self.clock_offset_ns),
            _PREFIX + "previous_sha256": self.previous_sha256,
        }

    @staticmethod
    def from_keys(keys: Mapping[bytes, bytes], name: str) -> "SegmentMetadata":
        """Read the key-value metadata of the file `name`; raises UnreadableCaptureError."""
        try:
            value = {key: keys[(_PREFIX + key).encode()].decode() for key in _KEYS}
            offset = value["clock_offset_ns"]
            rows = json.loads(value["rows"])
            return SegmentMetadata(
                capture_id=value["capture_id"],
                first_seq=int(value["first_seq"]),
                end_seq=int(value["end_seq"]),
                rows={str(kind): int(count) for kind, count in rows.items()},
                clock_offset_ns=int(offset) if offset else None,
                previous_sha256=value["previous_sha256"],
                schema_version=int(value["schema_version"]),
            )
        except KeyError as error:
            raise UnreadableCaptureError(f"{name} is Parquet, but no segment of a capture: no {error}") from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableCaptureError(f"{name} has damaged segment metadata: {error}") from error


_KEYS: Final = (
    "schema_version", "capture_id", "first_seq", "end_seq", "rows", "clock_offset_ns", "previous_sha256",
)  # fmt: skip


def parquet_writer(sink: Any) -> pq.ParquetWriter:
    """Open a Parquet writer with the encodings that pay."""
    return pq.ParquetWriter(
        sink,
        EVENT_SCHEMA,
        version="2.6",
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY,
        column_encoding=_ENCODINGS,
        sorting_columns=[pq.SortingColumn(0)],
    )
