"""An object file that would take its reader long, or much memory, is refused before it does."""

import struct
from collections.abc import Callable

import pytest

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import MalformedObjectError
from tests.bpf.btf_builder import BtfBuilder
from tests.bpf.given import FEATURES

Change = Callable[[bytearray], None]
_SECTION_BYTES = 64
_TYPE, _OFFSET, _SIZE, _ENTRY_BYTES = ("<I", 4), ("<Q", 24), ("<Q", 32), ("<Q", 56)
_SYMBOLS, _STRINGS, _ZEROS = 2, 3, 8


def headers(raw: bytearray) -> list[int]:
    """Where the section headers are."""
    (table,) = struct.unpack_from("<Q", raw, 40)
    (count,) = struct.unpack_from("<H", raw, 60)
    return [table + index * _SECTION_BYTES for index in range(count)]


def in_section(kind: int, field: tuple[str, int], value: int) -> Change:
    """Change a field in the header of the first section of a kind."""

    def change(raw: bytearray) -> None:
        at = next(at for at in headers(raw) if struct.unpack_from("<I", raw, at + 4)[0] == kind)
        struct.pack_into(field[0], raw, at + field[1], value)

    return change


def in_header(layout: str, at: int, value: int) -> Change:
    return lambda raw: struct.pack_into(layout, raw, at, value)


def without_nul(raw: bytearray) -> None:
    """Let the names of symbols run on to the end of their table."""
    at = next(at for at in headers(raw) if struct.unpack_from("<I", raw, at + 4)[0] == _STRINGS)
    begin, size = struct.unpack_from("<QQ", raw, at + 24)
    raw[begin + 1 : begin + size] = b"x" * (size - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda raw: raw.extend(bytes(1 << 20)), "it has 10", id="a large file"),
        pytest.param(in_header("<H", 58, 0), "no usable section headers", id="headers of no length"),
        pytest.param(in_header("<H", 60, 0), "no usable section headers", id="headers counted elsewhere"),
        pytest.param(in_header("<H", 60, 0xFFFF), "no usable section headers", id="65,535 sections"),
        pytest.param(in_header("<Q", 40, 1 << 60), "cut short", id="headers beyond the end"),
        pytest.param(in_header("<Q", 40, 1 << 63), "cut short", id="headers beyond any end"),
        pytest.param(
            in_section(_SYMBOLS, _ENTRY_BYTES, 1), "symbols and relocations", id="symbols of a byte"
        ),
        pytest.param(in_section(_SYMBOLS, _SIZE, 1 << 40), "its sections claim", id="2^40 symbols"),
        pytest.param(in_section(_ZEROS, _SIZE, 1 << 40), "zeros", id="a .bss of 2^40 bytes"),
        pytest.param(in_section(_SYMBOLS, _TYPE, 11), "kind that BPF objects have not", id="dynamic symbols"),
        pytest.param(without_nul, "its names", id="names without end"),
    ],
)
def test_an_object_that_claims_too_much_is_refused(change: Change, said: str) -> None:
    raw = bytearray(FEATURES.read_bytes())
    change(raw)
    with pytest.raises(MalformedObjectError, match=said):
        read_object_spec(bytes(raw), "hostile")


def test_structs_that_hold_the_next_one_twice_are_refused_before_they_double_30_times() -> None:
    builder = BtfBuilder()
    inner = builder.int()
    for level in range(30):
        inner = builder.struct(f"s{level}", 8, ("a", inner, 0), ("b", inner, 0))
    with pytest.raises(MalformedObjectError, match="holds itself"):
        struct_dtype(builder.btf(), "s29")


def test_a_name_without_end_is_refused() -> None:
    builder = BtfBuilder()
    type_id = builder.int("x" * 2000)
    with pytest.raises(MalformedObjectError, match="more than 1024 bytes"):
        builder.btf().type(type_id)
