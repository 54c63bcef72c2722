"""Hand-written event tables for tests: a story told event by event, and captures made of it.

    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", ["true"])
    story.exit(child)
    capture = write_capture(tmp_path / "a.lrec", story)

Every event takes the next ticket and a microsecond; `story.rows` are plain dicts to edit before use.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from linnix_rec.capture.document import (
    Accounts,
    CaptureDocument,
    ClockSample,
    EventAccount,
    Filter,
    Host,
    Listing,
    ObjectFile,
    Started,
    Stopped,
)
from linnix_rec.capture.schema import EVENT_SCHEMA, KINDS, OPTIONAL_KINDS, WIDE_SCHEMA
from linnix_rec.capture.writer import CaptureWriter, prepare_directory

CLONE_VM = 0x100
CLONE_VFORK = 0x4000
CLONE_PARENT = 0x8000
CLONE_THREAD = 0x10000

ATTACHED_BOOT_NS = 1_000_000_000_000
REALTIME_OFFSET_NS = 1_790_000_000_000_000_000
CAPTURE_ID = "5d0f6f0e-6c63-4f6f-9d6c-0d1f2a3b4c5d"

Row = dict[str, Any]


@dataclass
class Task:
    """A thread in a story; `comm` changes with its execs."""

    tid: int
    tgid: int
    start_ns: int
    parent: "Task | None" = None
    comm: str = "sh"
    cpu: int = 0


class Story:
    """Builds events with consecutive tickets."""

    def __init__(
        self, first_seq: int = 0, attached_boot_ns: int = ATTACHED_BOOT_NS, step_ns: int = 1000
    ) -> None:
        self.first_seq = first_seq
        self.attached_boot_ns = attached_boot_ns
        self.rows: list[Row] = []
        self.listings: list[Listing] = []
        self._next_seq = first_seq
        self._step_ns = step_ns
        self._now_ns = attached_boot_ns

    def task(
        self,
        tid: int,
        tgid: int | None = None,
        start: int | None = None,
        parent: Task | None = None,
        **changes: Any,
    ) -> Task:
        """A task that existed before the recording (started 1 s before T_on unless `start` says else)."""
        start_ns = self.attached_boot_ns - 1_000_000_000 if start is None else start
        task = Task(tid, tid if tgid is None else tgid, start_ns, parent)
        self._event("task", task, **{"exit_state": 0, "task_flags": 0, **changes})
        return task

    def fork(
        self,
        parent: Task,
        child: int,
        flags: int = 0,
        tgid: int | None = None,
        start: int | None = None,
        **changes: Any,
    ) -> Task:
        """A birth. With CLONE_THREAD the child is a thread of the parent's process."""
        self._now_ns += self._step_ns
        same_parent = flags & (CLONE_THREAD | CLONE_PARENT)
        task = Task(
            child,
            parent.tgid if tgid is None and flags & CLONE_THREAD else child if tgid is None else tgid,
            self._now_ns - self._step_ns // 2 if start is None else start,
            parent.parent if same_parent else parent,
            parent.comm,
        )
        born = {
            "child_tid": task.tid,
            "child_tgid": task.tgid,
            "child_start_ns": task.start_ns,
            "clone_flags": flags,
        }
        self._event("fork", parent, **{**born, **changes})
        return task

    def exec(
        self,
        task: Task,
        filename: str,
        argv: Sequence[str] | None = None,
        old_tid: int | None = None,
        **changes: Any,
    ) -> None:
        """An exec; `old_tid` is another thread's id if that thread took over the process."""
        task.comm = filename.rsplit("/", 1)[-1][:15]
        told = {
            "filename": filename,
            "argv": list(argv) if argv is not None else [filename],
            "argv_truncated": False,
            "old_tid": task.tid if old_tid is None else old_tid,
        }
        self._event("exec", task, **{**told, **changes})

    def exit(self, task: Task, code: int = 0, signal: int = 0, last: bool = True, **changes: Any) -> None:
        """A thread's end; `last` if it is the last of its process."""
        told: Row = {
            "exit_code": code,
            "exit_signal": signal,
            "core_dumped": False,
            "last_thread": last,
            "cpu_ns": 250_000,
            "utime_ns": 0,
            "stime_ns": 0,
            "max_rss_bytes": 1 << 20 if last else None,
            "min_faults": 50,
            "maj_faults": 0,
        }
        self._event("exit", task, **{**told, **changes})

    def syscall(self, task: Task, name: str, nr: int, ret: int = 0, **changes: Any) -> None:
        """A syscall that has returned."""
        told = {"nr": nr, "syscall": name, "arg0": 0, "arg1": 0, "arg2": 0, "ret": ret, "duration_ns": 500}
        self._event("syscall", task, **{**told, **changes})

    def failed_exec(self, task: Task, filename: str, errno: int, **changes: Any) -> None:
        """An exec that failed."""
        told = {"filename": filename, "argv_truncated": False, "errno": errno}
        self._event("failed-exec", task, **{**told, **changes})

    def gap(self, lost: int, reason: str = "lapped", **changes: Any) -> None:
        """Tickets that were issued and could not be captured."""
        row = {"seq": self._next_seq, "slots": 0, "kind": "gap", "lost": lost, "reason": reason}
        self.rows.append({**row, **changes})
        self._next_seq += lost

    def list_task(self, task: Task, **changes: Any) -> None:
        """A row of a listing: a task that runs, and has run, unless `changes` say else."""
        self._event("task", task, **{"exit_state": 0, "task_flags": 0, "cpu_ns": 1000, **changes})

    @contextmanager
    def listing(self, *tasks: Task, whole_host: bool = True) -> Iterator[None]:
        """The kernel lists its tasks: these, and what else is told meanwhile."""
        first_seq = self._next_seq
        for task in tasks:
            self.list_task(task)
        yield
        self.listings.append(Listing(first_seq, self._next_seq, whole_host))

    def batch(self) -> pa.RecordBatch:
        """Give all rows as one batch."""
        return rows_to_batch(self.rows)

    def _event(self, kind: str, task: Task, **values: Any) -> None:
        if kind != "fork":
            self._now_ns += self._step_ns
        parent = task.parent
        slots = values.get("slots", 1)
        self.rows.append(
            {
                "seq": self._next_seq,
                "slots": slots,
                "kind": kind,
                "boot_ns": self._now_ns,
                "time": (self._now_ns + REALTIME_OFFSET_NS) // 1000,
                "cpu": task.cpu,
                "tid": task.tid,
                "tgid": task.tgid,
                "start_ns": task.start_ns,
                "parent_tid": parent.tid if parent else 1,
                "parent_tgid": parent.tgid if parent else 1,
                "parent_start_ns": parent.start_ns if parent else 0,
                "uid": 1000,
                "gid": 1000,
                "cgroup_id": 42,
                "comm": task.comm,
                **values,
            }
        )
        self._next_seq += slots


def rows_to_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Give rows (dicts; absent columns are null) as one batch in EVENT_SCHEMA, or WIDE_SCHEMA if need be."""
    wide = any(row["kind"] in OPTIONAL_KINDS for row in rows)
    return pa.RecordBatch.from_pylist(list(rows), schema=WIDE_SCHEMA if wide else EVENT_SCHEMA)


def arrived(story: Story, *places: int) -> list[Row]:
    """Give a story's rows as they arrived through a channel without tickets: those at `places`, in turn.

    Places count from 0; the rows after the last are those that are not named, in their order.
    """
    rest = [row for place, row in enumerate(story.rows) if place not in places]
    rows = [*(story.rows[place] for place in places), *rest]
    seq, numbered = story.first_seq, []
    for row in rows:
        numbered.append({**row, "seq": seq, "slots": 0 if row["kind"] == "gap" else 1})
        seq += row["lost"] if row["kind"] == "gap" else 1
    return numbered


def consistent_accounts(rows: Sequence[Row]) -> Accounts:
    """Give the kernel-side counts that agree with these rows; tickets before them were all published."""
    first_seq = min((row["seq"] for row in rows), default=0)
    counts = Counter(row["kind"] for row in rows)
    lost = {
        reason: sum(row["lost"] for row in rows if row.get("reason") == reason)
        for reason in ("lapped", "abandoned", "dropped")
    }
    lost["abandoned"] += lost["dropped"]  # as its producer saw it
    captured = sum(row["slots"] for row in rows)
    # Which events the lost tickets were is nobody's knowledge: here they were single-slot forks.
    events = {kind: EventAccount(counts[kind], 0, counts[kind], 0) for kind in KINDS if kind != "gap"}
    events["fork"] = EventAccount(
        seen=counts["fork"] + lost["lapped"] + lost["abandoned"],
        filtered=0,
        claimed=counts["fork"] + lost["lapped"] + lost["abandoned"],
        abandoned=lost["abandoned"],
    )
    return Accounts(
        issued=first_seq + captured + lost["lapped"] + lost["abandoned"],
        published=first_seq + captured + lost["lapped"],
        abandoned=lost["abandoned"],
        events=events,
    )


def document(first_seq: int = 0, attached_boot_ns: int = ATTACHED_BOOT_NS, **changes: Any) -> CaptureDocument:
    """Give a capture.json of a recording that has just begun."""
    fields: Row = {
        "tool_version": "0.1.0",
        "capture_id": CAPTURE_ID,
        "host": Host("testhost", "6.18.0", "x86_64", "b0070000-0000-4000-8000-000000000000", 2, 4096),
        "object": ObjectFile("sequencer.bpf.o", "00" * 32),
        "ring_slots": 1 << 20,
        "filter": Filter("all"),
        "started": Started("2026-09-21T14:16:40Z", attached_boot_ns - 1_000_000, attached_boot_ns, first_seq),
        "clock": (ClockSample(attached_boot_ns, attached_boot_ns + REALTIME_OFFSET_NS),),
        "cgroups": {"42": "/test.slice"},
    }
    return CaptureDocument(**{**fields, **changes})


def write_capture(
    directory: Path,
    story: "Story | Sequence[Row]",
    finished: bool = True,
    accounts: Accounts | None = None,
    rows_per_segment: int | None = None,
    **document_changes: Any,
) -> Path:
    """Write a story or rows as a capture and give its path; accounts agree with the rows unless given.

    Nobody counts for the process connector: a capture with it as its `source` has none.
    """
    rows = story.rows if isinstance(story, Story) else story
    attached = story.attached_boot_ns if isinstance(story, Story) else ATTACHED_BOOT_NS
    first_seq = story.first_seq if isinstance(story, Story) else (rows[0]["seq"] if rows else 0)
    prepare_directory(directory, force=False)
    if isinstance(story, Story):
        document_changes = {"listings": tuple(story.listings), **document_changes}
    begun = document(first_seq, attached, **document_changes)
    writer = CaptureWriter(directory, begun, segment_rows=rows_per_segment or 1 << 30, segment_seconds=3600)
    if rows:
        writer.write(rows_to_batch(rows))
    writer.turn_over()
    if finished:
        last_ns = max((row["boot_ns"] for row in rows if row.get("boot_ns") is not None), default=attached)
        stopped = Stopped("command", "sh ended with status 0", "2026-09-21T14:17:00Z", last_ns + 1000)
        if accounts is None and document_changes.get("source") != "connector":
            accounts = consistent_accounts(rows)
        writer.close(stopped, accounts)
    else:
        writer.abandon()
    return directory
