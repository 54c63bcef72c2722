"""How events become Parquet: encodings, compression, row groups, a segment's metadata. Knows no directory.

The choices below were measured with pyarrow 26 on one core of a shared 2.6 GHz Xeon: bytes an event, and
million events written a CPU second. "Real storm" is a capture of `stress-ng --fork 2 --fork-ops 20000`
repeated, "storm" the same made up, "build" fork, exec with argv, and exit of a parallel make, made up. The
machine was busier for the first column than for the others: compare within a column.

                                                real storm       storm          build
    pyarrow's defaults, snappy                29.8 B  1.5     30.9 B  2.3    50.8 B  1.4
    delta for all but the repeated, zstd 1    16.1 B          14.5 B  3.0    24.1 B  2.0
    as below, zstd 1                          12.2 B  2.6     11.8 B  3.0    24.5 B  1.9

The 14 columns that `verify` wants are read at 14 M events/s (busy), where the defaults gave 12 (quiet).
What is left in a storm is four clocks and two ids with little pattern, and a third of the time goes into
definition levels, which no encoding avoids: a column that only forks or only exits have is null in every
other row. argv costs some 80 ns a row of a build. Row groups of 64 Ki to 256 Ki rows read and write alike
within 5 %. BYTE_STREAM_SPLIT would do for tid and start_ns what plain values do, but fastparquet refuses it
for integers, and it is too young in Parquet to trust Spark with it. The CRC of a page costs less than the
noise.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from linnix_rec.capture import limits
from linnix_rec.capture.schema import (
    FORMAT_VERSION,
    KINDS,
    NAME,
    OPTIONAL_KINDS,
    PROCESS_FORMAT_VERSION,
    WIDE_SCHEMA,
)
from linnix_rec.errors import UnreadableCaptureError

#: A row group closes at so many rows, or so many bytes in memory (arguments can be 1,700 bytes a row).
ROW_GROUP_ROWS: Final = 1 << 17
ROW_GROUP_BYTES: Final = 32 << 20

_NAMES: Final = [field.name for field in WIDE_SCHEMA if field.type == NAME]

#: Values that come back within a row group; where they don't, the dictionary is given up early.
_REPEATED: Final = [
    *("slots", "parent_tid", "parent_tgid", "parent_start_ns", "uid", "gid", "cgroup_id"),
    *("exit_code", "utime_ns", "stime_ns", "max_rss_bytes"),
    *("nr", "arg0", "arg1", "arg2", "ret", "errno"),
]
_DICTIONARY_BYTES: Final = 16 << 10

#: Jumps between a few tasks that act in turns: whole values repeat at a distance, differences don't.
_IN_TURNS: Final = ["tid", "tgid", "start_ns"]

_ENCODINGS: Final = {
    field.name: "PLAIN" if field.name in _IN_TURNS else "DELTA_BINARY_PACKED"
    for field in WIDE_SCHEMA
    if (pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)) and field.name not in _REPEATED
}

#: Statistics cost 5 % of the time; readers skip by these.
_WITH_STATISTICS: Final = ["seq", "kind", "time"]

_PREFIX: Final = "linnix_rec."


@dataclass(frozen=True)
class SegmentMetadata:
    """What a segment's footer says about it; `previous_sha256` is "" in a capture's first segment.

    lost: tickets in gaps, by reason
    closed_boot_ns: ns since boot; None in segments of before retention
    """

    capture_id: str
    first_seq: int
    end_seq: int
    rows: Mapping[str, int]
    clock_offset_ns: int | None
    previous_sha256: str
    lost: Mapping[str, int] = field(default_factory=dict)
    closed_boot_ns: int | None = None
    schema_version: int = PROCESS_FORMAT_VERSION

    def as_keys(self) -> dict[str, str]:
        """Give the Parquet key-value metadata, all text: `linnix_rec.first_seq` and so on."""
        return {
            _PREFIX + "schema_version": str(self.schema_version),
            _PREFIX + "capture_id": self.capture_id,
            _PREFIX + "first_seq": str(self.first_seq),
            _PREFIX + "end_seq": str(self.end_seq),
            _PREFIX + "rows": json.dumps(self._all_rows),
            _PREFIX + "lost": json.dumps(dict(self.lost)),
            _PREFIX + "clock_offset_ns": _optional_text(self.clock_offset_ns),
            _PREFIX + "closed_boot_ns": _optional_text(self.closed_boot_ns),
            _PREFIX + "previous_sha256": self.previous_sha256,
        }

    @property
    def _all_rows(self) -> dict[str, int]:
        """Of the kinds that every capture has, a number, if it is 0; of the others, if there are any."""
        wanted = [kind for kind in KINDS if kind not in OPTIONAL_KINDS or self.rows.get(kind, 0)]
        return {kind: self.rows.get(kind, 0) for kind in wanted}

    @staticmethod
    def from_keys(keys: Mapping[bytes, bytes], name: str) -> "SegmentMetadata":
        """Read the key-value metadata of the file `name`; raises UnreadableCaptureError."""
        ours = {key: value for key, value in keys.items() if key.startswith(_PREFIX.encode())}
        if not ours:
            raise UnreadableCaptureError(f"{name} is Parquet, but no segment of a linnix-rec capture")
        try:
            text = {key.decode().removeprefix(_PREFIX): value.decode() for key, value in ours.items()}
            metadata = SegmentMetadata(
                capture_id=text["capture_id"],
                first_seq=int(text["first_seq"]),
                end_seq=int(text["end_seq"]),
                rows=_counts(text["rows"]),
                lost=_counts(text.get("lost", "{}")),
                clock_offset_ns=_optional_int(text["clock_offset_ns"]),
                closed_boot_ns=_optional_int(text.get("closed_boot_ns", "")),
                previous_sha256=text["previous_sha256"],
                schema_version=int(text["schema_version"]),
            )
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise UnreadableCaptureError(f"{name} has damaged segment metadata") from error
        if metadata.schema_version > FORMAT_VERSION:
            raise UnreadableCaptureError(
                f"{name} has schema version {metadata.schema_version}, "
                f"this linnix-rec reads up to {FORMAT_VERSION}: upgrade it"
            )
        return metadata


def _counts(text: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in json.loads(text).items()}


def _optional_text(value: int | None) -> str:
    return "" if value is None else str(value)


def _optional_int(text: str) -> int | None:
    return int(text) if text else None


def parquet_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet writer on a file object; pages carry a CRC, so that bit rot is not taken for events."""
    return pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in _NAMES + _REPEATED if name in schema.names],
        column_encoding={name: _ENCODINGS[name] for name in schema.names if name in _ENCODINGS},
        write_statistics=_WITH_STATISTICS,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        write_batch_size=1 << 14,
        data_page_size=128 << 10,
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(schema.get_field_index("seq"))],
    )


def parquet_file(source: Any) -> pq.ParquetFile:
    """Open a Parquet file for streaming reads by one thread; names come as dictionaries."""
    return pq.ParquetFile(
        source,
        pre_buffer=False,
        page_checksum_verification=True,
        thrift_string_size_limit=limits.FOOTER_STRING_BYTES,
        thrift_container_size_limit=limits.FOOTER_LIST,
    )


def segment_metadata(path: Path) -> SegmentMetadata:
    """Read only a segment's footer; raises UnreadableCaptureError."""
    try:
        with parquet_file(pa.OSFile(os.fsencode(path), "rb")) as file:
            keys = file.metadata.metadata or {}
    except (OSError, pa.ArrowException, ValueError) as error:
        raise UnreadableCaptureError(f"can't read the footer of {path}") from error
    return SegmentMetadata.from_keys(keys, str(path))
