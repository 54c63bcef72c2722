"""Turns an `ObjectSpec` into maps and programs in this kernel; knows no events.

All that depends on the kernel happens here: relocation against its BTF, sizes of maps, ids of attach
points. Whatever is made is closed again if a later step fails.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import TracebackType

from linnix_rec.bpf import instruction as ins
from linnix_rec.bpf import syscall
from linnix_rec.bpf.btf import Btf, Kind, read_vmlinux, tracepoint_prototype
from linnix_rec.bpf.btf_ext import FUNCTION_RECORD_BYTES, LINE_RECORD_BYTES
from linnix_rec.bpf.btf_load import load_btf
from linnix_rec.bpf.core_reloc import POISON_HELPER, relocate
from linnix_rec.bpf.descriptor import (
    Descriptor,
    Link,
    Map,
    Program,
    attach_iterator,
    attach_raw_tracepoint,
    run_iterator,
)
from linnix_rec.bpf.errors import (
    KernelRefusedError,
    MalformedObjectError,
    ProgramRefusedError,
    permission_advice,
)
from linnix_rec.bpf.spec import (
    DataSpec,
    InfoRecord,
    MapFlag,
    MapSpec,
    MapType,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
)
from linnix_rec.bpf.syscall import Command

_PROGRAM_TYPE_RAW_TRACEPOINT = 17
_PROGRAM_TYPE_TRACING = 26
_ATTACH_TRACE_RAW_TP = 23
_ATTACH_TRACE_ITER = 28
_LOG_BYTES = 1 << 24  # a log that does not fit makes the load fail with ENOSPC
_FIRST_KEY = bytes(4)
_PROGRAM_TYPES = {
    ProgramKind.TRACEPOINT_BTF: (_PROGRAM_TYPE_TRACING, _ATTACH_TRACE_RAW_TP, "Linux 5.5"),
    ProgramKind.ITERATOR: (_PROGRAM_TYPE_TRACING, _ATTACH_TRACE_ITER, "Linux 5.8"),
    ProgramKind.RAW_TRACEPOINT: (_PROGRAM_TYPE_RAW_TRACEPOINT, 0, "Linux 4.17"),
}
_MAP_TYPES_SINCE = {MapType.TASK_STORAGE: "Linux 5.11", MapType.RINGBUF: "Linux 5.8"}


class LoadedObject:
    """An object's maps and programs in the kernel, and the links made through it; close it, or use `with`.

    `maps` holds data sections under their names too (`.bss`, `.rodata`).
    """

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self.links: list[Link] = []

    def attach(self, program: str) -> Link:
        """Attach a program to its tracepoint, or make an iterator ready to run."""
        wanted, loaded = self.spec.programs[program], self.programs[program]
        if wanted.kind is ProgramKind.ITERATOR:
            link = attach_iterator(loaded, _ATTACH_TRACE_ITER)
        elif wanted.kind is ProgramKind.RAW_TRACEPOINT:
            link = attach_raw_tracepoint(loaded, wanted.target)
        else:
            link = attach_raw_tracepoint(loaded)
        self.links.append(link)
        return link

    def iterate(self, program: str) -> int:
        """Run an iterator program once over everything; gives the bytes that it wrote."""
        with attach_iterator(self.programs[program], _ATTACH_TRACE_ITER) as link:
            return len(run_iterator(link))

    def detach(self) -> None:
        """Close all links, the first made first."""
        for link in self.links:
            link.close()
        self.links.clear()

    def close(self) -> None:
        """Detach, and let go of programs and maps."""
        self.detach()
        for held in (*self.programs.values(), *self.maps.values()):
            held.close()

    def __enter__(self) -> LoadedObject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(
    spec: ObjectSpec,
    *,
    max_entries: Mapping[str, int] | None = None,
    rodata: Mapping[str, int | bytes] | None = None,
    programs: Collection[str] | None = None,
    name_prefix: str = "",
    kernel_btf: Btf | None = None,
) -> LoadedObject:
    """Load `programs` (default: all) and all maps of `spec`.

    `max_entries` replaces the sizes of maps, `rodata` the values of constants, by name; names in the
    kernel begin with `name_prefix`. Raises KernelRefusedError, ProgramRefusedError with the verifier's
    log, RelocationError.
    """
    wanted = list(spec.programs) if programs is None else list(programs)
    kernel = kernel_btf or read_vmlinux()
    loaded = LoadedObject(spec)
    try:
        with load_btf(spec.btf) as btf:
            _create_maps(loaded, btf, max_entries or {}, rodata or {}, name_prefix)
            for name in wanted:
                loaded.programs[name] = _load_program(loaded, spec.programs[name], btf, kernel, name_prefix)
    except BaseException:
        loaded.close()
        raise
    return loaded


def _create_maps(
    loaded: LoadedObject,
    btf: Descriptor,
    max_entries: Mapping[str, int],
    rodata: Mapping[str, int | bytes],
    prefix: str,
) -> None:
    unknown = set(max_entries) - set(loaded.spec.maps)
    if unknown:
        raise MalformedObjectError(f"{loaded.spec.name} has no map {', '.join(sorted(unknown))}")
    for name, spec in loaded.spec.maps.items():
        sized = replace(spec, max_entries=max_entries.get(name, spec.max_entries))
        loaded.maps[name] = create_map(sized, btf.fd, prefix)
    contents = _constants_set(loaded.spec, rodata)
    for name, data in loaded.spec.data.items():
        loaded.maps[name] = _create_data_map(data, contents[name], prefix)


def create_map(spec: MapSpec, btf_fd: int = 0, prefix: str = "") -> Map:
    """Make one map; `btf_fd` is of the BTF that its types are in. Raises KernelRefusedError."""
    attribute = syscall.MapCreate(
        map_type=spec.type,
        key_size=spec.key_bytes,
        value_size=spec.value_bytes,
        max_entries=spec.max_entries,
        map_flags=spec.flags,
        map_name=syscall.object_name(prefix + spec.name),
    )
    if spec.key_type and spec.value_type:
        attribute.btf_fd = btf_fd
        attribute.btf_key_type_id = spec.key_type
        attribute.btf_value_type_id = spec.value_type
    try:
        return Map(syscall.bpf(Command.MAP_CREATE, attribute), spec)
    except OSError as error:
        number = error.errno or 0
        raise KernelRefusedError(
            f"can't create the BPF map {spec.name} ({spec.max_entries} x {spec.value_bytes} bytes)",
            number,
            permission_advice(number) or _map_advice(spec, number),
        ) from error


def _map_advice(spec: MapSpec, error_number: int) -> str:
    if error_number in (errno.ENOMEM, errno.E2BIG):
        return "ask for a smaller one"
    since = {int(kind): version for kind, version in _MAP_TYPES_SINCE.items()}.get(spec.type)
    return f"maps of its type came with {since}" if error_number == errno.EINVAL and since else ""


def _create_data_map(data: DataSpec, content: bytes, prefix: str) -> Map:
    flags = MapFlag.MMAPABLE | (MapFlag.RDONLY_PROG if data.constant else 0)
    made = create_map(MapSpec(data.name, MapType.ARRAY, 4, len(content), 1, int(flags)), 0, prefix)
    try:
        if any(content):
            made.update(_FIRST_KEY, content)
        if data.constant:
            made.freeze()  # lets the verifier take its values as constants
    except BaseException:
        made.close()
        raise
    return made


def _constants_set(spec: ObjectSpec, rodata: Mapping[str, int | bytes]) -> dict[str, bytes]:
    """The initial contents of all data sections, the constants of `rodata` put in."""
    contents = {name: bytearray(data.content) for name, data in spec.data.items()}
    for name, value in rodata.items():
        section, variable = next(
            (
                (s, data.variables[name])
                for s, data in spec.data.items()
                if data.constant and name in data.variables
            ),
            (None, None),
        )
        if section is None or variable is None:
            raise MalformedObjectError(f"{spec.name} has no constant {name}")
        octets = _octets(name, value, variable.size)
        contents[section][variable.offset : variable.offset + variable.size] = octets
    return {name: bytes(content) for name, content in contents.items()}


def _octets(name: str, value: int | bytes, size_bytes: int) -> bytes:
    if isinstance(value, bytes):
        octets = value
    elif -(1 << 8 * size_bytes - 1) <= value < 1 << 8 * size_bytes:
        octets = value.to_bytes(size_bytes, "little", signed=value < 0)
    else:
        raise MalformedObjectError(f"constant {name} can't be {value}: it has {size_bytes} bytes")
    if len(octets) != size_bytes:
        raise MalformedObjectError(f"constant {name} has {size_bytes} bytes, not {len(octets)}")
    return octets


def _load_program(
    loaded: LoadedObject, spec: ProgramSpec, btf: Descriptor, kernel: Btf, prefix: str
) -> Program:
    code, poisoned = relocate(spec.instructions, spec.core_relocations, loaded.spec.btf, kernel)
    instructions = syscall.copied(_with_maps(code, spec, loaded.maps))
    functions = _info_array(spec.function_info)
    lines = _info_array(spec.line_info)
    license_text = syscall.copied(loaded.spec.license.encode() + b"\0")
    program_type, attach_type, since = _PROGRAM_TYPES[spec.kind]
    attribute = syscall.ProgramLoad(
        prog_type=program_type,
        insn_cnt=len(code) // ins.INSTRUCTION_BYTES,
        insns=syscall.address_of(instructions),
        license=syscall.address_of(license_text),
        prog_name=syscall.object_name(prefix + spec.name),
        expected_attach_type=attach_type,
        attach_btf_id=_attach_type_id(spec, kernel),
        prog_btf_fd=btf.fd,
        func_info_rec_size=FUNCTION_RECORD_BYTES,
        func_info=syscall.address_of(functions),
        func_info_cnt=len(spec.function_info),
        line_info_rec_size=LINE_RECORD_BYTES,
        line_info=syscall.address_of(lines),
        line_info_cnt=len(spec.line_info),
    )
    try:
        return Program(syscall.bpf(Command.PROG_LOAD, attribute), spec.name)
    except OSError as error:
        number = error.errno or 0
        if number == errno.EPERM:  # the verifier's own refusals are EACCES or EINVAL
            what = f"can't load the BPF program {spec.name}"
            raise KernelRefusedError(what, number, permission_advice(number)) from error
    return _load_with_log(spec, attribute, number, poisoned, since)


def _load_with_log(
    spec: ProgramSpec, attribute: syscall.Attribute, number: int, poisoned: Mapping[int, str], since: str
) -> Program:
    """Load once more, now asking the verifier why it refuses."""
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attribute.log_buf = syscall.address_of(log)
    attribute.log_size = _LOG_BYTES
    attribute.log_level = 1
    try:
        return Program(syscall.bpf(Command.PROG_LOAD, attribute), spec.name)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            number = error.errno or number
        text = log.value.decode("utf-8", "replace")
        raise ProgramRefusedError(spec.name, number, text, _advice(text, poisoned, since)) from error


def _advice(log: str, poisoned: Mapping[int, str], since: str) -> str:
    if str(POISON_HELPER) in log and poisoned:
        missing = ", ".join(sorted(set(poisoned.values())))
        return f"this kernel lacks {missing}, which the program needs"
    return "" if log.strip() else f"programs of its kind came with {since}"


def _with_maps(code: bytes, spec: ProgramSpec, maps: Mapping[str, Map]) -> bytes:
    """`code` with file descriptors of maps in its 64-bit loads."""
    linked = bytearray(code)
    for reference in spec.map_references:
        load_insn = ins.read_at(linked, reference.at)
        high = reference.at + ins.INSTRUCTION_BYTES
        source = ins.PSEUDO_MAP_VALUE if reference.value else ins.PSEUDO_MAP_FD
        fd = maps[reference.map].fd
        ins.write_at(linked, reference.at, load_insn.with_source(source)._replace(immediate=fd))
        ins.write_at(linked, high, ins.read_at(linked, high)._replace(immediate=reference.offset))
    return bytes(linked)


def _info_array(records: tuple[InfoRecord, ...]) -> ctypes.Array[ctypes.c_char]:
    """Records as the kernel takes them: it counts in instructions, the object file in bytes."""
    array: ctypes.Array[ctypes.c_char] = syscall.copied(
        b"".join(
            (record.at // ins.INSTRUCTION_BYTES).to_bytes(4, "little") + record.words for record in records
        )
    )
    return array


def _attach_type_id(spec: ProgramSpec, kernel: Btf) -> int:
    if spec.kind is ProgramKind.TRACEPOINT_BTF:
        return tracepoint_prototype(kernel, spec.target)[0]
    if spec.kind is ProgramKind.ITERATOR:
        found = kernel.find(f"bpf_iter_{spec.target}", Kind.FUNC)
        if not found:
            raise MalformedObjectError(f"{kernel.origin} knows no iterator over {spec.target} (Linux 5.8)")
        return found[0]
    return 0
