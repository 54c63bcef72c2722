"""The sequencer: loads and attaches the precompiled object, and reads its ring in ticket order.

Knows the kernel through `linnix_rec.bpf` and the protocol through `linnix_rec.ring`; knows no file.
"""

import errno
import mmap
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.bpf import pins
from linnix_rec.bpf.btf import Btf, read_vmlinux, tracepoint_parameters
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.bpf.host import kernel_version
from linnix_rec.bpf.load import LoadedObject, load
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.document import Accounts, EventAccount, Listing
from linnix_rec.capture.schema import KINDS, TASK
from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.ring.cursor import MINIMUM_SLOTS, Cursor, Gap, Ring
from linnix_rec.sources.cpus import possible_cpus
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.quiesce import wait_for_running_programs

OBJECT_NAME: Final = "sequencer"
MAXIMUM_SLOTS: Final = 1 << 31  # a BPF array counts its entries in 32 bits

# In this order both ways. Attached: whoever's birth is seen, all of its life is. Detached: no task acts
# in the recording whose birth came too late for it.
_EXIT_PROGRAMS: Final = ("on_exit_group_dead", "on_exit")
_ATTACH_ORDER: Final = (*_EXIT_PROGRAMS, "on_exec", "on_newtask")

#: The inode of the host's own pid namespace (include/linux/proc_ns.h: PROC_PID_INIT_INO).
_HOST_PID_NAMESPACE: Final = 0xEFFFFFFC


def check_ring_slots(slots: int) -> None:
    """Raise UsageError unless a ring can have that many slots."""
    if not MINIMUM_SLOTS <= slots <= MAXIMUM_SLOTS or slots & (slots - 1):
        near = min(max(MINIMUM_SLOTS, 1 << max(slots, 1).bit_length()), MAXIMUM_SLOTS)
        raise UsageError(
            f"a ring of {slots} slots can't be: take a power of two"
            f" from {MINIMUM_SLOTS} to {MAXIMUM_SLOTS}, such as {near}"
        )


def exit_program(btf: Btf) -> str:
    """Since Linux 6.16 the tracepoint says who is the last thread: (task, group_dead)."""
    return _EXIT_PROGRAMS[0 if tracepoint_parameters(btf, "sched_process_exit") >= 2 else 1]


def load_sequencer(ring_slots: int, *, tree_only: bool, with_argv: bool = True) -> LoadedObject:
    """Load the shipped object into this kernel; nothing is attached yet.

    ring_slots: N, a power of two; 128 bytes each
    tree_only: record only tasks that `SequencerSource.mark` is called for, and their descendants
    with_argv: read the arguments of programs; else they never leave their process
    """
    check_ring_slots(ring_slots)
    kernel_btf = read_vmlinux()
    programs = ["on_newtask", "on_exec", exit_program(kernel_btf), "list_task"]
    try:
        return load(
            read_object_spec(read_object(OBJECT_NAME), OBJECT_NAME),
            max_entries={"ring": ring_slots, "accounts": possible_cpus()},
            rodata={
                "ring_mask": ring_slots - 1,
                "tree_only": int(tree_only),
                "with_argv": int(with_argv),
                "lookup_can_fail": int((kernel_version(platform.release()) or (0, 0)) < (6, 2)),
            },
            programs=[*programs, "adopt_task", "count_live"] if tree_only else programs,
            kernel_btf=kernel_btf,
        )
    except KernelRefusedError as error:
        if error.errno in (errno.ENOMEM, errno.E2BIG):
            raise RecordingError(f"{error} by --ring-slots") from error
        raise


@dataclass(frozen=True)
class Counts:
    """What the kernel's accounts say at one moment."""

    issued: int
    published: int
    abandoned: int


class SequencerSource:
    """One sequencer in the kernel. Use as a context manager: leaving lets go of it.

    attached_boot_ns: T_on, if it was attached before, by another process
    seq: the first ticket to read
    pin: where it is pinned, if it is: then it goes on until `detach`, whoever lets go of it
    held: of that directory, if this process is the one that reads it; let go of with the rest
    """

    def __init__(
        self,
        loaded: LoadedObject,
        decoder: Decoder,
        *,
        attached_boot_ns: int = 0,
        seq: int = 0,
        pin: Path | None = None,
        held: pins.Held | None = None,
    ) -> None:
        self.decoder = decoder
        self.attached_boot_ns = attached_boot_ns
        self.pin = pin
        self._held = held
        self.events = 0  # read so far
        self.lost = 0  # tickets that stand in gaps
        self.largest_lap = 0  # tickets of the longest gap that was overwritten before it was read
        self.ring_slots = loaded.maps["ring"].spec.max_entries
        self._object = loaded
        spec = loaded.spec
        bss = loaded.maps[".bss"].map_memory()
        variables = spec.data[".bss"].variables
        self._next_ticket = _words(bss, variables["next_ticket"])
        self._accounts: npt.NDArray[Any] = np.frombuffer(
            loaded.maps["accounts"].map_memory(),
            struct_dtype(spec.btf, "account"),
            loaded.maps["accounts"].spec.max_entries,
        )
        slots = np.frombuffer(loaded.maps["ring"].map_memory(), struct_dtype(spec.btf, "slot"))
        self.ring = Ring(slots[: self.ring_slots], self._next_ticket, _words(bss, variables["abandon_log"]))
        self._cursor = Cursor(self.ring, seq)

    def attach(self) -> None:
        """Begin. T_on, `attached_boot_ns`, is read after the last program is attached."""
        for name in _ATTACH_ORDER:
            if name in self._object.programs:
                self._object.attach(name)
        self.attached_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    @property
    def attached(self) -> int:
        """How many of the three programs are attached."""
        return len(self._object.links)

    def pin_to(self, directory: Path, note: bytes) -> None:
        """Pin it, with a note: it then outlives this process. Raises RecordingError."""
        pins.mount_bpffs()
        self._held = pins.pin_object(self._object, directory, note)
        self.pin = directory

    def note_end(self, note: bytes) -> None:
        """If it is pinned, note beside it how it ends: whoever finds it detached knows then."""
        if self._held is not None:
            self._held.note_end(note)

    def unpin(self) -> None:
        """Take its names away; it ends when nobody holds it any more."""
        if self.pin is not None:
            pins.remove_pins(self.pin)
            self.pin = None

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

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what can be read now, of at most some `limit` tickets, in order."""
        for piece in self._cursor.read(limit, final=final):
            if isinstance(piece, Gap):
                self.lost += piece.lost
                if piece.reason == "lapped":
                    self.largest_lap = max(self.largest_lap, piece.lost)
                batch = self.decoder.gap_batch(piece)
            else:
                batch = self.decoder.batch(piece)
            self.events += batch.num_rows
            yield batch

    @property
    def seq(self) -> int:
        """The first ticket not yet read."""
        return self._cursor.seq

    @property
    def lag(self) -> int:
        """Tickets issued and not yet read."""
        return self._cursor.lag

    @property
    def issued(self) -> int:
        """Tickets issued so far."""
        return int(self._next_ticket[0])

    def counts(self) -> Counts:
        """The accounts' sums over all CPUs; exact once the programs are detached."""
        return Counts(
            issued=self.issued,
            published=int(self._accounts["published_tickets"].sum()),
            abandoned=int(self._accounts["abandoned_tickets"].sum()),
        )

    def detach(self) -> None:
        """End exactly: afterwards no event can come any more, and what is not ready never will be."""
        if self.pin is not None:
            pins.remove_pins(self.pin, links_only=True)
        self._object.links.sort(key=lambda link: _ATTACH_ORDER.index(link.name))
        self._object.detach()
        self.quiesce()

    def quiesce(self) -> None:
        """Wait until whoever has claimed a ticket by now has published or abandoned it."""
        wait_for_running_programs(self._all_done)

    def accounts(self, *, runs: bool = False, running: bool = False) -> Accounts:
        """The kernel's own counts; final after `detach`.

        runs: with the kernel's statistics of the programs, if they are on
        running: programs run; each event is seen before it is filtered or claimed, so what comes later in
        its way is read first, and the sums are bounds
        """
        counts = self.counts()
        order = ("abandoned", "claimed", "filtered", "seen")
        sums = {name: self._accounts[name].sum(axis=0) for name in order}
        infos = {name: program.info() for name, program in self._object.programs.items()}
        recording = [name for name in infos if name in (*_ATTACH_ORDER, "list_task")] if runs else []
        return Accounts(
            issued=counts.issued,
            published=counts.published,
            abandoned=counts.abandoned,
            events={
                kind: EventAccount(**{name: int(sums[name][code]) for name in order})
                for code, kind in enumerate(KINDS)
                if kind != "gap"
            },
            recursion_misses={name: info.recursion_misses for name, info in infos.items()},
            storage_refused=int(self._accounts["storage_refused"].sum()),
            laps=counts.issued // self.ring_slots,
            run_counts={name: infos[name].run_count for name in recording},
            run_time_ns={name: infos[name].run_time_ns for name in recording},
            listings=int(self._accounts["listings"].sum()),
            running=running,
        )

    def close(self) -> None:
        """Let go of it: unless it is pinned, that detaches and unloads it."""
        self._object.close()
        if self._held is not None:
            self._held.close()

    def __enter__(self) -> "SequencerSource":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _all_done(self) -> bool:
        counts = self.counts()
        return counts.issued == counts.published + counts.abandoned


def _words(memory: mmap.mmap | memoryview, variable: Any) -> npt.NDArray[np.uint64]:
    return np.frombuffer(memory, np.uint64, variable.size // 8, variable.offset)
