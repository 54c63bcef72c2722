"""Bytes that a process chose keep their value as text, and do nothing to a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.capture.text import decode_bytes, encode_text, printable


@given(st.binary())
def test_any_bytes_come_back(raw: bytes) -> None:
    assert encode_text(decode_bytes(raw)) == raw


@given(st.lists(st.sampled_from([b"\xee", b"\xbe", b"\x80", b"\xbf", b"\xbd", b"a", b"\xff", b"\xc3\xa9"])))
def test_bytes_around_the_escapes_come_back(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    assert encode_text(decode_bytes(raw)) == raw


@given(st.binary(), st.binary())
def test_different_bytes_give_different_text(one: bytes, other: bytes) -> None:
    assert (decode_bytes(one) == decode_bytes(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=["Cs", "Co"])))
def test_text_without_private_characters_is_its_own_utf8(text: str) -> None:
    assert encode_text(text) == text.encode()
    assert decode_bytes(text.encode()) == text


@given(st.binary())
def test_decoded_text_is_valid_unicode(raw: bytes) -> None:
    assert decode_bytes(raw).encode().decode() == decode_bytes(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"sh", "sh"),
        ("é".encode(), "é"),
        (b"\xff\xfe", "\uefff\ueffe"),
        (b"\xc3", "\uefc3"),
        (b"a\x80b", "a\uef80b"),
        # Valid UTF-8 that spells an escape is escaped itself, byte by byte.
        ("\uef80".encode(), "\uefee\uefbe\uef80"),
        ("\uefff".encode(), "\uefee\uefbf\uefbf"),
        # The private characters next to the range are text like any other.
        ("\uef7f\uf000".encode(), "\uef7f\uf000"),
        (b"\xed\xa0\x80", "\uefed\uefa0\uef80"),  # a surrogate is not UTF-8
        (b"\xff" + "\uefc0".encode(), "\uefff\uefee\uefbf\uef80"),
    ],
)
def test_escape_is_optu8(raw: bytes, text: str) -> None:
    assert decode_bytes(raw) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cc1 -O2", "cc1 -O2"),
        ("naïve 日本", "naïve 日本"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\t\0", "a\\x0ab\\x09\\x00"),
        ("\x7f\x85", "\\x7f\\u0085"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2028", "\\u2028"),
        ("\U000e0001", "\\U000e0001"),
        ("\uefff\uef80", "\\xff\\x80"),
        ("\ue000", "\\ue000"),
        ("C:\\x1b", "C:\\\\x1b"),
    ],
)
def test_printable_shows_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_holds_nothing_a_terminal_obeys(text: str) -> None:
    for character in printable(text):
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(
    st.text(alphabet="\\xuU01aeff\x1b\uefff\u0085\U000e0001"), st.text(alphabet="\\xuU01aeff\x1b\uefff\u0085")
)
def test_printable_is_unambiguous(one: str, other: str) -> None:
    assert (printable(one) == printable(other)) == (one == other)
