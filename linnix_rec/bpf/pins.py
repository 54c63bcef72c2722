"""Pins a loaded object in bpffs, and opens it again from another process. Knows no events.

A pinned object is a directory: `map-NAME`, `program-NAME` and `link-NAME` (bpffs allows no dots), `note`, a
frozen map with whatever bytes the owner wants to find again, and `end`, where it writes how it ends. What is
pinned lives on in the kernel when its process dies: attached programs go on running. Who reads it all
along holds the directory's lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from linnix_rec.bpf.descriptor import Link, Map, Program, map_info, open_pinned
from linnix_rec.bpf.load import LoadedObject, create_map
from linnix_rec.bpf.spec import MapFlag, MapSpec, MapType, ObjectSpec
from linnix_rec.errors import RecordingError

BPFFS: Final = Path("/sys/fs/bpf")
_STAGED: Final = "~"  # ends the name of a directory that is still being filled; no user's name has it
_MAP, _PROGRAM, _LINK, _NOTE, _END = "map-", "program-", "link-", "note", "end"
_END_BYTES: Final = 16 << 10
_FIRST_KEY: Final = bytes(4)
_DIRECTORY_MODE: Final = 0o700


def bpffs_is_mounted() -> bool:
    """Whether bpffs is where it belongs."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.split()[1:3] == [str(BPFFS), "bpf"] for line in mounts)


def mount_bpffs() -> None:
    """Mount bpffs if it is not; raises RecordingError."""
    if bpffs_is_mounted():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(BPFFS), b"bpf", ctypes.c_ulong(0), b"mode=0700") == 0:
        return
    reason = os.strerror(ctypes.get_errno())
    raise RecordingError(
        f"{BPFFS} is not mounted, and can't be: {reason}; ask root for `mount -t bpf bpf {BPFFS}`"
    )


def pin_object(loaded: LoadedObject, directory: Path, note: bytes) -> Held:
    """Pin an object's maps, programs and links, and the note; all of it appears at once, or nothing.

    Gives what the one that reads it holds. Raises RecordingError, also if `directory` is there already.
    """
    staged = staged_directory(directory)
    held = None
    try:
        directory.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        remove_pins(staged)  # of a process that died while it filled it
        staged.mkdir(mode=_DIRECTORY_MODE)
        _pin_note(staged / _END, bytes(_END_BYTES), frozen=False)
        held = Held(staged)
        _pin_note(staged / _NOTE, note)
        for name, shared in loaded.maps.items():
            shared.pin(staged / _pin_name(_MAP, name))
        for name, program in loaded.programs.items():
            program.pin(staged / _pin_name(_PROGRAM, name))
        for link in loaded.links:
            link.pin(staged / _pin_name(_LINK, link.name))
        _rename_new(staged, directory)
    except BaseException as error:
        _remove_staged(loaded, staged)
        if held is not None:
            held.close()
        if isinstance(error, OSError):
            raise RecordingError(f"can't pin to {directory}: {error.strerror}") from error
        raise
    return held


def staged_directory(directory: Path) -> Path:
    """Where pins are before all of them are there; what a process left that died then is still there."""
    return directory.with_name(directory.name + _STAGED)


class Held:
    """What the one that reads all along holds of a pinned directory: its lock, and where it notes the end.

    Let go of by `close`, or when the process ends. Raises BlockingIOError if somebody has it, OSError,
    RecordingError.
    """

    def __init__(self, directory: Path) -> None:
        import fcntl

        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._end: Map | None = None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (directory / _END).exists():
                self._end = _open_note(directory / _END)
        except BaseException:
            self.close()
            raise

    def note_end(self, note: bytes) -> None:
        """Note how it ends, before it does, instead of what was noted before; needs no privileges."""
        if self._end is not None and len(note) <= _END_BYTES:
            self._end.update(_FIRST_KEY, note.ljust(_END_BYTES, b"\0"))

    def close(self) -> None:
        """Let go of it, once."""
        if self._end is not None:
            self._end.close()
            self._end = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _remove_staged(loaded: LoadedObject, staged: Path) -> None:
    """Without looking into the directory, which would need a descriptor: there may be none left."""
    with contextlib.suppress(OSError):
        for link in loaded.links:
            (staged / _pin_name(_LINK, link.name)).unlink(missing_ok=True)
        for name in loaded.programs:
            (staged / _pin_name(_PROGRAM, name)).unlink(missing_ok=True)
        for name in loaded.maps:
            (staged / _pin_name(_MAP, name)).unlink(missing_ok=True)
        for name in (_NOTE, _END):
            (staged / name).unlink(missing_ok=True)
        staged.rmdir()


def _rename_new(staged: Path, directory: Path) -> None:
    """Rename, if nothing has the new name: rename(2) would replace an empty directory only, which none is."""
    try:
        staged.rename(directory)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise RecordingError(f"something is pinned as {directory} already") from error
        raise


def read_note(directory: Path) -> bytes:
    """What was noted when the object was pinned; raises RecordingError."""
    return _read_note(directory / _NOTE)


def read_end(directory: Path) -> bytes:
    """What was noted when it ended; nothing if it has not. Raises RecordingError."""
    return _read_note(directory / _END).rstrip(b"\0") if (directory / _END).exists() else b""


def _read_note(path: Path) -> bytes:
    with _open_note(path) as noted:
        content = noted.lookup(_FIRST_KEY)
    if content is None:
        raise RecordingError(f"{path} holds no note: it was not pinned by linnix-rec")
    return content


def _open_note(path: Path) -> Map:
    fd = open_pinned(path)
    return Map(fd, MapSpec(path.name, MapType.ARRAY, 4, map_info(fd).value_bytes, 1, 0))


def open_object(directory: Path, spec: ObjectSpec) -> LoadedObject:
    """The object pinned in `directory`, which was loaded from `spec`; raises RecordingError.

    All of its maps are there; `links` has those that are still pinned, in no order.
    """
    loaded = LoadedObject(spec)
    try:
        for pin in sorted(directory.iterdir()):
            _open_pin(loaded, pin)
        _check_complete(loaded, directory)
    except OSError as error:
        loaded.close()
        raise RecordingError(f"can't open the pins in {directory}: {error.strerror}") from error
    except BaseException:
        loaded.close()
        raise
    return loaded


def _check_complete(loaded: LoadedObject, directory: Path) -> None:
    missing = sorted({*loaded.spec.maps, *loaded.spec.data} - loaded.maps.keys())
    if missing:
        raise RecordingError(f"{directory} has lost {_pin_name(_MAP, missing[0])}: it can't be read")


def remove_pins(directory: Path, *, links_only: bool = False) -> None:
    """Remove an object's names; what no process holds ends with them. Raises OSError."""
    if not directory.is_dir():
        return
    # The links first: a program that still runs must find its maps. Then the note: without it, whoever comes
    # after a removal that was cut short knows it as one.
    for pin in sorted(directory.iterdir(), key=_removed_first):
        if not links_only or pin.name.startswith(_LINK):
            pin.unlink(missing_ok=True)
    if not links_only:
        directory.rmdir()


def _removed_first(pin: Path) -> tuple[bool, bool, str]:
    return not pin.name.startswith(_LINK), pin.name != _NOTE, pin.name


def is_half_removed(directory: Path) -> bool:
    """Whether a process died while it removed these pins; nothing in them runs, or can be read, any more."""
    return directory.is_dir() and not any(
        pin.name == _NOTE or pin.name.startswith(_LINK) for pin in directory.iterdir()
    )


def pinned_names(room: Path) -> list[str]:
    """The names in a room of bpffs, in order, half pinned ones included; none if there is no such room.

    Raises PermissionError.
    """
    try:
        entries = list(room.iterdir())
    except FileNotFoundError:
        return []
    return sorted({entry.name.removesuffix(_STAGED) for entry in entries if entry.is_dir()})


def _pin_note(path: Path, note: bytes, *, frozen: bool = True) -> None:
    with create_map(MapSpec(path.name, MapType.ARRAY, 4, len(note), 1, 0)) as noted:
        if frozen:
            noted.update(_FIRST_KEY, note)
            noted.freeze()
        noted.pin(path)


def _pin_name(prefix: str, name: str) -> str:
    return prefix + name.removeprefix(".")


def _open_pin(loaded: LoadedObject, pin: Path) -> None:
    prefix, _, name = pin.name.partition("-")
    match prefix + "-":
        case "map-":
            fd = open_pinned(pin)
            spec = _map_spec(loaded.spec, name, map_info(fd).max_entries)
            if spec is None:
                os.close(fd)
                raise RecordingError(f"{pin} is no map of the object {loaded.spec.name}")
            loaded.maps[spec.name] = Map(fd, spec)
        case "program-":
            loaded.programs[name] = Program(open_pinned(pin), name)
        case "link-":
            loaded.links.append(Link(open_pinned(pin), name))


def _map_spec(spec: ObjectSpec, name: str, max_entries: int) -> MapSpec | None:
    if name in spec.maps:
        return replace(spec.maps[name], max_entries=max_entries)
    data = spec.data.get(f".{name}")
    if data is None:
        return None
    return MapSpec(data.name, MapType.ARRAY, 4, len(data.content), 1, int(MapFlag.MMAPABLE))
