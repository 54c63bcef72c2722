"""Follows every task through the process connector's messages, in the order of arrival. Knows no socket.

A message names thread ids, no start: an identity is made here. Who is born in a message started when that
was made; who was there before started when /proc says, to a clock tick. Who acts and is not known, as the
birth was lost, has no start (0 here, null in a capture).

Where the kernel makes messages (kernel/fork.c, kernel/exit.c, fs/exec.c), from 5.15 to 6.18:

    fork  by the forker, before the new task first runs: it stands before all that the new task does
    exec  by the task itself, before its new program runs
    exit  by the task itself, but behind exit_notify(): by then its parent may have reaped it, another task
          may have its thread id, or a thread that calls exec its place

So a thread id can be born anew before the exit of its last holder is told: that one is then *leaving*, and
the next exit of that thread id is its. A fork names the new task's real parent: that is who forked a process
(but with CLONE_PARENT), and not who made a thread, which is known where the process had one thread only.
"""

from collections.abc import Iterator, Mapping, Sequence

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.sources.connector_lives import (
    LAST,
    NOT_LAST,
    PERHAPS_LAST,
    ActList,
    Entry,
    Look,
    Process,
    Rows,
    Task,
    Who,
)
from linnix_rec.sources.connector_messages import GROUP_CHANGED, RENAMED, USER_CHANGED


class Tasks:
    """All tasks that live.

    tree_only: give rows of members only; `filtered` counts the others
    tick_ns: what starts are cut to in /proc
    strangers: how often somebody acted who was neither born nor found
    """

    def __init__(self, *, tree_only: bool = False, tick_ns: int = 10_000_000) -> None:
        self._tree_only = tree_only
        self._tick_ns = tick_ns
        self._tasks: dict[int, Task] = {}
        self._processes: dict[int, Process] = {}
        self._leaving: dict[int, Task] = {}
        self._looks: list[Look] = []
        self._misses = self._misses_made_good = 0
        self._doubts = False  # whether anybody is doubtful
        self.filtered = 0
        self.strangers = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, acts: ActList, comms: Mapping[int, str | None], begin: int, end: int) -> Rows:
        """Go on with those acts; gives the rows of the events among them.

        comms: by place, the new name in a change of name, and the name after an exec (None if not known)
        """
        rows = Rows()
        places = range(begin, end)
        columns = (column[begin:end] for column in (acts.kind, acts.boot_ns, *acts.words))
        for at, kind, boot_ns, first, second, third, fourth, fifth, sixth in zip(
            places, *columns, strict=True
        ):
            last = NOT_LAST
            if kind == FORK:
                process, who = self._fork(first, second, third, fourth, boot_ns)
            elif kind == EXIT:
                process, who, last = self._exit(first, second, fifth, sixth)
            elif kind == EXEC:
                process, who, old_tid = self._exec(first, second, comms.get(at), acts, at)
                rows.old_tid[at] = old_tid
            else:
                self._change(kind, first, third, comms.get(at))
                continue
            if self._tree_only and not process.member:
                self.filtered += 1
            else:
                rows.at.append(at)
                rows.who.append(who)
                rows.last_thread.append(last)
        return rows

    def miss(self) -> None:
        """Know that messages were lost here: whoever seems to live may have ended."""
        self._misses += 1
        self._leaving.clear()

    @property
    def has_missed(self) -> bool:
        """Whether messages were lost since the last look at /proc that was taken up."""
        return self._misses != self._misses_made_good

    def look(self, now_ns: int) -> Look:
        """Begin a look at /proc, to be given to `learn`, once."""
        look = Look(now_ns, self._misses)
        self._looks.append(look)
        return look

    def learn(self, entries: Sequence[Entry], look: Look, *, since_ns: int) -> list[Who | None]:
        """Take up what a look at /proc found; gives who each is. Messages from before its end are taken.

        since_ns: when messages began. Who is younger and not known has ended, or is about to be told: None.
        But behind a loss every entry is taken up, and whoever lives by the messages alone is doubtful.
        """
        self._looks.remove(look)
        young_ns = since_ns - since_ns % self._tick_ns + self._tick_ns
        found: list[Task | None] = []
        for entry in entries:
            task = self._known(entry)
            wanted = self.has_missed or entry.start_ns < young_ns
            if (task is None or task.who.start_ns == 0) and wanted and entry.tid not in look.ended:
                task = self._take_up(entry)
            found.append(task)
        for entry, task in zip(entries, found, strict=True):
            if task is not None and task.who.parent_tgid == 0:
                self._link(task, entry)
            if task is not None and not task.process.threads:  # a zombie, whom nothing more will be heard of
                self._processes.pop(entry.tgid, None)
        if self.has_missed:
            self._doubt_all_but({entry.tid for entry in entries if not entry.is_dead}, look)
        return [None if task is None else task.who for task in found]

    def mark(self, pid: int) -> bool:
        """Make a process a member of the tree; whether there is one."""
        process = self._processes.get(pid)
        if process is not None:
            process.member = True
        return process is not None

    def adopt(self) -> int:
        """Make all processes that a member is the parent of members, too, and theirs; gives how many."""
        adopted, before = 0, -1
        while adopted != before:
            before = adopted
            for process in self._processes.values():
                parent = None if process.leader is None else process.leader.parent
                if not process.member and parent is not None and parent.process.member:
                    process.member = True
                    adopted += 1
        return adopted

    def living_members(self) -> Iterator[int]:
        """Give the thread ids of the tree's tasks that live."""
        return (tid for tid, task in self._tasks.items() if task.process.member and not task.doubtful)

    def is_member(self, who: Who) -> bool:
        """Whether it is in the tree."""
        process = self._processes.get(who.tgid)
        return process is not None and process.member

    # ---- what the messages say ----

    def _fork(
        self, parent_tid: int, parent_tgid: int, tid: int, tgid: int, boot_ns: int
    ) -> tuple[Process, Who]:
        parent = self._tasks.get(parent_tid) or self._stranger(parent_tid, parent_tgid)
        if tid == tgid:
            forker = self._told(parent)
            process = self._processes[tgid] = Process(tgid, parent.process.member)
        else:
            process = self._processes.get(tgid) or self._stranger(tgid, tgid).process
            forker = self._maker_of_thread(process, parent.who)
        before = self._tasks.get(tid)
        if before is not None:
            self._displace(tid, before, boot_ns)
        who = Who(tid, tgid, boot_ns, parent_tid, parent_tgid, parent.who.start_ns, *forker[6:])
        task = self._tasks[tid] = Task(who, process, parent)
        process.threads.add(tid)
        if tid == tgid:
            process.leader = task
        return process, forker

    def _maker_of_thread(self, process: Process, parent: Who) -> Who:
        if len(process.threads) == 1 and (threads := self._threads_of(process)):
            return self._told(threads[0])
        known = process.leader.who if process.leader else Who(0, process.tgid)
        return Who(0, process.tgid, 0, parent.tid, parent.tgid, parent.start_ns, known.uid, known.gid)

    def _displace(self, tid: int, before: Task, boot_ns: int) -> None:
        """Somebody is born with this thread id: the end of its last holder is still to come, or was lost."""
        found_early = before.who.start_ns % self._tick_ns == 0 and self._started_by(before.who, boot_ns)
        if found_early or before.doubtful or self.has_missed:
            self._end(before)
        else:
            self._leaving[tid] = before

    def _exec(
        self, tid: int, tgid: int, comm: str | None, acts: ActList, at: int
    ) -> tuple[Process, Who, int]:
        old_tid = tid
        task = self._tasks.get(tid)
        if task is None:
            leader = self._waiting_leader(tid, tgid)
            if leader is None:
                task = self._stranger(tid, tgid)
            else:
                old_tid = self._take_over(leader, acts, at)
                task = leader
        else:
            task.process.threads = {tid}
        task.who = self._told(task)._replace(comm=comm)
        return task.process, task.who, old_tid

    def _waiting_leader(self, tid: int, tgid: int) -> Task | None:
        """The leader that has exited, and whose place a thread of its process can take by an exec."""
        process = self._processes.get(tgid) if tid == tgid else None
        return process.leader if process is not None and process.leader and process.leader.over else None

    def _take_over(self, leader: Task, acts: ActList, at: int) -> int:
        """Give a leader's place to the thread that is left, and its old thread id; 0 if there are several.

        de_thread() has ended all others, but perhaps not told their exits yet.
        """
        process = leader.process
        ends_later = {
            tid for kind, tid in zip(acts.kind[at:], acts.words[0][at:], strict=True) if kind == EXIT
        }
        left = [task for task in self._threads_of(process) if task.who.tid not in ends_later]
        for task in left:
            task.doubtful = self._doubts = True
        if len(left) == 1:
            self._end(left[0])
        leader.over = False
        self._tasks[process.tgid] = leader
        self._processes[process.tgid] = process
        process.threads = {process.tgid}
        return left[0].who.tid if len(left) == 1 else 0

    def _exit(self, tid: int, tgid: int, parent_tid: int, parent_tgid: int) -> tuple[Process, Who, int]:
        task = self._leaving.pop(tid, None) or self._tasks.pop(tid, None)
        if task is None:
            task = self._waiting_leader(tid, tgid)
            if task is None:
                task = Task(Who(tid, tgid), self._processes.get(tgid) or Process(tgid, member=False))
                self.strangers += 1
            else:  # the exec that was to take its place has failed, past the point of no return
                for other in self._threads_of(task.process):
                    self._end(other)
        who = self._told(task)
        if parent_tid not in (0, who.parent_tid):  # 0: it is reaped already
            parent = self._tasks.get(parent_tid)
            start_ns = 0 if parent is None else parent.who.start_ns
            who = who._replace(parent_tid=parent_tid, parent_tgid=parent_tgid, parent_start_ns=start_ns)
        process = task.process
        process.threads.discard(tid)
        task.over, task.parent = True, None
        for look in self._looks:
            look.ended.add(tid)
        last = self._is_last(process)
        if not process.threads:
            process.leader = None  # no cycle is left, which Python would have to find
            if self._processes.get(tgid) is process:
                del self._processes[tgid]
        return process, who, last

    def _threads_of(self, process: Process) -> list[Task]:
        found = (self._tasks.get(tid) for tid in process.threads)
        return [task for task in found if task is not None and task.process is process]

    def _is_last(self, process: Process) -> int:
        if not process.threads:
            return LAST
        if not self._doubts:
            return NOT_LAST
        return PERHAPS_LAST if all(task.doubtful for task in self._threads_of(process)) else NOT_LAST

    def _change(self, kind: int, tid: int, number: int, comm: str | None) -> None:
        task = self._tasks.get(tid)
        if task is None:
            return
        if kind == RENAMED:
            task.who = task.who._replace(comm=comm)
        elif kind == USER_CHANGED:
            task.who = task.who._replace(uid=number)
        elif kind == GROUP_CHANGED:
            task.who = task.who._replace(gid=number)

    def _told(self, task: Task) -> Who:
        """What is known of a task now: of one whose parent has ended, not who has become its parent."""
        if task.parent is not None and task.parent.over:
            task.parent = None
            task.who = task.who._replace(parent_tid=0, parent_tgid=0, parent_start_ns=0)
        return task.who

    def _end(self, task: Task) -> None:
        """Take a task away whose end is not told."""
        tid, tgid = task.who[:2]
        if self._tasks.get(tid) is task:
            del self._tasks[tid]
        task.process.threads.discard(tid)
        task.over, task.parent = True, None
        for look in self._looks:
            look.ended.add(tid)
        if not task.process.threads and self._processes.get(tgid) is task.process:
            del self._processes[tgid]

    def _stranger(self, tid: int, tgid: int) -> Task:
        """Somebody who acts, and was neither born nor found."""
        self.strangers += 1
        process = self._processes.get(tgid)
        if process is None:
            process = self._processes[tgid] = Process(tgid, member=False)
        task = self._tasks[tid] = Task(Who(tid, tgid), process)
        process.threads.add(tid)
        if tid == tgid:
            process.leader = task
        return task

    # ---- what /proc says ----

    def _known(self, entry: Entry) -> Task | None:
        task = self._tasks.get(entry.tid)
        if task is None and entry.tid == entry.tgid:
            process = self._processes.get(entry.tgid)
            task = None if process is None else process.leader
        if task is None or task.who.start_ns == 0 or self._started_by(entry, task.who.start_ns):
            return task
        return None

    def _started_by(self, cut: Entry | Who, made_ns: int) -> bool:
        """Whether one start can be the other, cut to a tick: it is made later in copy_process()."""
        return cut.start_ns <= made_ns < cut.start_ns + 2 * self._tick_ns

    def _take_up(self, entry: Entry) -> Task:
        held = self._tasks.get(entry.tid)
        if held is not None:
            self._end(held)
        process = self._processes.setdefault(entry.tgid, Process(entry.tgid, member=False))
        who = Who(
            entry.tid, entry.tgid, max(1, entry.start_ns), uid=entry.uid, gid=entry.gid, comm=entry.comm
        )
        task = Task(who, process, over=entry.is_dead)
        if entry.tid == entry.tgid:
            process.leader = task
        if not entry.is_dead:
            self._tasks[entry.tid] = task
            process.threads.add(entry.tid)
        return task

    def _link(self, task: Task, entry: Entry) -> None:
        """Name a task's parent, by its process: /proc does not say which thread it is."""
        parent = self._tasks.get(entry.parent_tgid)
        if parent is None:
            return
        task.parent = parent
        task.who = task.who._replace(
            parent_tid=parent.who.tid, parent_tgid=entry.parent_tgid, parent_start_ns=parent.who.start_ns
        )
        if self.has_missed and parent.process.member:
            task.process.member = True

    def _doubt_all_but(self, living: set[int], look: Look) -> None:
        for tid, task in self._tasks.items():
            task.doubtful = tid not in living and task.who.start_ns < look.begun_ns
            self._doubts |= task.doubtful
        self._misses_made_good = look.misses
