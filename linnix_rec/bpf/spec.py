"""What a BPF object file says, before any kernel has seen it; the same on every machine.

Nothing here is opened, loaded or relocated. `linnix_rec.bpf.load` turns it into a loaded object.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from linnix_rec.bpf.btf import Btf


class MapType(enum.IntEnum):
    """`enum bpf_map_type`, as far as objects of this project use it."""

    HASH = 1
    ARRAY = 2
    PERF_EVENT_ARRAY = 4
    PERCPU_ARRAY = 6
    RINGBUF = 27
    TASK_STORAGE = 29


class MapFlag(enum.IntFlag):
    """`BPF_F_*` flags of BPF_MAP_CREATE."""

    NO_PREALLOC = 1 << 0
    RDONLY_PROG = 1 << 7
    MMAPABLE = 1 << 10


class ProgramKind(enum.Enum):
    """What a program hangs on; the value is the prefix of its section's name."""

    TRACEPOINT_BTF = "tp_btf"
    ITERATOR = "iter"
    RAW_TRACEPOINT = "raw_tp"


@dataclass(frozen=True)
class MapReference:
    """The 64-bit load at byte `at` takes the address of a map, or of byte `offset` of its value."""

    at: int
    map: str
    value: bool = False
    offset: int = 0


@dataclass(frozen=True)
class CoreRelocation:
    """The instruction at byte `at` depends on a kernel type; fields as in `struct bpf_core_relo`."""

    at: int
    type: int
    access: tuple[int, ...]
    kind: int


@dataclass(frozen=True)
class InfoRecord:
    """A record of func_info or line_info: an instruction's byte, and the words after it as they stand."""

    at: int
    words: bytes


@dataclass(frozen=True)
class ProgramSpec:
    """One program with the functions it calls behind it; `target` is the tracepoint or iterator."""

    name: str
    section: str
    kind: ProgramKind
    target: str
    instructions: bytes = field(repr=False)
    map_references: tuple[MapReference, ...] = field(default=(), repr=False)
    core_relocations: tuple[CoreRelocation, ...] = field(default=(), repr=False)
    function_info: tuple[InfoRecord, ...] = field(default=(), repr=False)
    line_info: tuple[InfoRecord, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class MapSpec:
    """A map as the object defines it; sizes in bytes, type ids in the object's BTF (0: none)."""

    name: str
    type: int
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: int = 0
    key_type: int = 0
    value_type: int = 0


@dataclass(frozen=True)
class VariableSpec:
    """A global variable's place in its section, in bytes; `type` in the object's BTF."""

    name: str
    offset: int
    size: int
    type: int


@dataclass(frozen=True)
class DataSpec:
    """A data section (`.bss`, `.data`, `.rodata`): one mmap-able map with one value."""

    name: str
    content: bytes = field(repr=False)
    variables: Mapping[str, VariableSpec]

    @property
    def constant(self) -> bool:
        """Whether programs may only read it."""
        return self.name.startswith(".rodata")


@dataclass(frozen=True)
class ObjectSpec:
    """A whole object file."""

    name: str
    license: str
    programs: Mapping[str, ProgramSpec]
    maps: Mapping[str, MapSpec]
    data: Mapping[str, DataSpec]
    btf: Btf = field(repr=False)
