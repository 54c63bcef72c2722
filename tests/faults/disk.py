"""A disk that may lose power: what a directory can hold after any prefix of the operations on it.

Only what was synced is certain. Of a file's content that was not, nothing, half, or all may be there; of the
names made, changed and removed since the directory was last synced, any, in their order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from stat import S_ISDIR

import pytest

from linnix_rec.capture import files

#: Up to so many pending names every subset is looked at, beyond it one-sided ones.
_ALL_SUBSETS = 8

Names = dict[str, int]
State = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Operation:
    """One step: `kind` is create, sync, rename, remove, sync_directory or claim.

    file: the number of the file created or synced; content: what was synced; claim: what the writer said
    """

    kind: str
    name: str = ""
    to: str = ""
    file: int = -1
    content: bytes = b""
    claim: tuple[int, int] = (0, 0)


@dataclass
class Log:
    """Records the operations on one directory."""

    directory: Path
    operations: list[Operation] = field(default_factory=list)
    _file_of_inode: dict[int, int] = field(default_factory=dict)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Record from now on, by wrapping what `capture.files` calls."""
        create, fsync, replace, remove = files.create, os.fsync, os.replace, files.remove

        def watched_create(path: Path, owner: files.Owner | None) -> int:
            descriptor = create(path, owner)
            number = len(self.operations)
            self._file_of_inode[os.fstat(descriptor).st_ino] = number
            self.operations.append(Operation("create", path.name, file=number))
            return descriptor

        def watched_fsync(descriptor: int) -> None:
            status = os.fstat(descriptor)
            if S_ISDIR(status.st_mode):
                self.operations.append(Operation("sync_directory"))
            else:
                content = Path(f"/proc/self/fd/{descriptor}").read_bytes()
                number = self._file_of_inode[status.st_ino]
                self.operations.append(Operation("sync", file=number, content=content))
            fsync(descriptor)

        def watched_replace(old: Path, new: Path) -> None:
            self.operations.append(Operation("rename", old.name, new.name))
            replace(old, new)

        def watched_remove(path: Path) -> None:
            if path.exists():
                self.operations.append(Operation("remove", path.name))
            remove(path)

        patch.setattr(files, "create", watched_create)
        patch.setattr(os, "fsync", watched_fsync)
        patch.setattr(os, "replace", watched_replace)
        patch.setattr(files, "remove", watched_remove)

    def claim(self, kept_from: int, durable: int) -> None:
        """Note that the writer says now: from this ticket to that one all is safe."""
        self.operations.append(Operation("claim", claim=(kept_from, durable)))


def crashes(operations: Sequence[Operation]) -> Iterator[tuple[tuple[int, int], State]]:
    """Give, for a power cut after each operation, the last claim and each state the directory may be in."""
    whole = {step.file: step.content for step in operations if step.kind == "sync"}
    synced: dict[int, bytes] = {}
    durable: Names = {}
    pending: list[Operation] = []
    claim = (0, 0)
    for step in operations:
        if step.kind == "claim":
            claim = step.claim
        elif step.kind == "sync":
            synced[step.file] = step.content
        elif step.kind == "sync_directory":
            durable, pending = _after(durable, pending, operations), []
        else:
            pending.append(step)
        for chosen in _subsets(pending):
            names = _after(durable, chosen, operations)
            for state in _contents(names, synced, whole):
                yield claim, state


def _subsets(pending: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """Which of these may have reached the disk."""
    if len(pending) <= _ALL_SUBSETS:
        for count in range(len(pending) + 1):
            yield from combinations(pending, count)
        return
    for at in range(len(pending) + 1):
        yield pending[:at]
        yield [*pending[:at], *pending[at + 1 :]]


def _after(names: Names, steps: Sequence[Operation], all_steps: Sequence[Operation]) -> Names:
    names = dict(names)
    for step in steps:
        if step.kind == "create":
            names[step.name] = step.file
        elif step.kind == "remove":
            names.pop(step.name, None)
        else:
            names.pop(step.name, None)
            names[step.to] = _renamed(step, all_steps)
    return names


def _renamed(rename: Operation, all_steps: Sequence[Operation]) -> int:
    """Which file a rename moves: the one last created under the old name before it."""
    before = all_steps[: next(at for at, step in enumerate(all_steps) if step is rename)]
    return next(step.file for step in reversed(before) if step.kind == "create" and step.name == rename.name)


def _contents(names: Names, synced: dict[int, bytes], whole: dict[int, bytes]) -> Iterator[State]:
    choices = []
    for name, file in sorted(names.items()):
        content = whole.get(file, b"never synced")
        if file in synced:
            choices.append([(name, synced[file])])
        else:
            choices.append([(name, part) for part in {b"", content[: len(content) // 2], content}])
    yield from product(*choices)
