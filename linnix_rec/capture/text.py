"""Text for bytes that a process chose: reversible, and safe to print. Knows no event and no file.

A comm, a path or an argument may hold any bytes, while Parquet and JSON hold Unicode. `decode_bytes`
keeps valid UTF-8 as it is and maps every other byte 0x80..0xFF to the private-use character
U+EF00 + byte (U+EF80..U+EFFF), the mapping known as OPTU-8. Valid UTF-8 that itself spells one of those
128 characters is mapped byte by byte as well, so no two byte strings give the same text and
`encode_text` gives back exactly the bytes that were seen.
"""

import unicodedata
from typing import Final

from linnix_rec.capture import limits

_ESCAPE_BASE: Final = 0xEF00
_FIRST, _LAST = _ESCAPE_BASE + 0x80, _ESCAPE_BASE + 0xFF

#: Unicode categories that a terminal may obey instead of show: controls, formats (bidi among them),
#: surrogates, private use, unassigned, and the line and paragraph separators.
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _escape_spelled(character: str) -> str:
    if _FIRST <= ord(character) <= _LAST:
        return "".join(chr(_ESCAPE_BASE + byte) for byte in character.encode())
    return character


def decode_bytes(raw: bytes) -> str:
    """Give the text for any bytes; a bijection onto its image, undone by `encode_text`."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return _decode_mixed(raw)
    if b"\xee\xbe" in raw or b"\xee\xbf" in raw:  # the lead bytes of U+EF80..U+EFFF
        return "".join(map(_escape_spelled, text))
    return text


def _decode_mixed(raw: bytes) -> str:
    # The spelled escapes must be mapped before the bad bytes become the same characters.
    text = raw.decode(errors="surrogateescape")
    return "".join(
        chr(_ESCAPE_BASE + ord(character) - 0xDC00)
        if "\udc80" <= character <= "\udcff"
        else _escape_spelled(character)
        for character in text
    )


def encode_text(text: str) -> bytes:
    """Give back the bytes for which `decode_bytes` made this text."""
    return b"".join(
        bytes([ord(character) - _ESCAPE_BASE]) if _FIRST <= ord(character) <= _LAST else character.encode()
        for character in text
    )


def printable(text: str) -> str:
    r"""Give text in which nothing is obeyed by a terminal, and which can be read back without doubt.

    A backslash becomes ``\\``, always; an escaped byte ``\xHH``; a control, format (bidi) or otherwise
    unprintable character ``\uHHHH`` or ``\UHHHHHHHH``. Controls below U+0080 are bytes too: ``\x1b``.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_printable_character, text))


def shown(text: str) -> str:
    """Give text as `printable` does, cut short: for a message about what should not be there."""
    cut = printable(text[: limits.SHOWN_CHARACTERS])
    return cut if len(text) <= limits.SHOWN_CHARACTERS else cut + "..."


def _printable_character(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if _FIRST <= code <= _LAST:
        return f"\\x{code - _ESCAPE_BASE:02x}"
    if unicodedata.category(character) not in _UNPRINTABLE:
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
