"""Finds the path of a cgroup by its id, while it still exists. Knows no recording.

The id is the kernfs node's, which is also what a file handle of the cgroup2 file system holds, so the
kernel itself resolves it (open_by_handle_at(2)); nothing is walked.
"""

import ctypes
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_OPEN_BY_HANDLE_AT: Final = {"x86_64": 304, "aarch64": 265}
_FILEID_KERNFS: Final = 0xFE  # include/linux/exportfs.h, since Linux 5.5


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_uint64),
    )


def cgroup2_mount() -> str | None:
    """Where the version 2 hierarchy is mounted, if it is."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return before.split(" ")[4].encode().decode("unicode_escape")
    return None


class CgroupPaths:
    """Collects id -> path for all cgroups seen; an id that is gone already keeps no path."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        self._asked: set[int] = set()
        self._mount = cgroup2_mount()
        self._descriptor = os.open(self._mount, os.O_RDONLY | os.O_DIRECTORY) if self._mount else -1
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall

    def observe(self, batch: pa.RecordBatch) -> bool:
        """Look up the ids of a batch that were not seen before; whether there were any with a path."""
        known = len(self.paths)
        self.look_up(pc.unique(batch.column("cgroup_id")).to_pylist())
        return len(self.paths) > known

    def look_up(self, cgroup_ids: Iterable[int | None]) -> None:
        """Look up those ids that were not asked for before."""
        for cgroup_id in cgroup_ids if self._descriptor >= 0 else ():
            if cgroup_id and cgroup_id not in self._asked:
                self._asked.add(cgroup_id)
                path = self._path_of(cgroup_id)
                if path is not None:
                    self.paths[str(cgroup_id)] = path

    def close(self) -> None:
        """Let go of the mount."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _path_of(self, cgroup_id: int) -> str | None:
        number = _OPEN_BY_HANDLE_AT.get(platform.machine())
        if number is None:
            return None
        handle = _FileHandle(8, _FILEID_KERNFS, cgroup_id)
        descriptor = self._syscall(number, self._descriptor, ctypes.byref(handle), os.O_PATH | os.O_CLOEXEC)
        if descriptor < 0:
            return None
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return "/" + os.path.relpath(path, self._mount).removeprefix(".")
