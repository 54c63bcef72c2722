"""The last lines of a recording: what was captured, what was lost, what to do next. Knows no BPF."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from linnix_rec.capture.text import decode_bytes, printable
from linnix_rec.session.outcome import Outcome
from linnix_rec.session.request import Request
from linnix_rec.session.status import bytes_in_words, enough_slots, seconds_in_words


def summary(request: Request, directory: Path, outcome: Outcome) -> Iterator[str]:
    """Lines for stderr."""
    name = printable(decode_bytes(os.fsencode(directory)))
    in_time = f"in {seconds_in_words(outcome.seconds)}"
    if outcome.failure is not None:
        yield f"error: {outcome.failure}"
        yield f"{outcome.kept:,} of {outcome.events:,} events {in_time} are kept in {name}"
        if outcome.pinned:
            yield (
                f"what it lacks is in the ring of {request.ring_slots:,} slots, pinned as {request.pin!r}:"
                f" mend it, and go on with linnix-rec record --resume {shlex.quote(name)}"
            )
    else:
        laps = f", {outcome.laps:,} laps of the ring" if outcome.laps else ""
        what = {"sequencer": "tickets", "connector": "messages"}.get(request.source, "events")
        loss = f"{outcome.lost:,} {what} lost" if outcome.lost else "nothing lost"
        shed = f", {outcome.shed:,} syscalls shed" if outcome.shed else ""
        size = bytes_in_words(outcome.bytes_written)
        yield f"{outcome.events:,} events {in_time}, {loss}{shed}{laps}; {size} in {name}"
    if outcome.largest_lap:
        enough = enough_slots(request.ring_slots, outcome.largest_lap)
        yield f"the ring was too small for this load: try --ring-slots {enough}"
    if outcome.shed:
        yield "syscalls gave way to what processes do: try a larger --ring-slots, or fewer of them by name"
    if outcome.lost and request.source != "sequencer":
        yield "its buffer was too small for this load: try a larger --size, or --source sequencer"
    if request.tree_only and outcome.live_tasks > 0:
        what = "task" if outcome.live_tasks == 1 else "tasks"
        waitable = outcome.stopped.reason in ("command", "pid")
        hint = " (--wait records until the last has ended)" if waitable else ""
        yield f"{outcome.live_tasks} {what} of the tree still live, unrecorded from here on{hint}"
    if outcome.kept:
        yield f"see who started whom: linnix-rec replay {shlex.quote(name)}"
