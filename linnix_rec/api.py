"""Captures in a notebook: open one, and ask it for events, processes or a proof. Knows no command line.

import linnix_rec

capture = linnix_rec.open_capture("build.lrec")
capture.events(kinds=["exec"]).to_pandas()
[process for process in capture.processes() if process.ending and process.ending.failed]
capture.verify().proven
"""

import warnings
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path

import pyarrow as pa

from linnix_rec.capture import reader
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.capture.schema import WIDE_SCHEMA
from linnix_rec.errors import IncompleteCaptureWarning
from linnix_rec.proof.evidence import capture_digest, parse_digest
from linnix_rec.proof.verdict import Verdict
from linnix_rec.proof.verify import verify_capture
from linnix_rec.replay.lineage import Lineage, lineage_of
from linnix_rec.replay.rows import COLUMNS

__all__ = ["Capture", "IncompleteCaptureWarning", "open_capture"]


class Capture:
    """A capture that is open for reading; nothing of it is read before it is asked for."""

    def __init__(self, capture: reader.Capture) -> None:
        self._capture = capture

    def __repr__(self) -> str:
        return f"<linnix_rec capture {str(self.path)!r}>"

    @property
    def path(self) -> Path:
        """The capture's directory."""
        return self._capture.path

    @property
    def document(self) -> CaptureDocument:
        """What the capture says about itself: host, times, filter, the kernel's accounts."""
        return self._capture.document

    def events(
        self,
        columns: Sequence[str] | None = None,
        *,
        kinds: Collection[str] | None = None,
        first_seq: int | None = None,
        end_seq: int | None = None,
    ) -> pa.Table:
        """Give events in the kernel's order: of these kinds, from first_seq (included) to end_seq (not).

        Columns are those of `linnix_rec.capture.schema.EVENT_SCHEMA`, or of `WIDE_SCHEMA` if the capture
        has syscalls or failed execs. Raises UnreadableCaptureError.
        """
        schema = self._capture.schema
        wanted = schema if columns is None else pa.schema([WIDE_SCHEMA.field(name) for name in columns])
        batches = self._capture.batches(columns, kinds=kinds, first_seq=first_seq, end_seq=end_seq)
        return pa.Table.from_batches(list(batches), wanted).unify_dictionaries()

    def processes(self) -> Lineage:
        """Give all processes, in the order of their birth, each with its parent's and children's numbers.

        Iterate over it; `process(number)`, `roots()` and `children(number)` walk the tree. Raises
        UnreadableCaptureError.
        """
        return lineage_of(self._capture.batches(COLUMNS))

    def verify(self, expect: str | None = None) -> Verdict:
        """Check the capture against every rule. Raises UnreadableCaptureError.

        With `expect`, a digest that was noted elsewhere, also that the capture still has that one; raises
        UsageError if it is no digest.
        """
        expected = None if expect is None else parse_digest(expect)
        return verify_capture(self._capture, expected_digest=expected)

    def digest(self) -> str:
        """Give `sha256:` and 64 hex digits that commit to every byte of the capture, to be noted elsewhere.

        Raises UnreadableCaptureError.
        """
        return capture_digest(self._capture)


def open_capture(path: str | PathLike[str]) -> Capture:
    """Open the capture in the directory `path`. Raises UnreadableCaptureError.

    Should a segment that was written not be there any more, it warns (IncompleteCaptureWarning) and opens
    what is: half a capture is still evidence. `warnings.simplefilter("error", IncompleteCaptureWarning)`
    makes it raise.
    """
    opened = reader.open_capture(Path(path))
    if lack := opened.lack():
        warnings.warn(lack, IncompleteCaptureWarning, stacklevel=2)
    return Capture(opened)
