"""What all commands that read a capture share: which one, and where their lines go. Knows no report."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

from linnix_rec.cli.terminal import is_terminal, wants_color, width_columns
from linnix_rec.errors import LinnixRecError, UnreadableCaptureError, UsageError

if TYPE_CHECKING:
    from linnix_rec.capture.reader import Capture
    from linnix_rec.report.ink import Ink
    from linnix_rec.report.times import Timeline

_DOCUMENT = "capture.json"
_LINES_AT_ONCE = 512

#: For the epilog of every reader's help.
CAPTURE_HELP = "Without CAPTURE, the newest *.lrec in this directory is read, and named on stderr."


class NamedPath(click.Path):
    """A path that is not empty: `Path("")` would be the directory we are in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give the path; an empty one is wrong usage."""
        if value in {"", b""}:
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


CAPTURE_PATH = NamedPath(path_type=Path, readable=False)


def open_chosen(given: Path | None) -> Capture:
    """Open the capture to read, and say on stderr which of its segments are missing."""
    from linnix_rec.capture.reader import open_capture

    capture = open_capture(chosen_capture(given))
    if lack := capture.lack():
        say(f"error: {lack}; 'linnix-rec verify' checks the rest")
    return capture


def status_of_reading(capture: Capture) -> int:
    """Give the status of having read what is there: that of an unreadable capture if a segment is not."""
    return UnreadableCaptureError.exit_status if capture.missing else 0


def chosen_capture(given: Path | None) -> Path:
    """Give the capture to read: the given one, or the newest here, which is then named on stderr."""
    if given is not None:
        return given
    found = [path for path in Path().glob("*.lrec") if path.is_dir()]
    if not found:
        raise UsageError("no CAPTURE given, and no *.lrec in this directory: name one, or record one first")
    newest = max(found, key=_when_written)
    say(f"reading {newest}, the newest capture here")
    return newest


def say(text: str) -> None:
    """Print a remark on stderr, in one line."""
    from linnix_rec.cli.ending import complain

    complain(text)


def ink_for(stream: IO[str]) -> Ink:
    """Give colours for a stream, if it is to have any."""
    from linnix_rec.report.ink import Ink

    return Ink(wants_color(stream))


def width_for(stream: IO[str]) -> int | None:
    """Give the columns that lines to a stream may take; None if it is no terminal: then nothing is cut."""
    return width_columns() if is_terminal(stream) else None


def draws_lines(stream: IO[str]) -> bool:
    """Say whether a stream's encoding holds the line-drawing characters and arrows of a tree."""
    try:
        "└⇒│├─".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write_lines(
    lines: Iterable[str], output: Path | None = None, *, line_end: str = "\n", live: bool = False
) -> None:
    """Write lines to stdout, or to a file; what stdout's encoding lacks is escaped.

    If they are `live`, each is passed on as soon as it is there, as to a terminal always.
    """
    if output is not None:
        try:
            with output.open("w", encoding="utf-8", newline="") as file:
                file.writelines(line + line_end for line in lines)
        except OSError as error:
            raise LinnixRecError(f"can't write {output}: {error.strerror}") from error
        return
    stream = stdout()
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace", newline="" if line_end != "\n" else None)
    pending = iter(lines)
    live = live or is_terminal(stream)
    while block := list(islice(pending, 1 if live else _LINES_AT_ONCE)):
        with writing_stdout():
            stream.write(line_end.join(block) + line_end)
            if live:
                stream.flush()


def timeline_of(capture: Capture) -> Timeline:
    """Give a capture's start and end; of an unfinished one, its last event is the end."""
    from linnix_rec.report.times import Timeline, microseconds_of

    started = capture.document.started
    stopped = capture.document.stopped
    ended_boot_ns = stopped.boot_ns if stopped else _last_boot_ns(capture)
    try:
        started_us = microseconds_of(started.time)
    except ValueError:
        started_us = 0
    return Timeline(started.boot_ns, ended_boot_ns, started_us)


def _last_boot_ns(capture: Capture) -> int:
    from linnix_rec.capture import columns

    last = capture.document.started.boot_ns
    first_seq = capture.segments[-1].metadata.first_seq if capture.segments else 0
    for batch in capture.batches(["boot_ns"], first_seq=first_seq):
        known = columns.int64(batch, "boot_ns")[columns.valid(batch, "boot_ns")]
        last = max(last, int(known.max(initial=last)))
    return last


def _when_written(path: Path) -> float:
    """When a capture was last written: its document is replaced with every segment."""
    try:
        return (path / _DOCUMENT).stat().st_mtime
    except OSError:
        return path.stat().st_mtime


def stdout() -> TextIO:
    """Give the stream that data goes to; raises LinnixRecError if the shell has closed it (`>&-`)."""
    if sys.stdout is None:
        raise LinnixRecError("stdout is closed")
    return sys.stdout


@contextmanager
def writing_stdout() -> Iterator[None]:
    """Name stdout in what the system refuses meanwhile; that its reader left is no error, and passed on."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LinnixRecError(f"can't write to stdout: {error.strerror or error}") from error
