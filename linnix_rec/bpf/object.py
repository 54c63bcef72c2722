"""Finds the precompiled BPF objects that ship with this package; does not look into them."""

from __future__ import annotations

from pathlib import Path

from linnix_rec.errors import RecordingError

_SHIPPED = Path(__file__).parent / "objects"
_CHECKOUT = Path(__file__).parents[2] / "bpf_obj"


def object_path(name: str) -> Path:
    """Where the object `name` is: in the installed package, else beside the package in a checkout."""
    file_name = f"{name}.bpf.o"
    for folder in (_SHIPPED, _CHECKOUT):
        if (folder / file_name).is_file():
            return folder / file_name
    raise RecordingError(
        f"the BPF object {file_name} is missing from this installation; install it again, or run `make bpf`"
    )


def read_object(name: str) -> bytes:
    """The bytes of the object `name`, for example "sequencer"."""
    return object_path(name).read_bytes()
