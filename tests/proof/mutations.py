"""Faults put into a valid capture, each of which exactly one rule can catch.

A mutation takes a valid capture's rows (dicts, as `rows_of_capture` gives them) and returns the faulty
rows with the rule and the seq that must be named. Rows are renumbered, so that `sequence` holds, and
`write_mutated` writes them as a capture whose hashes and accounts agree with them.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from linnix_rec.capture.document import DOCUMENT_NAME, Accounts, CaptureDocument, Listing, Stopped
from linnix_rec.capture.reader import Capture, open_capture
from tests.proof.histories import renumbered
from tests.story import Story, write_capture

Row = dict[str, Any]
Identity = tuple[int, int]


@dataclass(frozen=True)
class Mutated:
    """Faulty rows, the rule that must be broken, and the seq of its first offence."""

    rows: list[Row]
    rule: str
    seq: int


def rows_of_capture(path: Path) -> list[Row]:
    """Give all rows of a capture, which know where the listings are, so that they may be moved."""
    capture = open_capture(path)
    rows = [row for batch in capture.batches() for row in batch.to_pylist()]
    for number, listing in enumerate(capture.document.listings):
        for row in rows:
            if listing.first_seq <= row["seq"] < listing.end_seq:
                row["listing"] = number
            row["listings_before"] = row.get("listings_before", 0) + (row["seq"] >= listing.end_seq)
    return rows


def write_mutated(
    directory: Path, original: Path, rows: list[Row], rows_per_segment: int | None = None
) -> Path:
    """Write rows as a capture of its own that began as `original` did."""
    begun = open_capture(original).document
    names = ("started", "host", "filter", "ring_slots", "ordered", "source")
    kept = {name: getattr(begun, name) for name in names}
    kept["listings"] = tuple(
        replace(listing, first_seq=first_seq, end_seq=end_seq)
        for listing, (first_seq, end_seq) in zip(begun.listings, _ranges(begun.listings, rows), strict=True)
    )
    return write_capture(directory, rows, rows_per_segment=rows_per_segment, **kept)


def _ranges(listings: Sequence[Listing], rows: list[Row]) -> Iterator[tuple[int, int]]:
    """Give where each listing's rows are now; one without rows stays before what followed it."""
    for number, listing in enumerate(listings):
        own = [row["seq"] for row in rows if row.get("listing") == number]
        after = [row["seq"] for row in rows if _is_after(row, number, listing)]
        end = max((row["seq"] + max(row["slots"], row["lost"] or 0) for row in rows), default=0)
        yield (min(own), max(own) + 1) if own else (min(after, default=end),) * 2


def _is_after(row: Row, number: int, listing: Listing) -> bool:
    before = row.get("listings_before")
    return bool(row["seq"] >= listing.first_seq if before is None else before > number)


def dumped_capture(directory: Path, story: Story, stopped: Stopped) -> Path:
    """Write a story as a dump: its counters were read while the programs ran on, and it ends so."""
    path = write_capture(directory, story)
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    assert document.accounts is not None
    accounts = replace(document.accounts, running=True, issued=document.accounts.issued + 5)
    (path / DOCUMENT_NAME).write_bytes(replace(document, accounts=accounts, stopped=stopped).dump())
    return path


# ---- Rows -------------------------------------------------------------------------------------------------


def ticket_skipped(rows: list[Row]) -> Mutated:
    """From the middle on, every ticket is one higher."""
    at = len(rows) // 2
    later = [{**row, "seq": row["seq"] + 1} for row in rows[at:]]
    return Mutated([*rows[:at], *later], "sequence", later[0]["seq"])


def neighbours_swapped(rows: list[Row]) -> Mutated:
    """Two rows of unrelated tasks change places and keep their tickets."""
    for at, (one, other) in enumerate(itertools.pairwise(rows)):
        if not _involved(one) & _involved(other):
            return Mutated([*rows[:at], other, one, *rows[at + 2 :]], "sequence", one["seq"])
    raise LookupError("no two neighbours of unrelated tasks")


def birth_moved_behind_first_act(rows: list[Row]) -> Mutated:
    """A fork stands behind the first row of its child."""
    for birth, acts in _born_and_acting(rows):
        forker = (rows[birth]["tid"], rows[birth]["start_ns"])
        if all(rows[at]["kind"] != "exit" or _actor(rows[at]) != forker for at in range(birth, acts[0])):
            moved = [*rows[:birth], *rows[birth + 1 : acts[0] + 1], rows[birth], *rows[acts[0] + 1 :]]
            return _mutated(moved, "birth", acts[0] - 1)
    raise LookupError("no child that acts before its parent's end")


def birth_dropped(rows: list[Row]) -> Mutated:
    """A fork is not there."""
    for birth, acts in _born_and_acting(rows):
        return _mutated([*rows[:birth], *rows[birth + 1 :]], "birth", acts[0] - 1)
    raise LookupError("no child that acts")


def exit_moved_before_exec(rows: list[Row]) -> Mutated:
    """A process execs after its exit."""
    return _exit_moved_before(rows, "exec", "death")


def exit_moved_before_fork(rows: list[Row]) -> Mutated:
    """A process forks after its exit."""
    return _exit_moved_before(rows, "fork", "parent")


def birth_doubled(rows: list[Row]) -> Mutated:
    """A fork stands twice."""
    for birth, _ in _born_and_acting(rows):
        return _mutated([*rows[: birth + 1], *rows[birth:]], "once", birth + 1)
    raise LookupError("no child that acts")


def exit_doubled(rows: list[Row]) -> Mutated:
    """An exit stands twice."""
    for acts in _whole_lives(rows):
        return _mutated([*rows[: acts[-1] + 1], *rows[acts[-1] :]], "once", acts[-1] + 1)
    raise LookupError("no process with one exit")


def exit_dropped(rows: list[Row]) -> Mutated:
    """The exit of a process that was born here is not there, before the last listing, which may be empty."""
    try:
        end = _last_listing(rows)[0]
    except LookupError:
        end = len(rows)
    for acts in _whole_lives(rows):
        if acts[-1] < end and _actor(rows[acts[-1]]) in _born(rows):
            dropped = [*rows[: acts[-1]], *rows[acts[-1] + 1 :]]
            return _mutated(dropped, "alive", min(end, len(dropped)) - 1)
    raise LookupError("no process that ended")


def listed_row_dropped(rows: list[Row]) -> Mutated:
    """A task that lives is not in the last listing."""
    listed = _last_listing(rows)
    for at in listed[1:]:
        if rows[at]["kind"] == "task" and _lives_on(rows, at):
            return _mutated([*rows[:at], *rows[at + 1 :]], "alive", listed[0])
    raise LookupError("no listed task of whom more is known")


def dead_task_listed(rows: list[Row]) -> Mutated:
    """A task that has exited is in the last listing as one that runs."""
    listed = _last_listing(rows)
    template = next(rows[at] for at in listed if rows[at]["kind"] == "task")
    for acts in _whole_lives(rows):
        if acts[-1] < listed[0]:
            names = {name: rows[acts[-1]][name] for name in ("tid", "tgid", "start_ns", "comm")}
            added = {**template, **names, "exit_state": 0, "task_flags": 0}
            return _mutated([*rows[: listed[-1]], added, *rows[listed[-1] :]], "alive", listed[-1])
    raise LookupError("no process that ended")


#: Each gives rows with one fault; all raise LookupError if the rows give no occasion.
ROW_MUTATIONS: Final[Mapping[str, Callable[[list[Row]], Mutated]]] = {
    mutation.__name__: mutation
    for mutation in (
        ticket_skipped, neighbours_swapped, birth_moved_behind_first_act, birth_dropped,
        exit_moved_before_exec, exit_moved_before_fork, birth_doubled, exit_doubled,
    )
}  # fmt: skip

#: The same, of captures with a listing at the end in which somebody lives.
LISTING_MUTATIONS: Final[Mapping[str, Callable[[list[Row]], Mutated]]] = {
    mutation.__name__: mutation for mutation in (exit_dropped, listed_row_dropped, dead_task_listed)
}


# ---- Files and accounts -----------------------------------------------------------------------------------


def segment_rewritten(capture: Path) -> int:
    """Write a segment anew with the same rows and metadata; gives the seq that `digest` must name."""
    segment = open_capture(capture).segments[-1]
    with pq.ParquetFile(segment.path) as file:
        table, keys = file.read(), file.metadata.metadata
    with pq.ParquetWriter(segment.path, table.schema, compression="zstd", compression_level=9) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: value for key, value in keys.items() if key != b"ARROW:schema"})
    return segment.metadata.first_seq


def accounts_changed(capture: Path, change: Callable[[Accounts], Accounts]) -> None:
    """Make the kernel's counters in capture.json disagree with the rows."""
    path = capture / DOCUMENT_NAME
    document = CaptureDocument.load(path)
    assert document.accounts is not None
    path.write_bytes(replace(document, accounts=change(document.accounts)).dump())


def end_seq(capture: Capture) -> int:
    """Give one past the last ticket, where `account` reports."""
    return capture.segments[-1].metadata.end_seq


# ---- Finding an occasion ----------------------------------------------------------------------------------


def _mutated(rows: list[Row], rule: str, at: int) -> Mutated:
    numbered = renumbered(rows)
    return Mutated(numbered, rule, numbered[at]["seq"])


def _actor(row: Row) -> Identity:
    return row["tid"], row["start_ns"]


def _involved(row: Row) -> set[object]:
    if row["kind"] == "gap":
        return {"anybody"}
    # By process: a takeover concerns more than one thread.
    return {"anybody", row["tgid"], row.get("child_tgid")} - {None, "anybody"}


def _acts_by_identity(rows: list[Row]) -> dict[Identity, list[int]]:
    acts: dict[Identity, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row["kind"] in ("fork", "exec", "exit"):
            acts[_actor(row)].append(at)
    return acts


def _born_and_acting(rows: list[Row]) -> Iterator[tuple[int, list[int]]]:
    """Give each fork's row number with those of the child's own rows, if it has some."""
    acts = _acts_by_identity(rows)
    for at, row in enumerate(rows):
        if row["kind"] == "fork":
            own = acts.get((row["child_tid"], row["child_start_ns"]))
            if own:
                yield at, own


def _whole_lives(rows: list[Row]) -> Iterator[list[int]]:
    """Give the row numbers of each process leader that exits once, as the last thread."""
    for acts in _acts_by_identity(rows).values():
        last = rows[acts[-1]]
        exits = [at for at in acts if rows[at]["kind"] == "exit"]
        if exits == acts[-1:] and last["last_thread"] and last["tid"] == last["tgid"]:
            yield acts


def _last_listing(rows: list[Row]) -> list[int]:
    """Give the row numbers of the last listing."""
    last = max((row["listing"] for row in rows if "listing" in row), default=0)
    numbers = [at for at, row in enumerate(rows) if row.get("listing") == last]
    if last == 0 or not numbers:
        raise LookupError("no listing at the end, or nobody in it")
    return numbers


def _born(rows: list[Row]) -> set[Identity]:
    return {(row["child_tid"], row["child_start_ns"]) for row in rows if row["kind"] == "fork"}


def _lives_on(rows: list[Row], at: int) -> bool:
    """Say whether a listed process leader was there before the listing, and does not exit."""
    task = _actor(rows[at])
    before = [row for row in rows[:at] if row["kind"] != "gap"]
    known = task in _born(before) or any(row["kind"] == "task" and _actor(row) == task for row in before)
    exits = any(row["kind"] == "exit" and _actor(row) == task for row in rows)
    return known and not exits and rows[at]["tid"] == rows[at]["tgid"] and rows[at]["exit_state"] == 0


def _exit_moved_before(rows: list[Row], kind: str, rule: str) -> Mutated:
    for acts in _whole_lives(rows):
        if len(acts) >= 2 and rows[acts[-2]]["kind"] == kind:
            before, end = acts[-2], acts[-1]
            moved = [*rows[:before], rows[end], *rows[before:end], *rows[end + 1 :]]
            return _mutated(moved, rule, before + 1)
    raise LookupError(f"no process whose last row but its exit is {kind}")
