"""Are a row group's pages such as the writer makes? Reads their headers before pyarrow does; decodes nothing.

pyarrow allocates what a page's header says, up to 2 GiB for the page and 16 bytes for each entry that its
dictionary claims, before it has decompressed a byte, and a header is not bound by the footer. So the headers
of the columns that will be read are read here first (Thrift's compact protocol), and whatever no recorder
writes is refused: other codecs, encodings and pages, larger ones, more values. That leaves a small part of
pyarrow's decoders to whoever made the file.
"""

import os
import struct
from collections.abc import Collection
from io import FileIO
from typing import Any, Final

import pyarrow.parquet as pq

from linnix_rec.capture import limits
from linnix_rec.capture.text import shown

_MAGIC: Final = b"PAR1"
_TAIL: Final = struct.Struct("<I4s")
#: pyarrow reads chunks of some other writers beyond their end (PARQUET-816), and these aren't looked at here.
_CREATOR: Final = "parquet-cpp-arrow"

_CODECS: Final = frozenset({"ZSTD", "UNCOMPRESSED"})

# Of parquet.thrift: PageType, Encoding, and the fields of PageHeader and its parts.
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA_BINARY_PACKED, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT = 0, 2, 3, 5, 8, 9
_VALUE_ENCODINGS: Final = frozenset(
    {_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA_BINARY_PACKED, _RLE_DICTIONARY, _BYTE_STREAM_SPLIT}
)
_DICTIONARY_ENCODINGS: Final = frozenset({_PLAIN, _PLAIN_DICTIONARY})
_TYPE, _UNCOMPRESSED_BYTES, _COMPRESSED_BYTES, _DATA_HEADER, _DICTIONARY_HEADER = 1, 2, 3, 5, 7
_VALUES, _ENCODING, _DEFINITION_LEVELS, _REPETITION_LEVELS = 1, 2, 3, 4

# Types of the compact protocol.
_BOOLEANS, _INTEGERS, _BINARY, _STRUCT = frozenset({1, 2}), frozenset({4, 5, 6}), 8, 12

_INT32_END: Final = 1 << 31
#: The shortest value of a dictionary: a string's length, or a 32-bit number.
_ENTRY_BYTES: Final = 4

Fields = dict[int, Any]


def check_footer_size(file: FileIO) -> None:
    """Raise ValueError unless a segment ends as a Parquet file does, its footer no larger than allowed."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, size_bytes - _TAIL.size))
    tail = file.read(_TAIL.size)
    if len(tail) < _TAIL.size or not tail.endswith(_MAGIC):
        raise ValueError("it does not end as a Parquet file: no segment, or cut short")
    (footer_bytes, _) = _TAIL.unpack(tail)
    if footer_bytes > limits.FOOTER_BYTES:
        raise ValueError(f"its footer claims {footer_bytes} bytes, {limits.FOOTER_BYTES} are allowed")


def check_claims(metadata: pq.FileMetaData) -> None:
    """Raise ValueError if the footer claims more than a segment can hold."""
    for what, claimed, allowed in (
        ("rows", metadata.num_rows, limits.SEGMENT_ROWS),
        ("row groups", metadata.num_row_groups, limits.ROW_GROUPS),
        ("columns", metadata.num_columns, limits.COLUMNS),
    ):
        if not 0 <= claimed <= allowed:
            raise ValueError(f"it claims {claimed} {what}, {allowed} are allowed")
    if not metadata.created_by.startswith(_CREATOR):
        raise ValueError(f"it was written by {shown(metadata.created_by)}, not by a recorder")


def check_row_group(file: FileIO, group: pq.RowGroupMetaData, names: Collection[str]) -> None:
    """Raise ValueError unless the pages of these columns are such as the writer makes."""
    if not 0 <= group.num_rows <= limits.ROW_GROUP_ROWS:
        raise ValueError(f"a row group claims {group.num_rows} rows, {limits.ROW_GROUP_ROWS} are allowed")
    size_bytes = file.seek(0, os.SEEK_END)
    left_bytes = limits.ROW_GROUP_BYTES
    for index in range(group.num_columns):
        chunk = group.column(index)
        column, _, inner = chunk.path_in_schema.partition(".")
        if column in names:
            left_bytes -= _check_column(file, size_bytes, group.num_rows, chunk, nested=bool(inner))
            if left_bytes < 0:
                raise ValueError(f"a row group expands to more than {limits.ROW_GROUP_BYTES >> 20} MiB")


def _check_column(
    file: FileIO, size_bytes: int, rows: int, chunk: pq.ColumnChunkMetaData, *, nested: bool
) -> int:
    """Give how many bytes the column's pages expand to."""
    name = chunk.path_in_schema
    values = chunk.num_values
    if chunk.compression not in _CODECS:
        raise ValueError(f"column {name} is compressed with {chunk.compression}, not ZSTD")
    if not (rows <= values <= limits.ARGUMENTS_OF_ROW_GROUP if nested else values == rows):
        raise ValueError(f"column {name} claims {values} values in {rows} rows")
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    if not 0 < at <= end <= min(size_bytes, at + limits.ROW_GROUP_BYTES):
        raise ValueError(f"column {name} claims bytes {at} to {end} of {size_bytes}")
    expanded_bytes = pages = 0
    while at < end:
        file.seek(at)
        header, length = _read_header(file.read(limits.PAGE_HEADER_BYTES))
        compressed, uncompressed = _number(header, _COMPRESSED_BYTES), _number(header, _UNCOMPRESSED_BYTES)
        at += length + compressed
        expanded_bytes += uncompressed
        values -= _values_of(header, uncompressed, dictionary=pages == 0 and not nested, name=name)
        pages += 1
        if values < 0 or pages > limits.PAGES_OF_COLUMN:
            raise ValueError(f"column {name} has more pages or values than it says")
    if at != end or values:
        raise ValueError(f"column {name} has other pages than it says")
    return expanded_bytes


def _values_of(header: Fields, uncompressed_bytes: int, *, dictionary: bool, name: str) -> int:
    """How many of the column's values a page has; a dictionary, which may only come first, has none."""
    if _number(header, _TYPE) == _DATA_PAGE:
        part = header.get(_DATA_HEADER)
        if isinstance(part, dict):
            levels = (_number(part, _DEFINITION_LEVELS), _number(part, _REPETITION_LEVELS))
            if levels == (_RLE, _RLE) and _number(part, _ENCODING) in _VALUE_ENCODINGS:
                return _number(part, _VALUES)
    elif _number(header, _TYPE) == _DICTIONARY_PAGE and dictionary:
        part = header.get(_DICTIONARY_HEADER)
        if isinstance(part, dict) and _number(part, _ENCODING) in _DICTIONARY_ENCODINGS:
            entries = _number(part, _VALUES)
            if entries <= limits.ROW_GROUP_ROWS and entries * _ENTRY_BYTES <= uncompressed_bytes:
                return 0
    raise ValueError(f"column {name} has a page of a kind that is never written")


def _number(fields: Fields, field: int) -> int:
    value = fields.get(field)
    if isinstance(value, int) and 0 <= value < _INT32_END:
        return value
    raise ValueError(f"a page's header has no field {field}, or one out of range")


def _read_header(raw: bytes) -> tuple[Fields, int]:
    """Give a page header's numbers and structs by field id, and its length in bytes."""
    try:
        return _read_struct(raw, 0)
    except IndexError:
        raise ValueError("a page's header is cut short, or longer than any that is written") from None


def _read_struct(raw: bytes, at: int) -> tuple[Fields, int]:
    """Fields must come in the order of their ids, as they are written: so none comes twice."""
    fields: Fields = {}
    field = 0
    while head := raw[at]:
        at += 1
        type_, step = head & 0x0F, head >> 4
        if not step:
            raise ValueError("a page's header has its fields out of order")
        field += step
        if type_ in _INTEGERS:
            zigzag, at = _read_varint(raw, at)
            fields[field] = (zigzag >> 1) ^ -(zigzag & 1)
        elif type_ == _STRUCT:
            fields[field], at = _read_struct(raw, at)
        elif type_ == _BINARY:
            length, at = _read_varint(raw, at)
            at += length
        elif type_ not in _BOOLEANS:
            raise ValueError(f"a page's header has a field of type {type_}")
    return fields, at + 1


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = raw[at] & 0x7F
    shift = 7
    while raw[at] & 0x80:
        at += 1
        value |= (raw[at] & 0x7F) << shift
        shift += 7
    return value, at + 1
