"""Whenever power fails, a readable capture is left that holds all that its writer had called durable.

The writer's file operations are recorded, with retention on and over a crash and a resume; then every
state that any prefix of them can leave on a disk is looked at (tests/faults/disk.py), and gone on from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnix_rec.capture.document import Resumption, Stopped
from linnix_rec.capture.reader import Capture, open_capture
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import LinnixRecError
from tests.faults.disk import Log, Operation, State, crashes
from tests.story import Story, document

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads files through /proc")

LATER = Resumption("2026-09-21T14:16:00Z", 4, seq=0)
STOPPED = Stopped("signal", "SIGTERM", "2026-09-21T14:17:00Z", 5)
KEEP_BYTES = 50_000  # three segments


def events() -> Story:
    """Forks, spans of several slots, exits, and gaps of both kinds: 40 rows."""
    story = Story()
    shell = story.task(100)
    for number in range(12):
        child = story.fork(shell, 101 + number)
        story.exec(child, "/bin/true", slots=1 + number % 3)
        story.exit(child)
        if number % 4 == 1:
            story.gap(lost=10 + number, reason="lapped" if number % 8 == 1 else "abandoned")
    return story


STORY = events()
BATCH = STORY.batch()
SEQS: list[int] = BATCH["seq"].to_pylist()
END_SEQ = STORY._next_seq


def rest(seq: int) -> int:
    """The row at which a ticket begins; all rows are behind END_SEQ."""
    return SEQS.index(seq) if seq < END_SEQ else len(SEQS)


def recorded(path: Path) -> list[Operation]:
    """What a writer does, another that resumes after its death, and a third to the end."""
    prepare_directory(path, force=False)
    log = Log(path)
    with pytest.MonkeyPatch.context() as patch:
        log.watch(patch)
        begun = replace(document(), pin="ci")
        writer = CaptureWriter(path, begun, segment_rows=4, segment_seconds=3600, keep_bytes=KEEP_BYTES)
        for last_row in (18, 30, len(SEQS)):
            for row in range(rest(writer.durable_seq), last_row):
                writer.write(BATCH.slice(row, 1))
                log.claim(writer.document.kept_from_seq, writer.durable_seq)
            if last_row < len(SEQS):
                writer.abandon()
                writer = resume(path)
        writer.close(STOPPED, None)
        log.claim(writer.document.kept_from_seq, writer.durable_seq)
    assert writer.document.pruned is not None
    assert writer.document.pruned.segments == 7
    return log.operations


def resume(path: Path, segment_rows: int = 4) -> CaptureWriter:
    return CaptureWriter.resume(
        path, LATER, segment_rows=segment_rows, segment_seconds=3600, keep_bytes=KEEP_BYTES
    )


def make(path: Path, state: State) -> None:
    path.mkdir()
    for name, content in state:
        (path / name).write_bytes(content)


def harm(path: Path, claim: tuple[int, int]) -> str:
    """What is wrong with the capture that a power cut left, and with what a later recorder makes of it."""
    kept_from, durable = claim
    if not (path / "capture.json").exists():
        return "there is no capture.json any more" if durable else ""
    try:
        wrong = _wrong(open_capture(path), kept_from, durable)
        if wrong or open_capture(path).document.stopped is not None:
            return wrong
        writer = resume(path, segment_rows=1000)
        writer.write(BATCH.slice(rest(writer.durable_seq)))
        written = writer.close(STOPPED, None)
        left = sorted(entry.name for entry in path.iterdir())
        if left != sorted(["capture.json", *(entry.name for entry in written.segments)]):
            return f"a later recorder leaves {left}"
        return _wrong(open_capture(path), written.kept_from_seq, END_SEQ)
    except LinnixRecError as error:
        return str(error)


def _wrong(capture: Capture, kept_from: int, durable: int) -> str:
    if findings := capture.findings():
        return str(findings)
    if lack := capture.lack():
        return lack
    first_seq = capture.document.kept_from_seq
    batches = list(capture.batches(["seq"]))
    seqs: list[int] = (
        np.concatenate([batch["seq"].to_numpy() for batch in batches]).tolist() if batches else []
    )
    if seqs != SEQS[rest(first_seq) : rest(first_seq) + len(seqs)]:
        return f"rows {seqs} are no run from {first_seq}"
    end_seq = max((segment.metadata.end_seq for segment in capture.segments), default=first_seq)
    if end_seq < durable:
        return f"it ends before {end_seq}, all before {durable} was said to be durable"
    pruned = capture.document.pruned
    if pruned is None:
        return ""
    if pruned.event_tickets + sum(pruned.lost.values()) != pruned.end_seq:
        return f"{pruned} does not add up"
    if sum(pruned.rows.values()) != rest(pruned.end_seq):
        return f"{pruned} has not all rows"
    return "" if first_seq >= kept_from else f"it begins at {first_seq}, and {kept_from} had been reached"


def harms(
    operations: Sequence[Operation], room: Path, *, stop_at: int | None = None
) -> tuple[int, list[str]]:
    """How many different states there are, and what is wrong with some; ends early after `stop_at`."""
    seen: dict[State, tuple[int, int]] = {}
    found: list[str] = []
    for claim, state in crashes(operations):
        # The same state may come again under a higher claim; it must bear that one too.
        if seen.get(state) == claim:
            continue
        seen[state] = claim
        path = room / f"{len(seen)}-{claim[1]}.lrec"
        make(path, state)
        if wrong := harm(path, claim):
            found.append(wrong)
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        if stop_at is not None and len(found) >= stop_at:
            break
    return len(seen), found


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced for real: the model says what would have been."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.usefixtures("quick_disk")
def test_after_a_power_cut_at_any_moment_nothing_durable_is_lost_and_recording_goes_on(
    tmp_path: Path,
) -> None:
    operations = recorded(tmp_path / "whole.lrec")
    states, found = harms(operations, tmp_path)
    assert found == []
    assert states > 150


def without(kind: str) -> Callable[[Sequence[Operation]], list[Operation]]:
    return lambda operations: [step for step in operations if step.kind != kind]


def removing_first(operations: Sequence[Operation]) -> list[Operation]:
    """Segments are removed just before capture.json is replaced, not after."""
    turned = list(operations)
    for at, step in enumerate(operations):
        if step.kind == "remove" and step.name.endswith(".parquet"):
            turned.pop(at)
            before = max(
                place
                for place, other in enumerate(turned[:at])
                if (other.kind, other.to) == ("rename", "capture.json")
            )
            turned.insert(before, step)
    return turned


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(without("sync"), id="files not synced"),
        pytest.param(without("sync_directory"), id="names not synced"),
        pytest.param(removing_first, id="removed before capture.json says so"),
    ],
)
def test_a_writer_that_syncs_less_or_removes_too_early_is_found_out(
    tmp_path: Path, mistake: Callable[[Sequence[Operation]], list[Operation]]
) -> None:
    operations = mistake(recorded(tmp_path / "whole.lrec"))
    _, found = harms(operations, tmp_path, stop_at=1)
    assert found != []
