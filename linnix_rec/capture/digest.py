"""Do a capture's files agree with capture.json and with each other? Knows no event and no rule.

Each segment's SHA-256 stands in capture.json and in the segment after it, and each segment says itself
which capture it is of and which tickets it holds. So a change of one file is found, and told apart.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linnix_rec.capture.document import CaptureDocument, Segment
from linnix_rec.capture.opening import open_file
from linnix_rec.capture.parquet import SegmentMetadata
from linnix_rec.capture.segment import segment_name
from linnix_rec.capture.text import printable
from linnix_rec.errors import UnreadableCaptureError


@dataclass(frozen=True)
class Finding:
    """One disagreement between files.

    `code` is missing, extra, swapped, edited, foreign, chain or count; `segment` is a file's name, or "" for
    capture.json; `seq` is the ticket at which the segment should begin, as far as known.
    """

    code: str
    segment: str
    message: str
    seq: int = 0


@dataclass(frozen=True)
class SegmentFile:
    """A segment as found: what its own footer says, and how many rows Parquet counts in it."""

    path: Path
    metadata: SegmentMetadata
    rows: int


@dataclass(frozen=True)
class _Content:
    """What a file holds, and the segment that should hold just that, if one should."""

    sha256: str
    listed_as: str | None


def compare_files(
    document: CaptureDocument, segments: Sequence[SegmentFile], strays: Sequence[Path]
) -> list[Finding]:
    """Give all findings, in the order of capture.json, strays last; raises UnreadableCaptureError."""
    by_name = {segment.path.name: segment for segment in segments}
    digests = {name: sha256_of(segment.path) for name, segment in by_name.items()}
    named = {entry.sha256: entry.name for entry in document.segments}
    found = list(_list_findings(document))
    previous_sha256 = document.pruned.sha256 if document.pruned else ""
    for entry in document.segments:
        file = by_name.pop(entry.name, None)
        if file is None:
            found.append(
                Finding("missing", entry.name, "capture.json lists it, and it is not there", entry.first_seq)
            )
        else:
            digest = digests[entry.name]
            content = _Content(digest, listed_as=named.get(digest))
            found.extend(_file_findings(document, entry, file, content, previous_sha256))
        previous_sha256 = entry.sha256
    # What is left was adopted: it continued the chain of a recording that was cut off.
    found.extend(
        Finding("extra", stray.name, "capture.json does not list it; it is not read") for stray in strays
    )
    return found


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, in hex; raises UnreadableCaptureError."""
    digest = hashlib.sha256()
    try:
        with open_file(path, "") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise UnreadableCaptureError(f"can't read segment {path}: {error.strerror}") from error
    return digest.hexdigest()


def _list_findings(document: CaptureDocument) -> Iterator[Finding]:
    """Say where capture.json's list of segments contradicts itself."""
    for name, times in Counter(entry.name for entry in document.segments).items():
        if times > 1:
            yield Finding("count", name, f"capture.json lists it {times} times")
    for before, entry in zip(document.segments, document.segments[1:], strict=False):
        if entry.first_seq != before.end_seq:
            yield Finding(
                "count",
                entry.name,
                f"capture.json begins it at seq {entry.first_seq}, the one before ends at {before.end_seq}",
                entry.first_seq,
            )


def _file_findings(
    document: CaptureDocument, entry: Segment, file: SegmentFile, content: _Content, previous_sha256: str
) -> Iterator[Finding]:
    explained = _another_file(document, entry, file, content)
    if explained is not None:
        yield explained
        return
    if content.sha256 != entry.sha256:
        yield Finding(
            "edited", entry.name, "its bytes have another SHA-256 than capture.json says", entry.first_seq
        )
    if file.metadata.previous_sha256 != previous_sha256:
        yield Finding(
            "chain",
            entry.name,
            "it was written after another segment than the one before it",
            entry.first_seq,
        )
    for what, listed, own in _counts(entry, file.metadata, file.rows):
        if listed != own:
            yield Finding(
                "count", entry.name, f"capture.json says {what} {listed}, the segment {own}", entry.first_seq
            )


def _another_file(
    document: CaptureDocument, entry: Segment, file: SegmentFile, content: _Content
) -> Finding | None:
    if file.metadata.capture_id != document.capture_id:
        return Finding(
            "foreign",
            entry.name,
            f"it belongs to the capture {printable(file.metadata.capture_id)}",
            entry.first_seq,
        )
    if content.listed_as not in (None, entry.name):
        what = f"it holds what {content.listed_as} should hold"
        return Finding("swapped", entry.name, what, entry.first_seq)
    own_name = segment_name(file.metadata.first_seq)
    if own_name != entry.name:
        return Finding("swapped", entry.name, f"by its own metadata it is {own_name}", entry.first_seq)
    return None


def _counts(entry: Segment, metadata: SegmentMetadata, parquet_rows: int) -> list[tuple[str, int, int]]:
    return [
        ("first seq", entry.first_seq, metadata.first_seq),
        ("end seq", entry.end_seq, metadata.end_seq),
        ("rows", entry.rows, parquet_rows),
        ("rows by kind", entry.rows, _total(metadata.rows)),
    ]


def _total(rows: Mapping[str, int]) -> int:
    return sum(rows.values())
