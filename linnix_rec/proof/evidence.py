"""One digest for a whole capture, to be noted elsewhere; knows no rule about events.

The digest commits to every byte of every segment, to their order, and to all that capture.json says: the
accounts, the times, what retention removed. A capture that was rewritten with hashes of its own is in
agreement with itself, and has another digest.
"""

import hashlib
import json
import re
from typing import Any, Final

from linnix_rec.capture import limits
from linnix_rec.capture.digest import sha256_of
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument
from linnix_rec.capture.opening import read_file
from linnix_rec.capture.reader import Capture
from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.proof.verdict import RuleResult, Tally

_PREFIX: Final = "sha256:"
_HEX: Final = re.compile(r"[0-9a-f]{64}")


def capture_digest(capture: Capture) -> str:
    """Give a capture's digest as `sha256:` and 64 hex digits; raises UnreadableCaptureError.

    It is the SHA-256 of capture.json, canonical (sorted keys, no blanks, UTF-8), in which each segment's
    `sha256` is that of the file found under its name, or "" if there is none.
    """
    found = {segment.path.name: segment.path for segment in capture.segments}
    stated = _stated(capture)
    for segment in stated.get("segments", ()):
        path = found.get(segment["name"])
        segment["sha256"] = "" if path is None else sha256_of(path)
    try:
        canonical = json.dumps(stated, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except RecursionError as error:
        raise UnreadableCaptureError(f"{capture.path / DOCUMENT_NAME} is nested too deeply") from error
    return _PREFIX + hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def parse_digest(text: str) -> str:
    """Give a digest as `capture_digest` does, with or without its `sha256:`; raises UsageError."""
    digits = text.strip().lower().removeprefix(_PREFIX)
    if not _HEX.fullmatch(digits):
        raise UsageError(
            f"{text!r} is no digest: give what `verify --digest` printed, sha256: and 64 hex digits"
        )
    return _PREFIX + digits


def check_expected(expected: str, found: str, seq: int) -> RuleResult:
    """Compare the digest that was noted elsewhere with the capture's; a difference is told at `seq`."""
    tally = Tally("expect", checked=1, note="the digest that was noted elsewhere")
    if found != expected:
        tally.violate(seq, f"expected {expected}, found {found}")
    return tally.result()


def _stated(capture: Capture) -> dict[str, Any]:
    """What capture.json says, with all keys that this version does not know."""
    path = capture.path / DOCUMENT_NAME
    raw = read_file(path, limits.DOCUMENT_BYTES)
    if CaptureDocument.parse(raw, str(path)) != capture.document:
        raise UnreadableCaptureError(f"{path} has changed since it was opened: the recording goes on")
    stated: dict[str, Any] = json.loads(raw)
    return stated
