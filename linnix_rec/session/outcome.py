"""What a recording came to, and what its capture held before. Knows no source and no writer."""

from dataclasses import dataclass

from linnix_rec.capture.document import CaptureDocument, Stopped
from linnix_rec.errors import LinnixRecError


@dataclass(frozen=True)
class Outcome:
    """What a recording came to. `failure` is what ended it early, already closed behind it.

    events, kept: rows read from the ring by this and earlier recorders, rows in closed segments
    lost: tickets that stand in gaps; largest_lap is the longest gap of tickets that were lapped
    shed: syscalls and failed execs that took no ticket, as the reader was half a ring behind
    pinned: what the capture lacks is in the ring still, for a later recorder
    """

    stopped: Stopped
    seconds: float
    events: int
    kept: int
    lost: int
    largest_lap: int
    laps: int
    live_tasks: int
    bytes_written: int
    failure: LinnixRecError | None
    pinned: bool
    shed: int = 0


@dataclass(frozen=True)
class Held:
    """What earlier recorders have put into a capture: rows, and tickets in gaps."""

    events: int
    lost: int


def held_by(document: CaptureDocument) -> Held:
    pruned = document.pruned
    return Held(
        sum(segment.rows for segment in document.segments) + (sum(pruned.rows.values()) if pruned else 0),
        sum(segment.lost for segment in document.segments) + (sum(pruned.lost.values()) if pruned else 0),
    )
