"""Changes BTF and ELF objects word by word, in headers, tables and records, so that the rest still fits."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

Mutate = Callable[[bytes, int], bytes]

_WORDS = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    31,
    32,
    64,
    255,
    256,
    0xFFFF,
    1 << 16,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
]
_BTF_HEADER_BYTES = 24
_SECTION_BYTES, _SYMBOL_BYTES, _RELOCATION_BYTES = 64, 24, 16
_SYMBOLS, _RELOCATIONS = 2, 9


def mutated_btf(raw: bytes, random: Random, mutate: Mutate) -> bytes:
    """Change words of the header, of type records, or the strings."""
    if len(raw) < _BTF_HEADER_BYTES or random.random() < 0.2:
        return mutate(raw, len(raw) + 64)
    out = bytearray(raw)
    header, type_at, type_bytes = struct.unpack_from("<III", raw, 4)
    begin = min(header + type_at, len(out))
    end = min(begin + type_bytes, len(out))
    for _ in range(random.randint(1, 6)):
        if random.random() < 0.1:
            _change_word(out, random.randrange(0, _BTF_HEADER_BYTES, 4), random, begin, end)
        elif end - begin >= 4:
            _change_word(out, begin + 4 * random.randrange((end - begin) // 4), random, begin, end)
    if random.random() < 0.1:
        return bytes(out[:end]) + mutate(bytes(out[end:]), len(out) - end)
    return bytes(out)


def _change_word(out: bytearray, at: int, random: Random, begin: int, end: int) -> None:
    choice = random.randrange(5)
    if choice == 0:
        word = random.choice(_WORDS)
    elif choice == 1 and end - begin >= 4:
        (word,) = struct.unpack_from("<I", out, begin + 4 * random.randrange((end - begin) // 4))
    elif choice == 2:
        word = (
            random.randrange(1, 20) << 24
            | random.choice([0, 0, 1, 2, 100, 0xFFFF])
            | random.choice([0, 1 << 31])
        )
    elif choice == 3:
        word = random.randrange(200)
    else:
        word = struct.unpack_from("<I", out, at)[0] ^ 1 << random.randrange(32)
    struct.pack_into("<I", out, at, word)


def mutated_object(raw: bytes, random: Random, mutate: Mutate) -> bytes:
    """Change section headers, symbols, relocations or the content of a section of an ELF object."""
    sections = _sections(raw)
    if not sections or random.random() < 0.15:
        return mutate(raw, len(raw) + 64)
    out = bytearray(raw)
    for _ in range(random.randint(1, 4)):
        header_at, kind, begin, size = random.choice(sections)
        choice = random.randrange(6)
        if choice == 0:
            _change_number(out, header_at, _SECTION_BYTES, random)
        elif choice == 1:
            _change_number(out, 0, 64, random)
        elif kind in (_SYMBOLS, _RELOCATIONS) and size:
            _change_number(out, begin, size, random)
        elif raw[begin : begin + 2] == b"\x9f\xeb":
            content = bytes(out[begin : begin + size])
            changed = mutated_btf(
                content, random, lambda content, most: mutate(content, most)[: len(content)]
            )
            out[begin : begin + size] = changed[:size].ljust(size, b"\0")
        elif size >= 8:
            _change_number(out, begin, size, random)
    return bytes(out)


def _sections(raw: bytes) -> list[tuple[int, int, int, int]]:
    """Where each section header is, and its kind, offset and size."""
    if len(raw) < 64:
        return []
    (table,) = struct.unpack_from("<Q", raw, 40)
    (count,) = struct.unpack_from("<H", raw, 60)
    found = []
    for at in range(
        table, min(table + count * _SECTION_BYTES, len(raw) - _SECTION_BYTES + 1), _SECTION_BYTES
    ):
        (kind,) = struct.unpack_from("<I", raw, at + 4)
        begin, size = struct.unpack_from("<QQ", raw, at + 24)
        if begin + size <= len(raw):
            found.append((at, kind, begin, size))
    return found


def _change_number(out: bytearray, begin: int, size: int, random: Random) -> None:
    """Change an aligned number of 1, 2, 4 or 8 bytes."""
    width, layout = random.choice([(1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q")])
    if size < width:
        return
    at = begin + width * random.randrange(size // width)
    end = 1 << 8 * width
    old = struct.unpack_from(layout, out, at)[0]
    new = random.choice(
        [*_WORDS, (1 << 64) - 1, 1 << 63, old + 1, old - 1, old + 8, old ^ 1 << random.randrange(64)]
    )
    struct.pack_into(layout, out, at, new % end)
