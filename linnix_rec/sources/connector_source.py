"""A recording without BPF: events from the kernel's process connector, and from /proc. Knows no capture.

What stands in a capture is in the order in which messages arrived. That order is causal for births: the
forker queues the fork's message (kernel/fork.c: copy_process(), drivers/connector/cn_proc.c: send_msg())
before it wakes the new task, and all messages go through the socket's one queue, under its lock
(net/netlink/af_netlink.c: __netlink_sendskb()). So no act stands before its actor's birth. It is not causal
for ends: an exit is told behind exit_notify(), and a parent that has waited may be heard first.

A message that found no room is a hole in its CPU's numbers, which shows with that CPU's next message: there
the `gap` row stands. It may have told of a fork, an exec or an exit, or only of a new name.
"""

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture.document import Accounts, Channel, Listing
from linnix_rec.capture.schema import EXEC
from linnix_rec.capture.text import decode_bytes
from linnix_rec.sources.connector import RECEIVE_BUFFER_BYTES, ProcessConnector
from linnix_rec.sources.connector_lives import ActList, Rows
from linnix_rec.sources.connector_marks import mark_cpus, remarks_on
from linnix_rec.sources.connector_messages import (
    RENAMED,
    Acts,
    Hole,
    Numbering,
    Told,
    joined_told,
    parse_acts,
)
from linnix_rec.sources.connector_proc import TICK_NS, ExecText, is_there, pid_of, read_exec, walk
from linnix_rec.sources.connector_rows import event_batch, gap_batch, task_batch
from linnix_rec.sources.connector_tasks import Tasks
from linnix_rec.sources.cpus import online_cpus

#: So many execs are looked up in /proc at a time, some 30 us each; of more, the last.
EXECS_READ: Final = 256
#: Between two looks at all of /proc because messages were lost.
LOOK_AGAIN_SECONDS: Final = 1.0
_MARK_TRIES: Final = 3
_STEP_NS: Final = 1_000_000
_TAKES_A_READ: Final = 4
_READ_MESSAGES: Final = 1 << 14
#: A socket holds fewer, so all that waited is taken.
_MESSAGES_AT_ONCE: Final = 1 << 20

Redact = Callable[[pa.RecordBatch], pa.RecordBatch]


class ConnectorSource:
    """The process connector as a source, see `Source`; `list_tasks` may run beside `read`.

    tree_only: record only processes that `mark` is called for, and their descendants
    with_argv: read the arguments of programs
    redact: what takes secrets out of a batch before anybody else sees it
    buffer_bytes: of the socket, which the kernel doubles
    execs_unread: execs that were not looked up, as there were too many
    looks_again: how often all of /proc was read because messages were lost
    """

    name = "connector"
    ordered = False
    pin: Path | None = None
    ring_slots = largest_lap = 0

    def __init__(
        self,
        realtime_offset_ns: int = 0,
        *,
        tree_only: bool = False,
        with_argv: bool = True,
        redact: Redact | None = None,
        buffer_bytes: int = RECEIVE_BUFFER_BYTES,
    ) -> None:
        self.realtime_offset_ns = realtime_offset_ns
        self.attached_boot_ns = 0
        self.attached = 0
        self.events = self.lost = self.seq = self.issued = self.listed = 0
        self.execs_unread = self.looks_again = 0
        self._tree_only, self._with_argv, self._redact = tree_only, with_argv, redact
        self._tasks = Tasks(tree_only=tree_only, tick_ns=TICK_NS)
        self._numbering = Numbering()
        self._ready: deque[pa.RecordBatch] = deque()
        self._held: list[Told] = []  # received, and not yet followed
        self._lock = threading.Lock()
        self._since_ns = 0
        self._looked_again = -LOOK_AGAIN_SECONDS
        self._overruns_met = 0
        self._unmarked: frozenset[int] = frozenset()
        self._heard_marks: set[int] = set()
        self._offset_ns = _monotonic_to_boot_ns()
        self._connector = ProcessConnector(buffer_bytes)
        self.channel: Channel | None = Channel(bytes=self._connector.buffer_bytes, buffers=1)
        self.descriptors: tuple[int, ...] = (self._connector.fileno(),)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is not as it should be, a line each."""
        return remarks_on(self._connector.remark, self._unmarked)

    @property
    def lag(self) -> int:
        """Rows not yet read, and messages not yet followed, of which those in the socket are estimated."""
        held = sum(len(part.cpu) for part in self._held)
        return self.issued - self.seq + held + self._connector.waiting

    @property
    def filtered(self) -> int:
        """Events of others than the tree's tasks."""
        return self._tasks.filtered

    @property
    def strangers(self) -> int:
        """How often somebody acted whose birth was not heard, and who was not in /proc: without a start."""
        return self._tasks.strangers

    @property
    def overruns(self) -> int:
        """How often the kernel found no room for a message."""
        return self._connector.overruns

    def attach(self) -> None:
        """Subscribe, and find out who is there; events count from then on, T_on. Raises RecordingError."""
        self._connector.listen()
        self._since_ns = _boot_ns()
        self.attached = 1
        # Behind it, whoever was born before the subscription has another tick than who was born later.
        time.sleep(2 * TICK_NS / 1e9)
        with self._lock:
            look = self._tasks.look(_boot_ns())
            # Before any message is taken: who is found and acts in one that waits is known then.
            self._tasks.learn([each.entry for each in walk()], look, since_ns=self._since_ns)
            self._mark()
            self._ready.clear()
            self.issued = self._tasks.filtered = self._tasks.strangers = 0
        # What was imported stays: to look through it at each full collection would take a third of all time.
        gc.freeze()
        self.attached_boot_ns = _boot_ns()

    def mark(self, pidfd: int) -> None:
        """Make a process a member of the tree."""
        with self._lock:
            self._tasks.mark(pid_of(pidfd))

    def adopt(self) -> None:
        """Make all descendants of the tree's processes members of it; T_on is read again."""
        with self._lock:
            self._take_all()
            self._tasks.adopt()
        self.attached_boot_ns = _boot_ns()

    def live_tasks(self) -> int:
        """How many tasks of the tree still run, by what was heard and by /proc."""
        with self._lock:
            if not self._ready:  # else nobody reads for now, and the socket holds what comes
                self._take_all()
            living = list(self._tasks.living_members())
        own = f"/proc/{os.getpid()}/task"
        # Whose end is not told yet, or was lost, may be gone.
        return sum(is_there(tid) for tid in living if not os.path.exists(f"{own}/{tid}"))

    def list_tasks(self) -> Listing:
        """Make a `task` event of each task in /proc (of the tree, if only that is recorded)."""
        with self._lock:
            look = self._tasks.look(_boot_ns())
        found = walk()
        with self._lock:
            self._take_all()
            first_seq, now_ns = self.issued, _boot_ns()
            told = self._tasks.learn([each.entry for each in found], look, since_ns=self._since_ns)
            listed = [
                (who, each.usage)
                for who, each in zip(told, found, strict=True)
                if who is not None and (not self._tree_only or self._tasks.is_member(who))
            ]
            if listed:
                who_all, usage = zip(*listed, strict=True)
                self._add(
                    task_batch(
                        who_all, usage, now_ns, seq=first_seq, realtime_offset_ns=self.realtime_offset_ns
                    ),
                    len(listed),
                )
                self.listed += len(listed)
            # Who ends may be gone from /proc before it is told, and who begins may be there before.
            return Listing(first_seq, self.issued, whole_host=False)

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """Yield what can be read now, of at most some `limit` events, in the order of arrival."""
        with self._lock:
            if not self._ready:
                self._take_some(limit)
            if self.attached:
                self._make_good()
            batches = self._taken_out(limit)
        for batch in batches:
            lost = batch.column("lost")[0].as_py() or 0
            self.lost += lost
            self.seq += lost or batch.num_rows
            self.events += batch.num_rows
            yield batch if lost or self._redact is None else self._redact(batch)

    def detach(self) -> None:
        """Have every CPU tell its losses, and unsubscribe; what was told can still be read."""
        with self._lock:
            self._unmarked = self._mark()
            self._connector.leave()
            self.attached = 0
            self._take_all()

    def note_end(self, note: bytes) -> None:
        """It can't be pinned."""

    def unpin(self) -> None:
        """It can't be pinned."""

    def accounts(self, *, runs: bool = False, running: bool = False) -> Accounts | None:  # noqa: ARG002
        """The kernel counts nothing here."""
        return None

    def close(self) -> None:
        """Unsubscribe, if need be, and let go of the socket."""
        self.attached = 0
        self._connector.close()

    def __enter__(self) -> "ConnectorSource":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- all that follows is called with the lock ----

    def _taken_out(self, limit: int) -> list[pa.RecordBatch]:
        batches, rows = [], 0
        while self._ready and rows < limit:
            batches.append(self._ready.popleft())
            rows += batches[-1].num_rows
        return batches

    def _add(self, batch: pa.RecordBatch, events: int) -> None:
        self._ready.append(batch)
        self.issued += events

    def _take_some(self, limit: int) -> None:
        # What is held wakes nobody, and is looked up the sooner the better.
        for _ in range(_TAKES_A_READ):
            if not self._take(limit) or self.issued - self.seq >= limit:
                break

    def _take_all(self) -> None:
        for _ in range(_MESSAGES_AT_ONCE // _READ_MESSAGES):
            if not self._take(_READ_MESSAGES):
                break

    def _take(self, limit: int) -> bool:
        """Take messages, about `limit` at most; whether there may be more."""
        parts, self._held = self._held, []
        behind = self._receive(parts, limit)
        if not parts:
            return False
        told = joined_told(parts)
        texts = self._exec_texts(told.acts, behind=behind)
        if texts:
            # Who called exec again before it was looked up may have been looked up as what it is since.
            self._receive(self._held, limit)
            again = {pid for part in self._held for pid in _callers_of_exec(part.acts).tolist()}
            pids = told.acts.words[:, 1]
            texts = {place: text for place, text in texts.items() if int(pids[place]) not in again}
        self._note_marks(told)
        self._follow(told.acts, self._numbering.take(told.cpu, told.cpu_seq), texts)
        return behind or bool(self._held)

    def _receive(self, parts: list[Told], limit: int) -> bool:
        """Add what waits in the socket to `parts`; whether it may be more than `limit`."""
        heard = sum(len(part.cpu) for part in parts)
        for datagrams, lengths in self._connector.datagrams():
            parts.append(parse_acts(datagrams, lengths))
            heard += len(parts[-1].cpu)
            if heard >= limit:
                return True
        return False

    def _note_marks(self, told: Told) -> None:
        acts, own = told.acts, threading.get_native_id()
        marks = (acts.kind == RENAMED) & (acts.words[:, 0] == own)
        self._heard_marks.update(acts.cpu[marks].tolist())

    def _exec_texts(self, acts: Acts, *, behind: bool) -> dict[int, ExecText]:
        """Look up what runs in those that called exec; who did so again has been something else before."""
        places = np.flatnonzero(acts.kind == EXEC)
        last = dict(zip(acts.words[places, 1].tolist(), places.tolist(), strict=True))
        chosen = [] if behind else list(last.items())[-EXECS_READ:]
        self.execs_unread += len(last) - len(chosen)
        read = {place: read_exec(pid, with_argv=self._with_argv) for pid, place in chosen}
        return {place: text for place, text in read.items() if text is not None}

    def _follow(self, acts: Acts, holes: list[Hole], texts: dict[int, ExecText]) -> None:
        """Make rows of acts, and of the holes between them."""
        offset_ns = _monotonic_to_boot_ns()
        if abs(offset_ns - self._offset_ns) >= _STEP_NS:
            # Suspended in between. Messages from before that waited are dated too late by that time.
            self._offset_ns = offset_ns
        boot_ns = acts.monotonic_ns + self._offset_ns
        comms: dict[int, str | None] = {place: text.comm for place, text in texts.items()}
        for place in np.flatnonzero(acts.kind == RENAMED).tolist():
            comms[place] = decode_bytes(acts.words[place, 2:].tobytes().split(b"\0", 1)[0])
        listed = ActList(acts.kind.tolist(), boot_ns.tolist(), tuple(acts.words.T.tolist()))
        begin = 0
        for hole in holes:
            end = int(np.searchsorted(acts.at, hole.at))
            self._make_rows(acts, boot_ns, texts, self._tasks.take(listed, comms, begin, end))
            self._add(gap_batch(self.issued, hole.lost, hole.cpu), hole.lost)
            self._tasks.miss()
            begin = end
        self._make_rows(acts, boot_ns, texts, self._tasks.take(listed, comms, begin, len(acts.at)))

    def _make_rows(
        self, acts: Acts, boot_ns: NDArray[np.int64], texts: dict[int, ExecText], rows: Rows
    ) -> None:
        if rows.at:
            batch = event_batch(
                rows, acts, boot_ns, texts, seq=self.issued, realtime_offset_ns=self.realtime_offset_ns
            )
            self._add(batch, len(rows.at))

    def _mark(self) -> frozenset[int]:
        """Have every CPU number a message, and take all until then; gives the CPUs that were not heard."""
        self._heard_marks.clear()
        missing = online_cpus()
        for _ in range(_MARK_TRIES):
            unreachable = mark_cpus()
            self._take_all()
            missing -= self._heard_marks
            if not missing - unreachable:
                break
        return missing

    def _look(self) -> None:
        look = self._tasks.look(_boot_ns())
        found = walk()
        self._take_all()
        self._tasks.learn([each.entry for each in found], look, since_ns=self._since_ns)

    def _make_good(self) -> None:
        """If messages were lost, find out anew who is there; now and then, as nothing is read meanwhile."""
        if self._connector.overruns > self._overruns_met:
            self._overruns_met = self._connector.overruns
            self._tasks.miss()  # whose loss it is shows with the marks
        if not self._tasks.has_missed or time.monotonic() - self._looked_again < LOOK_AGAIN_SECONDS:
            return
        self._mark()
        self._look()
        self._looked_again = time.monotonic()
        self.looks_again += 1


def _callers_of_exec(acts: Acts) -> NDArray[np.uint32]:
    """Give the process ids."""
    pids: NDArray[np.uint32] = acts.words[acts.kind == EXEC, 1]
    return pids


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _monotonic_to_boot_ns() -> int:
    """CLOCK_BOOTTIME - CLOCK_MONOTONIC, the time spent suspended: the tightest of five tries."""
    tries = []
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        now = _boot_ns()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        tries.append((after - before, now - (before + after) // 2))
    return min(tries)[1]
