"""Says of an event without a message, or a message without an event, what that means. Knows no file.

It rests on where the kernel makes a message and where it traces the event (kernel/fork.c, fs/exec.c,
kernel/exit.c, alike from 5.15 to 6.18):

    fork  the message, then the tracepoint, with some bookkeeping between
    exec  the tracepoint, then ptrace_event(), where a tracer may hold the task for as long as it likes, then
          the message
    exit  the tracepoint, then the closing of files and all else, then exit_notify(), then the message

So at the window's edges a message can be inside and its event outside, or the other way round. Who was born
within it has its execs and exit within it, and is beyond doubt; of others it is asked whether the capture
knows them alive. What can't be told is unknown, and nothing is guessed but one thing: a task is not kept from
running for SETTLED_NS between a fork's message and its tracepoint, or between a reap and the exit's message.

When a thread that is not the leader calls exec, de_thread() waits for the leader to be a zombie, and then
exchanges the two thread ids. The leader may not yet have made its message, which then has the other's id:
such an exit is matched by the exec event that names that id as its old one.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from linnix_rec.capture.schema import EXEC, FORK
from linnix_rec.proof.connector_matching import Key

SETTLED_NS: Final = 1_000_000_000
#: Two clocks are compared, one of them through an offset that was measured.
CLOCK_ERROR_NS: Final = 100_000


class Event(NamedTuple):
    """An event of the capture, or a message: `ticket` is -1 there."""

    boot_ns: int
    ticket: int
    actor_tid: int


class Meaning(IntEnum):
    """What it means that the other side lacks something, the least grave first."""

    OUTSIDE = 0
    UNKNOWN = 1
    MISSING = 2


@dataclass(frozen=True)
class Window:
    """Between these, ns since boot, both sides must agree."""

    first_ns: int
    end_ns: int


@dataclass
class Life:
    """What the capture tells of one thread id; times in ns since boot, sorted by `settle`.

    active: it was born, or did something
    alive: that, or it was listed as a task that is not on its way out
    ended: it exited, or gave its id up by an exec
    exiting: it was listed, on its way out and not yet a zombie
    announced: a message told of its birth
    """

    active: list[int] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    exiting: list[int] = field(default_factory=list)
    announced: list[int] = field(default_factory=list)

    def settle(self) -> None:
        """Sort: clocks may run back between CPUs."""
        for times in (self.active, self.alive, self.ended, self.exiting, self.announced):
            times.sort()

    def is_known_alive(self, boot_ns: int) -> bool:
        """Whether, going by the capture alone, it lived at that time."""
        seen, gone = (_latest(times, boot_ns + CLOCK_ERROR_NS) for times in (self.alive, self.ended))
        return seen is not None and (gone is None or gone < seen)

    def acts_after(self, boot_ns: int) -> bool:
        """Whether anything of it comes later."""
        return any(times and times[-1] > boot_ns for times in (self.active, self.ended))


@dataclass
class Story:
    """What is known of the keys that disagree, and of the threads that they name.

    takeovers: (old_tid, tgid) of execs by threads that were not the leader
    """

    window: Window
    tree_only: bool
    events: dict[Key, list[Event]] = field(default_factory=lambda: defaultdict(list))
    messages: dict[Key, list[Event]] = field(default_factory=lambda: defaultdict(list))
    lives: dict[int, Life] = field(default_factory=lambda: defaultdict(Life))
    takeovers: set[tuple[int, int]] = field(default_factory=set)

    def judge_messages(self, key: Key, surplus: int) -> list[tuple[Meaning, Event]]:
        """Say what so many messages of this key mean that no event goes with, in the mildest reading."""
        unpaired, _ = self._unpaired(key)
        return sorted((self._of_message(key, message), message) for message in unpaired)[:surplus]

    def judge_events(self, key: Key, surplus: int) -> list[tuple[Meaning, Event]]:
        """Say what so many events of this key mean that no message goes with, in the mildest reading."""
        _, unpaired = self._unpaired(key)
        return sorted((self._of_event(key, event), event) for event in unpaired)[:surplus]

    def _unpaired(self, key: Key) -> tuple[list[Event], list[Event]]:
        """Pair a key's messages and events in time; gives the messages and the events that are left."""
        messages, events = sorted(self.messages[key]), sorted(self.events[key])
        if key.kind == FORK:
            return _pair(messages, events, latest_first=True)
        events, messages = _pair(events, messages, latest_first=False)
        return messages, events

    def _of_message(self, key: Key, message: Event) -> Meaning:
        at = message.boot_ns
        if not self.window.first_ns <= at <= self.window.end_ns:
            return Meaning.OUTSIDE
        if key.kind == FORK:
            return self._of_fork_message(key, message)
        life = self.lives[key.tid]
        if life.is_known_alive(at):
            # It may be an exec that was traced before the recording began, and held by a tracer since.
            held = key.kind == EXEC and not self._is_new(life, at)
            return Meaning.UNKNOWN if held else Meaning.MISSING
        if self.tree_only:
            return Meaning.OUTSIDE  # somebody else's
        # It may have been on its way out before the recording began.
        return Meaning.MISSING if self._is_announced(life, at) else Meaning.UNKNOWN

    def _of_fork_message(self, key: Key, message: Event) -> Meaning:
        """Judge by the window's end, and by whom it may be of: a message names the new task's real parent.

        That is who forked it, but for threads, and with CLONE_PARENT.
        """
        unsettled = message.boot_ns > self.window.end_ns - SETTLED_NS
        if self.tree_only and key.tid == key.tgid:
            # With CLONE_PARENT a task that the tree did not bear, and that a member has become the parent of,
            # forks unrecorded.
            ours = self.lives[message.actor_tid].is_known_alive(message.boot_ns)
            return Meaning.UNKNOWN if ours else Meaning.OUTSIDE
        # Only its own process can have made a thread, and a process is in the tree as a whole.
        if self.tree_only and not self.lives[key.tgid].is_known_alive(message.boot_ns):
            return Meaning.OUTSIDE
        return Meaning.UNKNOWN if unsettled else Meaning.MISSING

    def _of_event(self, key: Key, event: Event) -> Meaning:
        at = event.boot_ns
        if not self.window.first_ns <= at <= self.window.end_ns:
            return Meaning.OUTSIDE
        life = self.lives[key.tid]
        if key.kind == FORK:
            doubtful = at < self.window.first_ns + SETTLED_NS
        elif key.kind == EXEC:
            doubtful = not life.acts_after(at)  # a tracer may hold it since
        else:
            still_there = bool(life.exiting) and life.exiting[-1] >= at
            doubtful = still_there or at > self.window.end_ns - SETTLED_NS
        return Meaning.UNKNOWN if doubtful else Meaning.MISSING

    def _is_new(self, life: Life, before_ns: int) -> bool:
        """Whether it was born or acted after recording began, and before that time."""
        first = bisect_left(life.active, self.window.first_ns)
        acted = first < len(life.active) and life.active[first] < before_ns - CLOCK_ERROR_NS
        return acted or self._is_announced(life, before_ns)

    def _is_announced(self, life: Life, before_ns: int) -> bool:
        """Whether a message told of its birth after recording began, and before that time."""
        first = bisect_left(life.announced, self.window.first_ns)
        return first < len(life.announced) and life.announced[first] <= before_ns


def _latest(times: list[int], boot_ns: int) -> int | None:
    place = bisect_right(times, boot_ns)
    return times[place - 1] if place else None


def _pair(
    firsts: list[Event], seconds: list[Event], *, latest_first: bool
) -> tuple[list[Event], list[Event]]:
    """Pair what the kernel does first with what it does second, both sorted; gives what is left of each.

    latest_first: the latest first goes with a second, else the earliest; so what is left lies at the window's
    begin if a first may come without its second there, else at its end.
    """
    waiting: list[Event] = []
    left: list[Event] = []
    begun = taken = 0
    for second in seconds:
        while begun < len(firsts) and firsts[begun].boot_ns <= second.boot_ns + CLOCK_ERROR_NS:
            waiting.append(firsts[begun])
            begun += 1
        if taken == len(waiting):
            left.append(second)
        elif latest_first:
            waiting.pop()
        else:
            taken += 1
    return waiting[taken:] + firsts[begun:], left
