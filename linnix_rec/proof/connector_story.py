"""Gathers what a capture and its connector's messages tell of the threads that disagree; judges nothing."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture import columns
from linnix_rec.capture.connector_reader import MessageFile
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.schema import EXEC, EXIT, FORK, GAP, KIND_CODES, TASK
from linnix_rec.proof.connector_judging import Event, Story, Window
from linnix_rec.proof.connector_matching import Key, Keys, side_of, unpacked

BATCH_ROWS: Final = 1 << 16
#: So many rows, of each side, are held in memory.
STORY_ROWS: Final = 1 << 18

#: Thread ids are below this (PID_MAX_LIMIT); a larger one shares a place, which only costs a closer look.
TIDS: Final = 1 << 22
_PF_EXITING: Final = 0x4
_TOLD: Final = (
    "kind", "seq", "boot_ns", "tid", "tgid", "child_tid", "child_tgid", "old_tid", "exit_state", "task_flags",
)  # fmt: skip

Tids = NDArray[np.bool_]


def members_of(capture: Capture) -> Tids:
    """Say which thread ids, as places, a capture names at all: of a tree, no other message is about it."""
    members = np.zeros(TIDS, np.bool_)
    for batch in capture.batches(("kind", "tid", "child_tid"), batch_rows=BATCH_ROWS):
        kind = columns.kind_codes(batch)
        members[columns.int32(batch, "tid")[kind != GAP] % TIDS] = True
        members[columns.int32(batch, "child_tid")[kind == FORK] % TIDS] = True
    return members


def gather(
    capture: Capture, messages: MessageFile, keys: Keys, window: Window, tree_only: bool
) -> Story | None:
    """Tell the story of the threads that `keys` are about; None if it is too long for memory."""
    story = Story(window, tree_only)
    wanted = set(unpacked(keys))
    tids = np.zeros(TIDS, np.bool_)
    tids[[key.tid % TIDS for key in wanted] + [key.tgid % TIDS for key in wanted]] = True
    if not _hear(story, messages, wanted, tids) or not _read(story, capture, wanted, tids):
        return None
    for life in story.lives.values():
        life.settle()
    return story


def _hear(story: Story, messages: MessageFile, wanted: set[Key], tids: Tids) -> bool:
    """Add messages; of a tree, those who may have forked are added to `tids`. False if there are too many."""
    told = 0
    for batch in messages.batches():
        side = side_of(batch, columns.uint8(batch, "kind"))
        at = np.flatnonzero(tids[side.tid % TIDS])
        told += len(at)
        if told > STORY_ROWS:
            return False
        for key, boot_ns, actor in zip(
            unpacked(side.keys[at]), side.boot_ns[at].tolist(), side.actor_tid[at].tolist(), strict=True
        ):
            if key.kind == FORK:
                story.lives[key.tid].announced.append(boot_ns)
            if key in wanted:
                story.messages[key].append(Event(boot_ns, -1, actor))
                if story.tree_only and key.kind == FORK:
                    tids[actor % TIDS] = True
    return True


def _read(story: Story, capture: Capture, wanted: set[Key], tids: Tids) -> bool:
    """Add the capture's events; False if there are too many."""
    told = 0
    for batch in capture.batches(_TOLD, batch_rows=BATCH_ROWS):
        kind = columns.kind_codes(batch)
        near = tids[columns.int32(batch, "tid") % TIDS] & (kind != GAP)
        near |= tids[columns.int32(batch, "child_tid") % TIDS] & (kind == FORK)
        at = np.flatnonzero(near)
        told += len(at)
        if told > STORY_ROWS:
            return False
        for row in batch.take(pa.array(at)).to_pylist() if len(at) else ():
            _add(story, row, wanted)
    return True


def _add(story: Story, row: Mapping[str, Any], wanted: set[Key]) -> None:
    kind, at = KIND_CODES.get(row["kind"], GAP), row["boot_ns"]
    who = (row["child_tid"], row["child_tgid"]) if kind == FORK else (row["tid"], row["tgid"])
    if kind == GAP or at is None or row["tid"] is None or None in who:
        return  # no recorder of ours leaves these out
    key, actor = Key(kind, *who), story.lives[row["tid"]]
    if key in wanted:
        story.events[key].append(Event(at, row["seq"], row["tid"]))
    if kind == TASK:
        if not (row["task_flags"] or 0) & _PF_EXITING:
            actor.alive.append(at)
        elif not row["exit_state"]:
            actor.exiting.append(at)
    elif kind == EXIT:
        actor.ended.append(at)
    else:
        for life in (actor, story.lives[key.tid]) if kind == FORK else (actor,):
            life.active.append(at)
            life.alive.append(at)
    if kind == EXEC and row["old_tid"] not in (None, row["tid"]):
        story.lives[row["old_tid"]].ended.append(at)
        story.takeovers.add((row["old_tid"], row["tgid"]))
