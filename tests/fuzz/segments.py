"""Changes Parquet segments so that they get past the first checks: footers, pages and CRCs fit again.

Knows Parquet's structure (parquet.thrift), not what the columns mean.
"""

from __future__ import annotations

import copy
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pyarrow as pa

from tests.fuzz import thrift
from tests.fuzz.thrift import Field, Items, Struct

Mutate = Callable[[bytes, int], bytes]

_MAGIC = b"PAR1"
_ROW_GROUPS, _KEY_VALUES = 4, 5
_COLUMNS, _META_DATA = 1, 3
_CODEC, _COMPRESSED, _DATA_PAGE_AT, _DICTIONARY_AT = 4, 7, 9, 11
_PAGE_TYPE, _PAGE_BYTES, _PAGE_COMPRESSED, _PAGE_CRC = 1, 2, 3, 4
_DICTIONARY_PAGE = 2
_PAGE_BYTES_MAX = 1 << 20
_ZSTD = pa.Codec("zstd", compression_level=1)

_NUMBERS = [
    *(0, 1, -1, 2, 3, 7, 8, 16, 127, 128, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, -(1 << 31)),
    *((1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, -(1 << 63)),
]


@dataclass
class Page:
    """A page: its header, and its bytes as they stand in the file."""

    header: Struct
    body: bytes


@dataclass
class Chunk:
    """A column of a row group: its metadata in the footer's tree, and its pages."""

    meta: Struct
    pages: list[Page] = field(default_factory=list)


@dataclass
class Parsed:
    """A Parquet file taken apart."""

    footer: Struct
    chunks: list[Chunk]


def mutated_segment(raw: bytes, random: Random, mutate: Mutate) -> bytes:
    """Change a segment in one to three places and put it together again; `mutate` changes bytes.

    Every third change is of bytes anywhere: to take a footer apart and put it together costs some 5 ms.
    """
    if random.random() < 0.33:
        return mutate(raw, len(raw) + 64)
    try:
        parsed = _parsed(raw)
    except (IndexError, KeyError, ValueError, struct.error, TypeError, AttributeError, RecursionError):
        return mutate(raw, len(raw) + 64)
    for _ in range(random.randint(1, 3)):
        random.choices(_CHANGES, _WEIGHTS)[0](parsed, random, mutate)
    return _written(parsed, fits=random.random() < 0.9)


def _parsed(raw: bytes) -> Parsed:
    (footer_bytes,) = struct.unpack("<I", raw[-8:-4])
    footer, _ = thrift.read_struct(raw[-8 - footer_bytes : -8])
    chunks = []
    for group in thrift.get(footer, _ROW_GROUPS).values:
        for column in thrift.get(group, _COLUMNS).values:
            meta = thrift.get(column, _META_DATA)
            chunks.append(Chunk(meta, _pages(raw, meta)))
    return Parsed(footer, chunks)


def _pages(raw: bytes, meta: Struct) -> list[Page]:
    try:
        at = thrift.get(meta, _DICTIONARY_AT)
    except KeyError:
        at = thrift.get(meta, _DATA_PAGE_AT)
    end = min(at + thrift.get(meta, _COMPRESSED), len(raw))
    pages = []
    while 0 < at < end and len(pages) < 100:
        header, begin = thrift.read_struct(raw, at)
        at = begin + max(0, thrift.get(header, _PAGE_COMPRESSED))
        pages.append(Page(header, raw[begin:at]))
    return pages


def _written(parsed: Parsed, *, fits: bool) -> bytes:
    """Put a file together; if it `fits`, the footer's offsets and sizes are those of the pages."""
    out = bytearray(_MAGIC)
    for chunk in parsed.chunks:
        at = len(out)
        dictionary_bytes = 0
        for number, page in enumerate(chunk.pages):
            out += thrift.write_struct(page.header) + page.body
            if not number and _page_type(page) == _DICTIONARY_PAGE:
                dictionary_bytes = len(out) - at
        if fits:
            thrift.put(chunk.meta, _DICTIONARY_AT, at)
            thrift.put(chunk.meta, _DATA_PAGE_AT, at + dictionary_bytes)
            thrift.put(chunk.meta, _COMPRESSED, len(out) - at)
    footer = thrift.write_struct(parsed.footer)
    return bytes(out) + footer + struct.pack("<I", len(footer)) + _MAGIC


def _page_type(page: Page) -> int | None:
    try:
        return int(thrift.get(page.header, _PAGE_TYPE))
    except KeyError:
        return None


def _change_footer(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    _change_tree(parsed.footer, random, mutate)


def _change_key_value(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    try:
        pairs = thrift.get(parsed.footer, _KEY_VALUES).values
    except KeyError:
        return
    if pairs:
        _change_tree(random.choice(pairs), random, mutate)


def _change_column(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    if parsed.chunks:
        _change_tree(random.choice(parsed.chunks).meta, random, mutate)


def _change_page_header(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    pages = [page for chunk in parsed.chunks for page in chunk.pages]
    if pages:
        _change_tree(random.choice(pages).header, random, mutate)


def _change_page(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    """Change what a page holds; its length and CRC are made to fit."""
    pages = [(chunk, page) for chunk in parsed.chunks for page in chunk.pages]
    if not pages:
        return
    chunk, page = random.choice(pages)
    body = page.body
    try:
        compressed = thrift.get(chunk.meta, _CODEC) != 0
        if compressed:
            size = min(max(0, int(thrift.get(page.header, _PAGE_BYTES))), _PAGE_BYTES_MAX)
            body = _ZSTD.decompress(body, size, asbytes=True)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        compressed = False
    body = _change_levels(body, random) if random.random() < 0.3 else mutate(body, len(body) + 64)
    thrift.put(page.header, _PAGE_BYTES, len(body))
    page.body = _ZSTD.compress(body, asbytes=True) if compressed else body
    thrift.put(page.header, _PAGE_COMPRESSED, len(page.body))
    thrift.put(page.header, _PAGE_CRC, _signed(zlib.crc32(page.body)))


def _change_levels(body: bytes, random: Random) -> bytes:
    """Let a run claim another length: levels and indices are runs behind a 4-byte length."""
    out = bytearray(body)
    at = random.choice([0, 4, 5, min(len(out), 8), random.randrange(len(out) + 1)])
    out[at : at + random.randrange(6)] = random.choice(
        [
            b"\xfe\xff\xff\xff\x0f",
            b"\xff\xff\xff\xff\x0f",
            b"\x80\x80\x80\x80\x08",
            b"\xff" * 10,
            b"\0",
            b"\x02",
        ]
    )
    return bytes(out)


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _swap_pages(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    if parsed.chunks:
        one, other = random.choice(parsed.chunks), random.choice(parsed.chunks)
        one.pages, other.pages = other.pages, one.pages


def _repeat_pages(parsed: Parsed, random: Random, mutate: Mutate) -> None:
    if parsed.chunks:
        chunk = random.choice(parsed.chunks)
        chunk.pages = copy.deepcopy(chunk.pages * random.choice([0, 2, 3, 20]))


def _change_tree(tree: Struct, random: Random, mutate: Mutate) -> None:
    places: list[tuple[Struct | list[object], int]] = []
    _collect(tree, places)
    if not places:
        return
    holder, index = random.choice(places)
    held = holder[index]
    if isinstance(held, Field):
        if random.random() < 0.1:
            del holder[index]
        elif isinstance(held.value, bool):
            held.type = thrift.FALSE if held.type == thrift.TRUE else thrift.TRUE
        elif isinstance(held.value, int) and random.random() < 0.05:
            held.type = random.choice([thrift.I16, thrift.I32, thrift.I64, thrift.BYTE])
        elif isinstance(held.value, Items):
            _change_items(held.value, random)
        else:
            held.value = _other(held.value, random, mutate)
    else:
        holder[index] = _other(held, random, mutate)  # type: ignore[call-overload]


def _change_items(items: Items, random: Random) -> None:
    if not items.values:
        return
    choice = random.randrange(4)
    if choice == 0:
        del items.values[random.randrange(len(items.values))]
    elif choice == 1:
        items.values = items.values * random.choice([2, 7, 100])
    elif choice == 2:
        random.shuffle(items.values)
    else:
        items.values.append(copy.deepcopy(random.choice(items.values)))


def _other(value: object, random: Random, mutate: Mutate) -> object:
    if isinstance(value, int):
        return random.choice([*_NUMBERS, value + 1, value - 1, value * 2, random.getrandbits(31)])
    if isinstance(value, bytes):
        return (
            b"x" * random.choice([1000, 300_000])
            if random.random() < 0.01
            else mutate(value, len(value) + 32)
        )
    return value


def _collect(tree: object, places: list[tuple[Struct | list[object], int]]) -> None:
    if isinstance(tree, list):
        for index, held in enumerate(tree):
            places.append((tree, index))
            _collect(held.value, places)
    elif isinstance(tree, Items):
        for index, item in enumerate(tree.values):
            if isinstance(item, (list, Items)):
                _collect(item, places)
            else:
                places.append((tree.values, index))


_CHANGES = [
    _change_footer,
    _change_key_value,
    _change_column,
    _change_page_header,
    _change_page,
    _swap_pages,
    _repeat_pages,
]
_WEIGHTS = [2, 1, 2, 3, 8, 1, 1]
