"""The sequencer: loads and attaches the precompiled object, and reads its ring in ticket order.

Knows the kernel through `linnix_rec.bpf` and the protocol through `linnix_rec.ring`; knows no file.
"""

import hashlib
import mmap
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.bpf.btf import Btf, read_vmlinux, tracepoint_parameters
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.host import kernel_version
from linnix_rec.bpf.load import LoadedObject, load
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.document import Accounts, EventAccount
from linnix_rec.capture.schema import KINDS, TASK
from linnix_rec.errors import UsageError
from linnix_rec.ring.cursor import MINIMUM_SLOTS, Cursor, Gap, Ring
from linnix_rec.sources.cpus import possible_cpus
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.quiesce import wait_for_running_programs

OBJECT_NAME: Final = "sequencer"
MAXIMUM_SLOTS: Final = 1 << 31  # a BPF array counts its entries in 32 bits

# In this order both ways. Attached: whoever's birth is seen, all of its life is. Detached: no task acts
# in the recording whose birth came too late for it.
_ATTACH_ORDER: Final = ("exit", "on_exec", "on_newtask")


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
    return "on_exit_group_dead" if tracepoint_parameters(btf, "sched_process_exit") >= 2 else "on_exit"


@dataclass(frozen=True)
class Counts:
    """What the kernel's accounts say at one moment."""

    issued: int
    published: int
    abandoned: int


class SequencerSource:
    """One attached sequencer. Use as a context manager: leaving detaches and unloads everything.

    ring_slots: N, a power of two; 128 bytes each
    tree_only: record only tasks that `mark` was called for, and their descendants
    """

    def __init__(self, ring_slots: int, *, tree_only: bool, decoder: Decoder) -> None:
        check_ring_slots(ring_slots)
        self.ring_slots = ring_slots
        self.decoder = decoder
        self.attached_boot_ns = 0
        self.events = 0  # read so far
        self.lost = 0  # tickets that stand in gaps
        self.largest_lap = 0  # tickets of the longest gap that was overwritten before it was read
        self._tree_only = tree_only
        self._kernel_btf = read_vmlinux()
        content = read_object(OBJECT_NAME)
        self.object_sha256 = hashlib.sha256(content).hexdigest()
        self._object = self._load(content)
        spec = self._object.spec
        bss = self._object.maps[".bss"].map_memory()
        variables = spec.data[".bss"].variables
        self._next_ticket = _words(bss, variables["next_ticket"])
        self._accounts: npt.NDArray[Any] = np.frombuffer(
            self._object.maps["accounts"].map_memory(), struct_dtype(spec.btf, "account"), possible_cpus()
        )
        slots = np.frombuffer(self._object.maps["ring"].map_memory(), struct_dtype(spec.btf, "slot"))
        self.ring = Ring(slots[:ring_slots], self._next_ticket, _words(bss, variables["abandon_log"]))
        self._cursor = Cursor(self.ring)

    def attach(self) -> None:
        """Begin. T_on, `attached_boot_ns`, is read after the last program is attached."""
        for name in _ATTACH_ORDER:
            program = exit_program(self._kernel_btf) if name == "exit" else name
            self._object.attach(program)
        self.attached_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

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

    def list_tasks(self) -> None:
        """Write one `task` event for each task there is (of the tree, if only that is recorded)."""
        self._object.iterate("list_task")

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
        self._object.detach()
        wait_for_running_programs(self._all_done)

    def accounts(self) -> Accounts:
        """The kernel's own counts; final after `detach`."""
        counts = self.counts()
        sums = {
            name: self._accounts[name].sum(axis=0) for name in ("seen", "filtered", "claimed", "abandoned")
        }
        return Accounts(
            issued=counts.issued,
            published=counts.published,
            abandoned=counts.abandoned,
            events={
                kind: EventAccount(*(int(sums[name][code]) for name in sums))
                for code, kind in enumerate(KINDS)
                if kind != "gap"
            },
            recursion_misses={
                name: program.info().recursion_misses for name, program in self._object.programs.items()
            },
            storage_refused=int(self._accounts["storage_refused"].sum()),
            laps=counts.issued // self.ring_slots,
        )

    def close(self) -> None:
        """Detach and unload."""
        self._object.close()

    def __enter__(self) -> "SequencerSource":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _load(self, content: bytes) -> LoadedObject:
        programs = ["on_newtask", "on_exec", exit_program(self._kernel_btf), "list_task"]
        return load(
            read_object_spec(content, OBJECT_NAME),
            max_entries={"ring": self.ring_slots, "accounts": possible_cpus()},
            rodata={
                "ring_mask": self.ring_slots - 1,
                "tree_only": int(self._tree_only),
                "lookup_can_fail": int((kernel_version(platform.release()) or (0, 0)) < (6, 2)),
            },
            programs=[*programs, "adopt_task", "count_live"] if self._tree_only else programs,
            kernel_btf=self._kernel_btf,
        )

    def _all_done(self) -> bool:
        counts = self.counts()
        return counts.issued == counts.published + counts.abandoned


def _words(memory: mmap.mmap | memoryview, variable: Any) -> npt.NDArray[np.uint64]:
    return np.frombuffer(memory, np.uint64, variable.size // 8, variable.offset)
