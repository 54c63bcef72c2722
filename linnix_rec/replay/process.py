"""One process as lineage knows it: what travels to reports and notebooks. Knows no file and no rows."""

from dataclasses import dataclass, field
from typing import Final

#: include/uapi/linux/sched.h: the child's parent is the forker's parent.
CLONE_PARENT: Final = 0x8000
#: include/uapi/linux/sched.h: the child is a thread of the forker's process.
CLONE_THREAD: Final = 0x10000
#: include/uapi/linux/sched.h: the forker waits until the child has exec'd or exited.
CLONE_VFORK: Final = 0x4000


@dataclass(frozen=True, slots=True)
class Birth:
    """The fork that made a process; the forker is a task identity, and `comm` the forker's name then."""

    seq: int
    boot_ns: int
    forker_tid: int
    forker_pid: int
    comm: str
    clone_flags: int


@dataclass(frozen=True, slots=True)
class Step:
    """One successful exec; `old_tid` is the thread that called it, if that was not the leader."""

    seq: int
    boot_ns: int
    filename: str | None
    argv: tuple[str, ...]
    argv_truncated: bool
    comm: str
    old_tid: int | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The exit of a process's last thread, with the status that its parent gets."""

    seq: int
    boot_ns: int
    code: int
    signal: int
    core_dumped: bool
    max_rss_bytes: int

    @property
    def failed(self) -> bool:
        """Say whether the parent sees anything else than exit code 0."""
        return self.code != 0 or self.signal != 0


@dataclass(frozen=True, slots=True)
class Process:
    """One process's life: fork → exec* → exit, as far as the capture holds it.

    `start_ns` is ns since boot and None if no row names the leader's start. `birth` is None for a
    process that existed before the recording, or whose fork a gap hides. `ending` is None if it still
    ran when the recording stopped, or if a gap hides the exit. `number` counts the lineage's processes
    in the order of their birth; `parent_number` is the parent's, None if the capture has no such process.
    `comm` is the name it had last, `born_as` the one it had first. `exit_may_be_lost` says that no exit
    was seen, but that a gap follows the last that was.
    """

    number: int
    pid: int
    start_ns: int | None
    comm: str
    born_as: str
    uid: int | None
    parent_number: int | None
    parent_pid: int
    birth: Birth | None
    steps: tuple[Step, ...]
    ending: Ending | None
    threads: int
    cpu_ns: int
    snapshot: bool
    kernel_thread: bool
    dead_before: bool
    active: bool
    exit_may_be_lost: bool
    child_numbers: tuple[int, ...] = field(default=())

    @property
    def running(self) -> bool:
        """Say whether nothing shows that it ended: it still ran at the end, or a gap hides its exit."""
        return self.ending is None and not self.dead_before

    @property
    def whole(self) -> bool:
        """Say whether the capture holds its life from fork to exit."""
        return self.birth is not None and self.ending is not None

    @property
    def lived_ns(self) -> int | None:
        """Give the time from its start to its exit, ns; None unless both are known."""
        if self.ending is None or self.start_ns is None:
            return None
        return max(0, self.ending.boot_ns - self.start_ns)
