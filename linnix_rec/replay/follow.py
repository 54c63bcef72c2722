"""A capture's events as they are recorded: what is there, then each new segment. Knows no kind of event."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from linnix_rec.capture import columns as views
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument
from linnix_rec.capture.files import is_written_to
from linnix_rec.capture.reader import open_capture


def follow(
    path: Path,
    columns: Sequence[str] | None,
    wait: Callable[[], object],
    passed_over: Callable[[int, int], object],
    abandoned: Callable[[CaptureDocument], object],
    *,
    first_seq: int | None = None,
    end_seq: int | None = None,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Give batches (`columns` must hold seq) until the recording has stopped; `wait` pauses between looks.

    `passed_over` is called with a range of tickets that retention removed before they could be given, and
    `abandoned` at the end if the recording has not stopped, and yet nobody writes: its recorder died. Where
    directories have no locks (Windows) that can't be told, and there is no end.

    Raises UnreadableCaptureError.
    """
    next_seq = first_seq or 0
    seen = ""
    while True:
        # capture.json is replaced after each segment, and says that it stopped only when all are there.
        state = _state_of(path / DOCUMENT_NAME)
        if state != seen:
            seen = state
            capture = open_capture(path)
            if 0 < next_seq < capture.document.kept_from_seq:
                passed_over(next_seq, capture.document.kept_from_seq)
            for batch in capture.batches(columns, first_seq=next_seq, end_seq=end_seq, batch_rows=batch_rows):
                next_seq = int(views.uint64(batch, "seq")[-1]) + 1
                yield batch
            if capture.segments and end_seq is None:  # the last row may have taken more than one ticket
                next_seq = max(next_seq, capture.segments[-1].metadata.end_seq)
            if capture.document.stopped or (end_seq is not None and next_seq >= end_seq):
                return
        # A writer has the lock before its first capture.json, and until after its last.
        elif not is_written_to(path) and _state_of(path / DOCUMENT_NAME) == seen:
            abandoned(capture.document)
            return
        else:
            wait()


def _state_of(document: Path) -> str:
    try:
        status = document.stat()
    except OSError:
        return "gone"  # opening it says why
    return f"{status.st_mtime_ns} {status.st_ino} {status.st_size}"
