"""What is known of a task, of a process and of an event, from the process connector's messages alone."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: Stands for a user or group that is not known: no task has it (include/linux/uidgid.h).
NO_ID: Final = 0xFFFF_FFFF

#: What `last_thread` holds: the kernel may know better where messages were lost.
NOT_LAST, LAST, PERHAPS_LAST = range(3)


class Who(NamedTuple):
    """What a row says of its actor; 0 (NO_ID for users and groups) is what is not known."""

    tid: int
    tgid: int
    start_ns: int = 0
    parent_tid: int = 0
    parent_tgid: int = 0
    parent_start_ns: int = 0
    uid: int = NO_ID
    gid: int = NO_ID
    comm: str | None = None


class Entry(NamedTuple):
    """A task as /proc had it: `start_ns` is cut to a clock tick, `parent_tgid` its parent's process."""

    tid: int
    tgid: int
    start_ns: int
    parent_tgid: int
    uid: int
    gid: int
    comm: str
    is_dead: bool


@dataclass(slots=True, eq=False)
class Process:
    """The threads of one process that live, by what was heard; whether it is in the recorded tree."""

    tgid: int
    member: bool
    threads: set[int] = field(default_factory=set)
    leader: "Task | None" = None


@dataclass(slots=True, eq=False)
class Task:
    """One thread. `doubtful`: its end may have been missed."""

    who: Who
    process: Process
    parent: "Task | None" = None
    over: bool = False
    doubtful: bool = False


class ActList(NamedTuple):
    """Acts as plain lists, which Python reads faster: kinds, times, and each word of the union; (n,) each."""

    kind: list[int]
    boot_ns: list[int]
    words: tuple[list[int], ...]


@dataclass(slots=True)
class Rows:
    """Events: the places of their acts, who acted, and what else is not in the message; lists of (n,).

    A list each, and no object a row: so many that wait are a burden to Python's collector of cycles.
    """

    at: list[int] = field(default_factory=list)
    who: list[Who] = field(default_factory=list)
    old_tid: dict[int, int] = field(default_factory=dict)
    last_thread: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A look at /proc that has begun: what is heard meanwhile."""

    begun_ns: int
    misses: int
    ended: set[int] = field(default_factory=set)
