"""Puts the rows of a capture together: which are one process's, and who is whose parent. Knows no screen."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture.schema import EXEC, EXIT, FORK, GAP, TASK
from linnix_rec.replay.identity import NOBODY, Identities
from linnix_rec.replay.process import CLONE_PARENT
from linnix_rec.replay.rows import NO_TEXT, Rows, RowStore

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# include/linux/sched.h
_PF_EXITING: Final = 0x4
_PF_KTHREAD: Final = 0x200000

#: Parent of all kernel threads.
_KTHREADD_PID: Final = 2


@dataclass(frozen=True)
class Family:
    """A capture's processes as columns, one value each, in the order of their birth.

    `birth_row` and `exit_row` point into `forks` and `exits`; the children of process i are
    `child[first_child[i]:first_child[i + 1]]`, its execs likewise in `execs` and `argv`.
    """

    pid: NDArray[np.int32]
    start_ns: NDArray[np.uint64]
    comm: NDArray[np.int32]
    first_comm: NDArray[np.int32]
    uid: Numbers
    parent: Numbers
    parent_pid: NDArray[np.int32]
    threads: Numbers
    cpu_ns: NDArray[np.uint64]
    snapshot: Flags
    kernel_thread: Flags
    dead_before: Flags
    active: Flags
    exit_may_be_lost: Flags
    birth_row: Numbers
    exit_row: Numbers
    first_exec: Numbers
    first_child: Numbers
    child: Numbers
    forks: Rows
    execs: Rows
    argv: pa.ListArray
    exits: Rows
    gaps: Rows
    events: int

    def own_columns(self) -> tuple[NDArray[np.generic], ...]:
        """Give the columns that hold one plain value a process, in the order declared."""
        return (
            *(
                self.pid,
                self.start_ns,
                self.comm,
                self.first_comm,
                self.uid,
                self.parent,
                self.parent_pid,
                self.threads,
            ),
            *(
                self.cpu_ns,
                self.snapshot,
                self.kernel_thread,
                self.dead_before,
                self.active,
                self.exit_may_be_lost,
            ),
        )


def assemble(store: RowStore) -> Family:
    """Put the store's rows together; the store is emptied."""
    rows = _Kinds(*(store.take(kind) for kind in (FORK, EXEC, EXIT, TASK)))
    forks, execs, exits, tasks = rows.forks, rows.execs, rows.exits, rows.tasks
    identities = _identities(rows)
    members = _Members(
        len(identities),
        forker=identities.find(forks["tgid"], forks["start_ns"]),
        forked=identities.find(forks["child_tgid"], forks["child_start_ns"]),
        execed=identities.find(execs["tgid"], execs["start_ns"]),
        exited=identities.find(exits["tgid"], exits["start_ns"]),
        listed=identities.find(tasks["tgid"], tasks["start_ns"]),
    )
    birth_row = members.birth_rows(forks)
    order = np.lexsort((identities.pids, identities.starts_ns, _seq_or_zero(forks, birth_row)))
    members = members.renumbered(order)
    birth_row, pid, start_ns = birth_row[order], identities.pids[order], identities.starts_ns[order]

    parent_pid, parent_start_ns = _parent_identities(members, rows)
    parent = _renumbered(identities.find(parent_pid, parent_start_ns), order)
    parent = _only_elders(parent, pid, start_ns)
    kernel_thread = _kernel_threads(members, parent, parent_pid, tasks, birth_row)
    exec_order = np.argsort(members.execed, kind="stable")
    child = np.argsort(parent, kind="stable")
    bounds = np.arange(pid.size + 1)
    exit_row, gaps = members.exit_rows(exits), store.take(GAP)
    comm, uid = _last_names(members, rows, birth_row)
    return Family(
        pid=pid,
        start_ns=start_ns,
        comm=comm,
        first_comm=_first_names(members, rows, birth_row, comm),
        uid=uid,
        parent=parent,
        parent_pid=parent_pid,
        threads=_thread_counts(members, rows),
        cpu_ns=_sums(members.exited, exits["cpu_ns"], pid.size),
        snapshot=members.seen_in(members.listed),
        kernel_thread=kernel_thread,
        dead_before=_dead_before(members, tasks),
        active=members.active(),
        exit_may_be_lost=_exits_maybe_lost(members, rows, exit_row, gaps),
        birth_row=birth_row,
        exit_row=exit_row,
        first_exec=np.searchsorted(members.execed[exec_order], bounds),
        first_child=np.searchsorted(parent[child], bounds),
        child=child,
        forks=forks,
        execs=execs[exec_order],
        argv=store.take_argv().combine_chunks().take(pa.array(exec_order)),
        exits=exits,
        gaps=gaps,
        events=sum(map(len, rows)),
    )


class _Kinds(NamedTuple):
    """The rows of a capture by what they tell."""

    forks: Rows
    execs: Rows
    exits: Rows
    tasks: Rows


def _identities(kinds: _Kinds) -> Identities:
    forks = kinds.forks
    born = forks["child_tid"] == forks["child_tgid"]
    leaders = [(forks["child_tgid"][born], forks["child_start_ns"][born])]
    everyone = [(forks["child_tgid"], forks["child_start_ns"])]
    for rows in kinds:
        leads = rows["tid"] == rows["tgid"]
        leaders.append((rows["tgid"][leads], rows["start_ns"][leads]))
        everyone.append((rows["tgid"], rows["start_ns"]))
    tgid, start_ns = (np.concatenate(column) for column in zip(*leaders, strict=True))
    known = Identities(tgid, start_ns)
    leaderless = [tgid[known.find(tgid, start_ns) == NOBODY] for tgid, start_ns in everyone]
    return Identities(tgid, start_ns, leaderless) if any(map(len, leaderless)) else known


class _Members:
    """Which process each row is about, per kind; for forks both the one who forked and the one forked."""

    def __init__(
        self,
        count: int,
        *,
        forker: Numbers,
        forked: Numbers,
        execed: Numbers,
        exited: Numbers,
        listed: Numbers,
    ) -> None:
        self.count = count
        self.forker, self.forked = forker, forked
        self.execed, self.exited, self.listed = execed, exited, listed

    def renumbered(self, order: Numbers) -> "_Members":
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        return _Members(
            self.count,
            forker=place[self.forker],
            forked=place[self.forked],
            execed=place[self.execed],
            exited=place[self.exited],
            listed=place[self.listed],
        )

    def seen_in(self, members: Numbers) -> Flags:
        seen = np.zeros(self.count, np.bool_)
        seen[members] = True
        return seen

    def active(self) -> Flags:
        return (
            self.seen_in(self.forker)
            | self.seen_in(self.forked)
            | self.seen_in(self.execed)
            | self.seen_in(self.exited)
        )

    def birth_rows(self, forks: Rows) -> Numbers:
        """Give the row of each process's own fork; the first, should a damaged capture have two."""
        rows = np.flatnonzero(forks["child_tid"] == forks["child_tgid"])[::-1]
        return _placed(self.count, self.forked[rows], rows)

    def exit_rows(self, exits: Rows) -> Numbers:
        """Give the row that ends each process.

        Before 6.16 several threads that exit at once can each look like the last: the last of them counts.
        """
        rows = np.flatnonzero(exits["last_thread"])
        return _placed(self.count, self.exited[rows], rows)


def _placed(count: int, members: Numbers, values: Numbers) -> Numbers:
    # Of a repeated index numpy keeps the last value assigned.
    placed = np.full(count, NOBODY, np.int64)
    placed[members] = values
    return placed


def _renumbered(members: Numbers, order: Numbers) -> Numbers:
    place = np.full(order.size + 1, NOBODY, np.int64)  # one more, so that NOBODY stays NOBODY
    place[order] = np.arange(order.size)
    return place[members]


def _seq_or_zero(rows: Rows, at: Numbers) -> NDArray[np.uint64]:
    if not rows.size:
        return np.zeros(at.size, np.uint64)
    return np.where(at == NOBODY, np.uint64(0), rows["seq"][at])


def _parent_identities(members: _Members, kinds: _Kinds) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Give each process's parent (process id, start of the thread that is the real parent).

    The fork says best; next the snapshot, then what a process's own rows say, earlier before later: its
    parent may have died since, and it been handed to another.
    """
    pid = np.zeros(members.count, np.int32)
    start_ns = np.zeros(members.count, np.uint64)
    for member, rows in (
        (members.exited, kinds.exits),
        (members.forker, kinds.forks),
        (members.execed, kinds.execs),
        (members.listed, kinds.tasks),
    ):
        pid[member[::-1]] = rows["parent_tgid"][::-1]
        start_ns[member[::-1]] = rows["parent_start_ns"][::-1]
    leaders = np.flatnonzero(kinds.forks["child_tid"] == kinds.forks["child_tgid"])
    born = kinds.forks[leaders]
    siblings = (born["clone_flags"] & np.uint64(CLONE_PARENT)) != 0
    pid[members.forked[leaders]] = np.where(siblings, born["parent_tgid"], born["tgid"])
    start_ns[members.forked[leaders]] = np.where(siblings, born["parent_start_ns"], born["start_ns"])
    return pid, start_ns


def _only_elders(parent: Numbers, pid: NDArray[np.int32], start_ns: NDArray[np.uint64]) -> Numbers:
    """Cut parents that started after their child: none does, and a damaged capture must not make a ring."""
    if not parent.size:
        return parent
    elder = (start_ns[parent] < start_ns) | ((start_ns[parent] == start_ns) & (pid[parent] < pid))
    return np.where((parent != NOBODY) & elder, parent, NOBODY)


def _kernel_threads(
    members: _Members, parent: Numbers, parent_pid: NDArray[np.int32], tasks: Rows, birth_row: Numbers
) -> Flags:
    kernel = members.seen_in(members.listed[(tasks["task_flags"] & np.uint32(_PF_KTHREAD)) != 0])
    if not parent.size:
        return kernel
    of_kthreadd = (birth_row != NOBODY) & (parent_pid == _KTHREADD_PID)
    of_kthreadd &= (parent != NOBODY) & kernel[parent]
    threads: Flags = kernel | (of_kthreadd & ~members.seen_in(members.execed))
    return threads


def _last_names(members: _Members, kinds: _Kinds, birth_row: Numbers) -> tuple[NDArray[np.int32], Numbers]:
    """Give each process's name (a text's number) and uid, as its leader's last row has them.

    Without such a row: as any of its threads' has them; failing that, what it got from its forker.
    """
    comm = np.full(members.count, NO_TEXT, np.int32)
    uid = np.full(members.count, -1, np.int64)
    born = np.flatnonzero(birth_row != NOBODY)
    comm[born] = kinds.forks["comm"][birth_row[born]]
    uid[born] = kinds.forks["uid"][birth_row[born]]
    member = np.concatenate([members.forker, members.execed, members.exited, members.listed])
    seq, tid, tgid, comms, uids = (
        np.concatenate([rows[name] for rows in kinds]) for name in ("seq", "tid", "tgid", "comm", "uid")
    )
    order = np.lexsort((seq, tid == tgid))
    comm[member[order]], uid[member[order]] = comms[order], uids[order]
    return comm, uid


def _first_names(
    members: _Members, kinds: _Kinds, birth_row: Numbers, last: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Give the name that each process got from its forker, or that the snapshot saw; else the last one."""
    comm: NDArray[np.int32] = last.copy()
    leads = kinds.tasks["tid"] == kinds.tasks["tgid"]
    comm[members.listed[leads]] = kinds.tasks["comm"][leads]
    born = np.flatnonzero(birth_row != NOBODY)
    comm[born] = kinds.forks["comm"][birth_row[born]]
    return comm


def _thread_counts(members: _Members, kinds: _Kinds) -> Numbers:
    """Count the threads that each process had in all, its leader among them."""
    forks = kinds.forks
    born = forks["child_tid"] != forks["child_tgid"]
    parts = [(members.forked[born], forks["child_tid"][born], forks["child_start_ns"][born])]
    for member, rows in (
        (members.exited, kinds.exits),
        (members.listed, kinds.tasks),
        (members.forker, forks),
    ):
        other = rows["tid"] != rows["tgid"]
        parts.append((member[other], rows["tid"][other], rows["start_ns"][other]))
    member, tid, start_ns = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((start_ns, tid, member))
    member, tid, start_ns = member[order], tid[order], start_ns[order]
    new = np.ones(member.size, np.bool_)
    new[1:] = (np.diff(member) != 0) | (np.diff(tid) != 0) | (start_ns[1:] != start_ns[:-1])
    return 1 + np.bincount(member[new], minlength=members.count)


def _sums(members: Numbers, values: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    sums = np.zeros(count, np.uint64)
    np.add.at(sums, members, values)
    return sums


def _dead_before(members: _Members, tasks: Rows) -> Flags:
    """Say which processes the snapshot lists only as dead or dying, and that did nothing after it."""
    dead = (tasks["exit_state"] != 0) | ((tasks["task_flags"] & np.uint32(_PF_EXITING)) != 0)
    return members.seen_in(members.listed[dead]) & ~members.seen_in(members.listed[~dead]) & ~members.active()


def _exits_maybe_lost(members: _Members, kinds: _Kinds, exit_row: Numbers, gaps: Rows) -> Flags:
    """Say which processes have no exit, but a gap after the last that was seen of them."""
    last_seq = np.zeros(members.count, np.uint64)
    seen = [(members.forked, kinds.forks), (members.forker, kinds.forks), (members.execed, kinds.execs)]
    for member, rows in (*seen, (members.exited, kinds.exits), (members.listed, kinds.tasks)):
        last_of_kind = np.zeros(members.count, np.uint64)
        last_of_kind[member] = rows["seq"]
        np.maximum(last_seq, last_of_kind, out=last_seq)
    maybe: Flags = (exit_row == NOBODY) & (last_seq < gaps["seq"].max(initial=np.uint64(0)))
    return maybe
