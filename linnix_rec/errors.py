"""The mistakes and refusals a person at the prompt can meet; knows no room, every room may raise them.

Each error is one line: what failed, why, and what to do about it. `linnix_rec.cli` catches the base
class in one place, prints the line and ends with `exit_status`.
"""


class LinnixRecError(Exception):
    """Base of all errors meant for the person at the prompt; `exit_status` is the process's."""

    exit_status = 1


class UsageError(LinnixRecError):
    """The request itself can't be carried out as put (a bad ring size, an output that exists)."""

    exit_status = 2


class UnreadableCaptureError(LinnixRecError):
    """A file or directory is not a capture, or is damaged beyond reading."""

    exit_status = 3


class IncompleteCaptureWarning(UserWarning):
    """A capture that is read lacks a part that was written; what is there can still be looked at."""


class RecordingError(LinnixRecError):
    """Recording can't start, or can't go on, on this host (no BTF, no capability, disk full)."""

    exit_status = 125
