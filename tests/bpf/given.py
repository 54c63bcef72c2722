"""The object files that the tests of this room read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.object import read_object
from linnix_rec.bpf.spec import ObjectSpec

FEATURES = Path(__file__).parent / "objects" / "features.bpf.o"


@cache
def features() -> ObjectSpec:
    """An object that uses each feature of object files once; see objects/features.bpf.c."""
    return read_object_spec(FEATURES.read_bytes(), "features")


@cache
def sequencer() -> ObjectSpec:
    """The shipped object."""
    return read_object_spec(read_object("sequencer"), "sequencer")
