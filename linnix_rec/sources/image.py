"""A sequencer's ring as an image: copied from the kernel, or read from a file. Knows no capture's files."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.bpf.btf import Btf
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.schema import EXEC, FAILED_EXEC, KINDS
from linnix_rec.errors import LinnixRecError, UnreadableCaptureError
from linnix_rec.ring.cursor import SPAN_MAX, Gap, Slots
from linnix_rec.ring.image import RingImage
from linnix_rec.ring.raw import SLOT_BYTES, RawImage
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.sequencer import OBJECT_NAME

_READ_TICKETS = 1 << 14
#: A hole is an event that was given up, which a load of 160,000 events on a ring of 2 slots made one of. Each
#: costs some 300 microseconds to read around.
HOLES_MAX = 1 << 11

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Begin:
    """The first event of an image; None of both if there is none. `boot_ns` is its time."""

    seq: int
    boot_ns: int | None


def image_of(raw: RawImage, name: str) -> RingImage:
    """The ring in a raw image, laid out as its BTF says; raises UnreadableCaptureError.

    Nothing in it is believed: a slot that no producer could have left makes the whole image unreadable.
    """
    try:
        layout = struct_dtype(Btf(raw.btf, name), "slot")
    except LinnixRecError as error:
        raise UnreadableCaptureError(
            f"{name} is damaged: how its slots are laid out can't be read"
        ) from error
    if layout.itemsize != SLOT_BYTES or not _has_fields_of(layout, slot_layout()):
        raise UnreadableCaptureError(f"{name} is damaged: its slots are not laid out as linnix-rec's")
    image = RingImage(raw.slots.view(layout), raw.log, raw.first_seq, raw.end_seq)
    if _holes(image) > HOLES_MAX:
        raise UnreadableCaptureError(f"{name} is damaged: it has more holes than a ring can")
    wrong = _first_impossible(image)
    if wrong is not None:
        raise UnreadableCaptureError(
            f"{name} is damaged: no producer leaves a slot as that of ticket {wrong}"
        )
    return image


def _holes(image: RingImage) -> int:
    ready = image.ready()[1]
    return int(np.count_nonzero(ready[:-1] & ~ready[1:]))


@cache
def slot_layout() -> np.dtype[Any]:
    """The slot's layout in the object that ships with this program."""
    return struct_dtype(read_object_spec(read_object(OBJECT_NAME), OBJECT_NAME).btf, "slot")


def _has_fields_of(layout: np.dtype[Any], ours: np.dtype[Any]) -> bool:
    """Whether all of our fields are there, with our types; a later version may have moved them."""
    if layout.fields is None or ours.fields is None:
        return layout == ours
    theirs = layout.fields
    return all(
        name in theirs and _has_fields_of(theirs[name][0], ours.fields[name][0]) for name in ours.fields
    )


def _first_impossible(image: RingImage) -> int | None:
    """The first ticket whose ready slot contradicts itself or its neighbours; None if none does."""
    tickets, ready = image.ready()
    slots = image.slots
    order = (tickets & np.uint64(len(slots) - 1)).astype(np.int64)
    kind, span, index = (slots[name][order].astype(np.int16) for name in ("kind", "span", "index"))
    possible = (kind >= 1) & (kind < len(KINDS)) & (span >= 1) & (span <= SPAN_MAX) & (index < span)
    has_text = (kind == EXEC) | (kind == FAILED_EXEC)
    possible &= has_text | (span == 1)
    possible &= ~(ready & has_text & (index == 0)) | _texts_fit(slots, order, span)
    after = ready[1:] & ready[:-1]
    goes_on = (index[1:] == index[:-1] + 1) & (span[1:] == span[:-1]) & (kind[1:] == kind[:-1])
    begins = (index[1:] == 0) & (index[:-1] + 1 == span[:-1])
    possible[1:] &= ~after | goes_on | begins
    wrong = np.flatnonzero(ready & ~possible)
    return int(tickets[wrong[0]]) if wrong.size else None


def _texts_fit(
    slots: Slots, order: npt.NDArray[np.int64], span: npt.NDArray[np.int16]
) -> npt.NDArray[np.bool_]:
    """Whether an exec's texts fit the slots that it says it has; (n,), of use at the first slots of such."""
    exec_ = slots["exec"]
    head_room, slot_room = exec_["text"].shape[1], slots["text"].shape[1]
    filename_bytes = exec_["filename_bytes"][order].astype(np.int64)
    argv_bytes = exec_["argv_bytes"][order].astype(np.int64)
    filename_slots = 1 + -(-np.maximum(filename_bytes - head_room, 0) // slot_room)
    fits: npt.NDArray[np.bool_] = filename_slots + -(-argv_bytes // slot_room) <= span
    return fits


def begin_of(image: RingImage) -> Begin:
    """Where an image begins."""
    seq = image.first_event()
    slot = image.slots[seq & (len(image.slots) - 1)]
    ready = seq < image.end_seq and int(slot["stamp"]) == 2 * seq + 2
    return Begin(seq, int(slot["boot_ns"]) if ready else None)


def cgroup_ids(image: RingImage) -> list[int]:
    """The ids of the cgroups in an image's events."""
    heads = image.slots["index"] == 0
    return [int(cgroup_id) for cgroup_id in np.unique(image.slots["cgroup_id"][heads]) if cgroup_id]


def image_batches(image: RingImage, decoder: Decoder) -> Iterator[pa.RecordBatch]:
    """All that an image holds, in order."""
    cursor = image.cursor()
    while cursor.lag:
        for piece in cursor.read(_READ_TICKETS, final=True):
            yield decoder.gap_batch(piece) if isinstance(piece, Gap) else decoder.batch(piece)
    for piece in cursor.read(_READ_TICKETS, final=True):  # a gap that was held back
        assert isinstance(piece, Gap)
        yield decoder.gap_batch(piece)
