"""Finds where an unfinished capture ends, for the recorder that goes on with it. Knows no event, no ring."""

from dataclasses import replace
from pathlib import Path

from linnix_rec.capture import files
from linnix_rec.capture.digest import SegmentFile, sha256_of
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, Segment
from linnix_rec.capture.reader import adopted
from linnix_rec.capture.retention import is_leftover
from linnix_rec.capture.segment import segment_name
from linnix_rec.errors import UnreadableCaptureError, UsageError


def take_up(directory: Path) -> tuple[CaptureDocument, files.Lock]:
    """Lock a capture and give its document, with the segment that its recorder had not listed yet.

    Changes nothing. Raises UsageError if the capture is not to be gone on with, and UnreadableCaptureError
    if it can't be: its last segment is not what was written.
    """
    try:
        lock = files.lock_directory(directory)
    except BlockingIOError as error:
        raise UsageError(f"{directory} is being recorded to: end that recorder first") from error
    except OSError as error:
        raise UnreadableCaptureError(f"can't open {directory}: {error.strerror}") from error
    try:
        return _whole(directory), lock
    except BaseException:
        lock.close()
        raise


def _whole(directory: Path) -> CaptureDocument:
    document = CaptureDocument.load(directory / DOCUMENT_NAME)
    if document.stopped is not None:
        raise UsageError(f"{directory} is finished: there is nothing to resume")
    if document.pin is None:
        raise UsageError(f"{directory} was not recorded with --pin: its programs ended with its recorder")
    if document.segments:
        _check_last(directory, document.segments[-1])
    return _with_unlisted(directory, document)


def _check_last(directory: Path, last: Segment) -> None:
    """Raise unless the segment that the next one will name as its predecessor is what capture.json says."""
    path = directory / last.name
    if not path.is_file():
        raise _refusal(directory, f"its last segment {last.name} is missing")
    if sha256_of(path) != last.sha256:
        raise _refusal(directory, f"its last segment {last.name} has another SHA-256 than capture.json says")


def _with_unlisted(directory: Path, document: CaptureDocument) -> CaptureDocument:
    listed = {entry.name for entry in document.segments}
    unlisted = [path for path in sorted(directory.glob("segment-*.parquet")) if path.name not in listed]
    unlisted = [path for path in unlisted if not is_leftover(path.name, document.pruned)]
    for file in adopted(document, unlisted):
        if file.metadata.first_seq != document.durable_seq or file.path.name != segment_name(
            document.durable_seq
        ):
            break
        document = replace(document, segments=(*document.segments, _entry(file)))
        unlisted.remove(file.path)
    if unlisted:  # the next segment could take its name
        raise _refusal(directory, f"{unlisted[0].name} is there, but does not go on where capture.json ends")
    return document


def _entry(file: SegmentFile) -> Segment:
    metadata = file.metadata
    return Segment(
        file.path.name,
        sha256_of(file.path),
        metadata.first_seq,
        metadata.end_seq,
        file.rows,
        file.path.stat().st_size,
        metadata.closed_boot_ns,
        sum(metadata.lost.values()),
    )


def _refusal(directory: Path, why: str) -> UnreadableCaptureError:
    return UnreadableCaptureError(
        f"can't resume {directory}: {why}; record anew, 'linnix-rec verify' says what can be read"
    )
