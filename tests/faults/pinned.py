"""A pinned ring, and its capture, looked at from outside while its recorder runs or is dead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.descriptor import Map, Program, map_info, open_pinned
from linnix_rec.bpf.object import read_object
from linnix_rec.bpf.spec import MapFlag, MapSpec, MapType
from linnix_rec.capture.document import CaptureDocument
from linnix_rec.sources.pinned import ROOM, pin_directory
from linnix_rec.sources.sequencer import OBJECT_NAME


class Tickets:
    """How many tickets a pinned ring has issued so far. Holds its counter, and nothing that is attached."""

    def __init__(self, pin: str) -> None:
        fd = open_pinned(pin_directory(pin) / "map-bss")
        spec = MapSpec(".bss", MapType.ARRAY, 4, map_info(fd).value_bytes, 1, int(MapFlag.MMAPABLE))
        variables = read_object_spec(read_object(OBJECT_NAME), OBJECT_NAME).data[".bss"].variables
        self._map = Map(fd, spec)
        self._word = np.frombuffer(self._map.map_memory(), np.uint64, 1, variables["next_ticket"].offset)

    @property
    def issued(self) -> int:
        return int(self._word[0])


@contextmanager
def run_counts(pin: str) -> Iterator[dict[str, int]]:
    """The kernel's own counts of a pinned ring's programs: filled in when the block ends, pins gone or not.

    The kernel counts only while its statistics are on.
    """
    held = {
        path.name.removeprefix("program-"): Program(open_pinned(path), path.name)
        for path in pin_directory(pin).glob("program-*")
    }
    counts: dict[str, int] = {}
    try:
        yield counts
        counts |= {name: program.info().run_count for name, program in held.items()}
    finally:
        for program in held.values():
            program.close()


def document_of(capture: Path) -> CaptureDocument:
    return CaptureDocument.load(capture / "capture.json")


def is_pinned(pin: str) -> bool:
    return (ROOM / pin).exists()


def reads(pid: int) -> bool:
    """Whether a recorder has read from its ring: it then has a segment open."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any("/segment-" in os.readlink(entry.path) for entry in entries)
    except OSError:
        return False
