"""Tries an object on this kernel: what would the verifier say? Loads it, attaches nothing, lets it go."""

from __future__ import annotations

from collections.abc import Collection

from linnix_rec.bpf.btf import Btf
from linnix_rec.bpf.host import Requirement
from linnix_rec.bpf.load import load
from linnix_rec.bpf.spec import ObjectSpec
from linnix_rec.errors import RecordingError


def probe(spec: ObjectSpec, programs: Collection[str], kernel_btf: Btf) -> Requirement:
    """Whether the kernel takes `programs` of `spec`, as a line of the doctor."""
    name = f"{spec.name} object"
    try:
        with load(spec, programs=programs, kernel_btf=kernel_btf) as loaded:
            verified = sum(program.info().verified_instructions for program in loaded.programs.values())
    except RecordingError as error:
        return Requirement(
            name, required=True, met=False, found=str(error), advice="mend what is above first"
        )
    found = f"{len(programs)} programs accepted by the verifier"
    if verified:  # counted since Linux 5.16
        found += f", {verified} instructions looked at"
    return Requirement(name, required=True, met=True, found=found)
