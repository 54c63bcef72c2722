"""What the three BPF channels share: their programs' object, attached in order, its accounts, the tree.

Knows the kernel through `linnix_rec.bpf`; knows no file, and not how a channel is read.
"""

import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.bpf.btf import Btf, read_vmlinux, tracepoint_parameters
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.host import kernel_version
from linnix_rec.bpf.load import LoadedObject, load
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.document import Accounts, Channel, EventAccount, Listing
from linnix_rec.capture.schema import KINDS, OPTIONAL_KINDS, TASK
from linnix_rec.sources.cpus import possible_cpus
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.quiesce import wait_for_running_programs

# In this order both ways. Attached: whoever's birth is seen, all of its life is. Detached: no task acts
# in the recording whose birth came too late for it.
_EXIT_PROGRAMS: Final = ("on_exit_group_dead", "on_exit")
ATTACH_ORDER: Final = (*_EXIT_PROGRAMS, "on_exec", "on_sys_exit", "on_sys_enter", "on_newtask")

#: The inode of the host's own pid namespace (include/linux/proc_ns.h: PROC_PID_INIT_INO).
_HOST_PID_NAMESPACE: Final = 0xEFFFFFFC


def exit_program(btf: Btf) -> str:
    """Since Linux 6.16 the tracepoint says who is the last thread: (task, group_dead)."""
    return _EXIT_PROGRAMS[0 if tracepoint_parameters(btf, "sched_process_exit") >= 2 else 1]


def load_programs(
    name: str,
    *,
    tree_only: bool,
    with_argv: bool,
    max_entries: Mapping[str, int],
    rodata: Mapping[str, int | bytes],
    further_programs: Sequence[str] = (),
) -> LoadedObject:
    """Load the shipped object `name` into this kernel; nothing is attached yet.

    tree_only: record only tasks that `BpfSource.mark` is called for, and their descendants
    with_argv: read the arguments of programs; else they never leave their process
    max_entries, rodata, further_programs: what the channel needs besides
    """
    kernel_btf = read_vmlinux()
    programs = ["on_newtask", "on_exec", exit_program(kernel_btf), "list_task", *further_programs]
    return load(
        read_object_spec(read_object(name), name),
        max_entries={"accounts": possible_cpus(), **max_entries},
        rodata={
            "tree_only": int(tree_only),
            "with_argv": int(with_argv),
            "lookup_can_fail": int((kernel_version(platform.release()) or (0, 0)) < (6, 2)),
            **rodata,
        },
        programs=[*programs, "adopt_task", "count_live"] if tree_only else programs,
        kernel_btf=kernel_btf,
    )


_AnySource = TypeVar("_AnySource", bound="BpfSource")


class BpfSource(ABC):
    """A channel's programs in the kernel. Use as a context manager: leaving lets go of them.

    attached_boot_ns: T_on, if they were attached before, by another process
    events, lost: read so far; what stands in gaps so far
    """

    name: str
    ordered = False
    pin: Path | None = None
    ring_slots = 0
    largest_lap = 0
    channel: Channel | None = None
    remarks: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()

    def __init__(self, loaded: LoadedObject, decoder: Decoder, *, attached_boot_ns: int = 0) -> None:
        self.decoder = decoder
        self.attached_boot_ns = attached_boot_ns
        self.events = 0
        self.lost = 0
        self._object = loaded
        self._accounts: npt.NDArray[Any] = np.frombuffer(
            loaded.maps["accounts"].map_memory(),
            struct_dtype(loaded.spec.btf, "account"),
            loaded.maps["accounts"].spec.max_entries,
        )

    @property
    def realtime_offset_ns(self) -> int:
        """CLOCK_REALTIME - CLOCK_BOOTTIME, as events are given their time by."""
        return self.decoder.realtime_offset_ns

    @realtime_offset_ns.setter
    def realtime_offset_ns(self, offset_ns: int) -> None:
        self.decoder.realtime_offset_ns = offset_ns

    def attach(self) -> None:
        """Begin. T_on, `attached_boot_ns`, is read after the last program is attached."""
        for name in ATTACH_ORDER:
            if name in self._object.programs:
                self._object.attach(name)
        self.attached_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    @property
    def attached(self) -> int:
        """How many of the programs are attached."""
        return len(self._object.links)

    @property
    def to_attach(self) -> int:
        """How many programs a recording has attached all along."""
        return sum(name in self._object.programs for name in ATTACH_ORDER)

    @property
    def shed(self) -> int:
        """Syscalls and failed execs so far that took no ticket, as the reader was too far behind."""
        return int(self._counter("shed").sum())

    def mark(self, pidfd: int) -> None:
        """Make the process's first thread a member of the tree."""
        self._object.maps["tree"].update(pidfd.to_bytes(4, "little"), b"\1")

    def adopt(self) -> None:
        """Make all that the tree's tasks have forked so far, and their threads, members of it.

        T_on is read again: who was adopted was forked by a task that was no member yet, unrecorded.
        """
        before = -1
        while before != (before := int(self._accounts["adopted"].sum())):
            self._object.iterate("adopt_task")
        self.attached_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def live_tasks(self) -> int:
        """How many tasks of the tree still run, this process's own left out; looks at every task."""
        before = int(self._accounts["live"].sum())
        self._object.iterate("count_live")
        return int(self._accounts["live"].sum()) - before

    def list_tasks(self) -> Listing:
        """Write one `task` event for each task there is (of the tree, if only that is recorded)."""
        first_seq = self.issued
        self._object.iterate("list_task")
        whole_host = os.stat("/proc/self/ns/pid").st_ino == _HOST_PID_NAMESPACE
        return Listing(first_seq, self.issued, whole_host)

    @property
    def listed(self) -> int:
        """How many `task` events there were."""
        return int(self._accounts["claimed"][:, TASK].sum())

    @property
    def issued(self) -> int:
        """Events offered to the channel so far."""
        return int(self._accounts["claimed"].sum())

    @abstractmethod
    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what can be read now, of at most some `limit` events, in the channel's order.

        final: no program runs any more, and what was lost and is not told yet is told
        """

    def detach(self) -> None:
        """End exactly: afterwards no event can come any more."""
        self._object.links.sort(key=lambda link: ATTACH_ORDER.index(link.name))
        self._object.detach()
        self.quiesce()

    def quiesce(self) -> None:
        """Wait until whoever was offering an event has handed it over, or dropped it."""
        wait_for_running_programs(self._all_done)

    def accounts(self, *, runs: bool = False, running: bool = False) -> Accounts:
        """The kernel's own counts; final after `detach`.

        runs: with the kernel's statistics of the programs, if they are on
        running: programs run; each event is seen before it is filtered or claimed, so what comes later in
        its way is read first, and the sums are bounds
        """
        issued, published, abandoned = self._issued_published_abandoned()
        order = ("abandoned", "claimed", "shed", "filtered", "seen")
        sums = {name: self._counter(name).sum(axis=0) for name in order}
        infos = {name: program.info() for name, program in self._object.programs.items()}
        recording = [name for name in infos if name in (*ATTACH_ORDER, "list_task")] if runs else []
        return Accounts(
            issued=issued,
            published=published,
            abandoned=abandoned,
            events={
                kind: EventAccount(**{name: int(sums[name][code]) for name in order})
                for code, kind in enumerate(KINDS[: len(sums["seen"])])
                if kind != "gap" and (kind not in OPTIONAL_KINDS or "on_sys_exit" in infos)
            },
            recursion_misses={name: info.recursion_misses for name, info in infos.items()},
            storage_refused=int(self._accounts["storage_refused"].sum()),
            run_counts={name: infos[name].run_count for name in recording},
            run_time_ns={name: infos[name].run_time_ns for name in recording},
            listings=int(self._accounts["listings"].sum()),
            running=running,
            syscalls_unbegun=int(self._counter("unbegun").sum()),
            syscalls_unwanted=int(self._counter("unwanted").sum()),
        )

    def close(self) -> None:
        """Let go of it: unless it is pinned, that detaches and unloads it."""
        self._object.close()

    def __enter__(self: "_AnySource") -> "_AnySource":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _counter(self, name: str) -> npt.NDArray[np.uint64]:
        """A counter of each CPU's; an object that an earlier version has pinned may not have it."""
        if name in (self._accounts.dtype.names or ()):
            counters: npt.NDArray[np.uint64] = self._accounts[name]
            return counters
        return np.zeros_like(self._accounts["seen"])

    def _issued_published_abandoned(self) -> tuple[int, int, int]:
        """In this order of reading: an event is issued before it is published or abandoned."""
        published = int(self._accounts["published_tickets"].sum())
        abandoned = int(self._accounts["abandoned_tickets"].sum())
        return self.issued, published, abandoned

    def _all_done(self) -> bool:
        issued, published, abandoned = self._issued_published_abandoned()
        return issued == published + abandoned
