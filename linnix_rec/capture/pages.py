"""Is a segment laid out as the writer lays it out? Reads its footer and page headers; decodes no value.

pyarrow allocates what a page's header says, up to 2 GiB for the page and 16 bytes for each entry that its
dictionary claims, before it has decompressed a byte, and a header is not bound by the footer. And to ask
pyarrow about a column that contradicts itself ends the process (26.0: ColumnChunkMetaData's constructor
throws where no exception is expected). So both are read here before, and whatever no recorder writes is
refused: other codecs, encodings and pages, larger ones, more values. That leaves a small part of pyarrow's
decoders to whoever made the file.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from typing import Final

from linnix_rec.capture import limits
from linnix_rec.capture.compact import BINARY, I32, I64, LIST, STRUCT, Fields, Shape, key, read_struct

_MAGIC: Final = b"PAR1"
_TAIL: Final = struct.Struct("<I4s")
#: pyarrow reads chunks of some other writers beyond their end (PARQUET-816), and these aren't looked at here.
_CREATOR: Final = b"parquet-cpp-arrow"

# Of parquet.thrift: the structs that hold lists, then the fields that are looked at.
_SIZE_STATISTICS: Final[Shape] = {2: I64, 3: I64}
_GEOSPATIAL_STATISTICS: Final[Shape] = {2: I32}
_STATISTICS: Final[Shape] = {16: _SIZE_STATISTICS, 17: _GEOSPATIAL_STATISTICS}
_COLUMN_META: Final[Shape] = {2: I32, 3: BINARY, 8: {}, 13: {}, **_STATISTICS}
_COLUMN_CHUNK: Final[Shape] = {3: _COLUMN_META, 8: {2: {1: BINARY}}}
_ROW_GROUP: Final[Shape] = {1: _COLUMN_CHUNK, 4: {}}
_FILE: Final[Shape] = {2: {}, 4: _ROW_GROUP, 5: {}, 7: {}}

_FILE_ROWS, _FILE_ROW_GROUPS, _FILE_CREATOR = key(3, I64), key(4, LIST), key(6, BINARY)
_GROUP_COLUMNS, _GROUP_ROWS = key(1, LIST), key(3, I64)
_CHUNK_META = key(3, STRUCT)
_META_CODEC, _META_VALUES, _META_BYTES = key(4, I32), key(5, I64), key(7, I64)
_META_DATA_AT, _META_DICTIONARY_AT, _META_STATISTICS = key(9, I64), key(11, I64), key(12, STRUCT)
_STATISTICS_LARGEST, _STATISTICS_LEAST = key(5, BINARY), key(6, BINARY)
_PAGE_TYPE, _PAGE_EXPANDED_BYTES, _PAGE_BYTES = key(1, I32), key(2, I32), key(3, I32)
_PAGE_DATA, _PAGE_DICTIONARY = key(5, STRUCT), key(7, STRUCT)
_VALUES, _ENCODING, _DEFINITION_LEVELS, _REPETITION_LEVELS = (key(field, I32) for field in range(1, 5))

_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_UNCOMPRESSED, _ZSTD = 0, 6
_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA_BINARY_PACKED, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT = 0, 2, 3, 5, 8, 9
_VALUE_ENCODINGS: Final = frozenset(
    {_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA_BINARY_PACKED, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT}
)
_DICTIONARY_ENCODINGS: Final = frozenset({_PLAIN, _PLAIN_DICTIONARY})

_INT32_END: Final = 1 << 31
_UINT64_BYTES: Final = 8
#: The shortest value of a dictionary: a string's length, or a 32-bit number.
_ENTRY_BYTES: Final = 4


@dataclass(frozen=True)
class Column:
    """A column's place in the file, in bytes, and what the footer claims of it."""

    begin: int
    end: int
    values: int
    compressed: bool
    statistics: Fields

    def bounds(self) -> tuple[int, int] | None:
        """The least and the largest value of a uint64 column, if the footer gives them."""
        least, largest = self.statistics.get(_STATISTICS_LEAST), self.statistics.get(_STATISTICS_LARGEST)
        if least is None or largest is None or len(least) != _UINT64_BYTES or len(largest) != _UINT64_BYTES:
            return None
        return int.from_bytes(least, "little"), int.from_bytes(largest, "little")


@dataclass(frozen=True)
class RowGroup:
    """A row group: its rows, and its columns in the order of the schema's leaves."""

    rows: int
    columns: tuple[Column, ...]


def read_footer(file: FileIO) -> bytes:
    """Give a segment's footer; raises ValueError if that is not how it ends, or if it is too large."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, size_bytes - _TAIL.size))
    tail = file.read(_TAIL.size)
    if len(tail) < _TAIL.size or not tail.endswith(_MAGIC):
        raise ValueError("it does not end as a Parquet file: no segment, or cut short")
    (footer_bytes, _) = _TAIL.unpack(tail)
    if footer_bytes > min(limits.FOOTER_BYTES, size_bytes - _TAIL.size):
        raise ValueError(f"it claims a footer of {footer_bytes} bytes")
    file.seek(-_TAIL.size - footer_bytes, os.SEEK_END)
    return file.read(footer_bytes)


def read_row_groups(footer: bytes, size_bytes: int) -> list[RowGroup]:
    """Give what the footer of a file of that size says; raises ValueError if no recorder has written it."""
    try:
        told, _ = read_struct(footer, 0, _FILE)
    except (IndexError, RecursionError):
        raise ValueError("its footer is damaged") from None
    except ValueError as error:
        raise ValueError(f"its footer is damaged: {error}") from None
    if not told.get(_FILE_CREATOR, b"").startswith(_CREATOR):
        raise ValueError("it was not written by a recorder")
    groups = told.get(_FILE_ROW_GROUPS, [])
    if not 0 <= told.get(_FILE_ROWS, -1) <= limits.SEGMENT_ROWS or len(groups) > limits.ROW_GROUPS:
        raise ValueError(f"it claims {told.get(_FILE_ROWS)} rows in {len(groups)} row groups")
    read = [_row_group(group, size_bytes) for group in groups]
    if sum(group.rows for group in read) != told[_FILE_ROWS]:
        raise ValueError("its row groups have not the rows that it claims")
    return read


def _row_group(told: Fields, size_bytes: int) -> RowGroup:
    rows, chunks = told.get(_GROUP_ROWS, -1), told.get(_GROUP_COLUMNS, [])
    if not 0 <= rows <= limits.ROW_GROUP_ROWS:
        raise ValueError(f"a row group claims {rows} rows")
    if len(chunks) > limits.COLUMNS:
        raise ValueError(f"a row group claims {len(chunks)} columns")
    return RowGroup(rows, tuple(_column(chunk.get(_CHUNK_META, {}), size_bytes) for chunk in chunks))


def _column(meta: Fields, size_bytes: int) -> Column:
    codec, begin = meta.get(_META_CODEC), meta.get(_META_DATA_AT, -1)
    if codec not in (_UNCOMPRESSED, _ZSTD):
        raise ValueError(f"a column is compressed by codec {codec}, not by zstd")
    if 0 < meta.get(_META_DICTIONARY_AT, 0) < begin:
        begin = meta[_META_DICTIONARY_AT]
    end = begin + meta.get(_META_BYTES, -1)
    if not 0 < begin <= end <= min(size_bytes, begin + limits.ROW_GROUP_BYTES):
        raise ValueError(f"a column claims bytes {begin} to {end} of {size_bytes}")
    return Column(begin, end, meta.get(_META_VALUES, -1), codec == _ZSTD, meta.get(_META_STATISTICS, {}))


def check_pages(file: FileIO, group: RowGroup, leaves: Mapping[int, str], nested: Sequence[int]) -> None:
    """Raise ValueError unless a row group's pages of these columns are such as the writer makes.

    leaves: the names of the columns that will be read, by their number; nested: those of them with lists
    """
    left_bytes = limits.ROW_GROUP_BYTES
    for number, name in leaves.items():
        if number >= len(group.columns):
            raise ValueError(f"a row group has no column {name}")
        try:
            left_bytes -= _expanded_bytes(file, group.rows, group.columns[number], number in nested)
        except ValueError as error:
            raise ValueError(f"its column {name} is damaged: {error}") from None
        if left_bytes < 0:
            raise ValueError(f"a row group expands to more than {limits.ROW_GROUP_BYTES >> 20} MiB")


def _expanded_bytes(file: FileIO, rows: int, column: Column, nested: bool) -> int:
    """Give how many bytes the column's pages expand to."""
    left = column.values
    if not (rows <= left <= limits.ARGUMENTS_OF_ROW_GROUP if nested else left == rows):
        raise ValueError(f"it claims {left} values in {rows} rows")
    at, end = column.begin, column.end
    expanded_bytes = pages = 0
    while at < end:
        file.seek(at)
        header, length = _read_header(file.read(limits.PAGE_HEADER_BYTES))
        page_bytes, page_expanded_bytes = _number(header, _PAGE_BYTES), _number(header, _PAGE_EXPANDED_BYTES)
        at += length + page_bytes
        expanded_bytes += page_expanded_bytes
        left -= _values_of(header, page_expanded_bytes, may_be_dictionary=not (pages or nested))
        pages += 1
        if (
            left < 0
            or pages > limits.PAGES_OF_COLUMN
            or (not column.compressed and page_bytes != page_expanded_bytes)
        ):
            raise ValueError("its pages hold more than it claims")
    if at != end or left:
        raise ValueError("its pages hold less than it claims")
    return expanded_bytes


def _read_header(raw: bytes) -> tuple[Fields, int]:
    try:
        return read_struct(raw, 0, {})
    except IndexError:
        raise ValueError("a page's header is cut short, or longer than any that is written") from None


def _values_of(header: Fields, expanded_bytes: int, *, may_be_dictionary: bool) -> int:
    """How many of the column's values a page has; a dictionary, which may only come first, has none."""
    kind = header.get(_PAGE_TYPE)
    if kind == _DATA_PAGE and _PAGE_DATA in header:
        part = header[_PAGE_DATA]
        levels = part.get(_DEFINITION_LEVELS), part.get(_REPETITION_LEVELS)
        if levels == (_RLE, _RLE) and part.get(_ENCODING) in _VALUE_ENCODINGS:
            return _number(part, _VALUES)
    elif kind == _DICTIONARY_PAGE and _PAGE_DICTIONARY in header and may_be_dictionary:
        part = header[_PAGE_DICTIONARY]
        entries = _number(part, _VALUES)
        if part.get(_ENCODING) in _DICTIONARY_ENCODINGS and entries * _ENTRY_BYTES <= expanded_bytes:
            if entries <= limits.ROW_GROUP_ROWS:
                return 0
            raise ValueError(f"its dictionary claims {entries} entries")
    raise ValueError("a page is of a kind that is never written")


def _number(fields: Fields, place: int) -> int:
    value: int = fields.get(place, -1)
    if not 0 <= value < _INT32_END:
        raise ValueError("a page's header lacks a number, or gives one out of range")
    return value
