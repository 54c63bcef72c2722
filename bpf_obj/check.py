"""Compares two BPF objects as the loader reads them: programs, maps, data and BTF; knows no clang.

`check.py COMMITTED REBUILT` is silent and ends with 0 when they say the same, although the files may
differ byte for byte (section order, string tables); otherwise it names what differs and ends with 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.spec import ObjectSpec


def differences(committed: ObjectSpec, rebuilt: ObjectSpec) -> Iterator[str]:
    """What the two objects disagree about, one phrase each."""
    if committed.license != rebuilt.license:
        yield "license"
    yield from _different_names("program", committed.programs, rebuilt.programs)
    yield from _different_names("map", committed.maps, rebuilt.maps)
    yield from _different_names("data section", committed.data, rebuilt.data)
    if committed.btf != rebuilt.btf:
        yield "BTF"


def _different_names(what: str, one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[str]:
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield f"{what} {name}"


def _read(path: Path) -> ObjectSpec:
    return read_object_spec(path.read_bytes(), "compared")


if __name__ == "__main__":
    committed_path, rebuilt_path = map(Path, sys.argv[1:])
    found = list(differences(_read(committed_path), _read(rebuilt_path)))
    if found:
        sys.exit(
            f"{committed_path} is not what its source gives (different: {', '.join(found)}); run make bpf,"
            " or build with the clang that made the committed one"
        )
