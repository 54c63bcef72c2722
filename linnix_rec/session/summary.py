"""The last lines of a recording: what was captured, what was lost, what to do next. Knows no BPF."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from linnix_rec.session.recording import Outcome
from linnix_rec.session.request import Request
from linnix_rec.session.status import bytes_in_words, seconds_in_words


def summary(request: Request, directory: Path, outcome: Outcome) -> Iterator[str]:
    """Lines for stderr."""
    if outcome.failure is not None:
        yield f"error: {outcome.failure}"
    laps = f", {outcome.laps:,} laps of the ring" if outcome.laps else ""
    loss = f"{outcome.lost:,} tickets lost" if outcome.lost else "nothing lost"
    yield (
        f"{outcome.events:,} events in {seconds_in_words(outcome.seconds)}, {loss}{laps};"
        f" {bytes_in_words(outcome.bytes_written)} in {directory}"
    )
    if outcome.lapped:
        yield f"the ring was too small for this load: try --ring-slots {2 * request.ring_slots}"
    if request.tree_only and outcome.live_tasks > 0:
        what = "task" if outcome.live_tasks == 1 else "tasks"
        hint = "" if request.wait else " (--wait records until the last has ended)"
        yield f"{outcome.live_tasks} {what} of the tree still live, unrecorded from here on{hint}"
    yield f"see who started whom: linnix-rec replay {shlex.quote(str(directory))}"
