"""The sequencer: reads the ring in ticket order, and can be pinned, to outlive its recorder.

Knows the kernel through `linnix_rec.bpf` and the protocol through `linnix_rec.ring`; knows no file.
"""

import errno
import mmap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.bpf import pins
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.bpf.load import LoadedObject
from linnix_rec.capture.document import Accounts
from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.ring.cursor import MINIMUM_SLOTS, Cursor, Gap, Ring
from linnix_rec.sources.bpf_source import BpfSource, load_programs
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.syscalls import Events, constants

OBJECT_NAME: Final = "sequencer"
MAXIMUM_SLOTS: Final = 1 << 31  # a BPF array counts its entries in 32 bits


def check_ring_slots(slots: int) -> None:
    """Raise UsageError unless a ring can have that many slots."""
    if not MINIMUM_SLOTS <= slots <= MAXIMUM_SLOTS or slots & (slots - 1):
        near = min(max(MINIMUM_SLOTS, 1 << max(slots, 1).bit_length()), MAXIMUM_SLOTS)
        raise UsageError(
            f"a ring of {slots} slots can't be: take a power of two"
            f" from {MINIMUM_SLOTS} to {MAXIMUM_SLOTS}, such as {near}"
        )


_NO_MORE: Final = Events()


def load_sequencer(
    ring_slots: int, *, tree_only: bool, with_argv: bool = True, events: Events = _NO_MORE
) -> LoadedObject:
    """Load the shipped object into this kernel; nothing is attached yet.

    ring_slots: N, a power of two; 128 bytes each
    tree_only, with_argv: as `load_programs` has them
    events: what is recorded besides forks, execs and exits; each syscall on the host takes longer for it
    """
    check_ring_slots(ring_slots)
    further = [*(["on_sys_enter"] if events.syscalls else []), "on_sys_exit", "note_reader"] if events else []
    try:
        return load_programs(
            OBJECT_NAME,
            tree_only=tree_only,
            with_argv=with_argv,
            max_entries={"ring": ring_slots},
            rodata={"ring_mask": ring_slots - 1, **(constants(events) if events else {})},
            further_programs=further,
        )
    except KernelRefusedError as error:
        if error.errno in (errno.ENOMEM, errno.E2BIG):
            raise RecordingError(f"{error} by --ring-slots") from error
        raise


class SequencerSource(BpfSource):
    """One sequencer in the kernel; its events are numbered there, so `issued` and `lost` are tickets.

    attached_boot_ns: T_on, if it was attached before, by another process
    seq: the first ticket to read
    pin: where it is pinned, if it is: then it goes on until `detach`, whoever lets go of it
    held: of that directory, if this process is the one that reads it; let go of with the rest
    """

    name = OBJECT_NAME
    ordered = True

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
        super().__init__(loaded, decoder, attached_boot_ns=attached_boot_ns)
        self.pin = pin
        self._held = held
        self.largest_lap = 0  # tickets of the longest gap that was overwritten before it was read
        self.ring_slots = loaded.maps["ring"].spec.max_entries
        spec = loaded.spec
        bss = loaded.maps[".bss"].map_memory()
        variables = spec.data[".bss"].variables
        self._next_ticket = _words(bss, variables["next_ticket"])
        slots = np.frombuffer(loaded.maps["ring"].map_memory(), struct_dtype(spec.btf, "slot"))
        self.ring = Ring(slots[: self.ring_slots], self._next_ticket, _words(bss, variables["abandon_log"]))
        self._cursor = Cursor(self.ring, seq)
        self._read_ticket: npt.NDArray[np.uint64] | None = None
        if "reader" in loaded.maps:
            memory = loaded.maps["reader"].map_memory(writable=True)
            self._read_ticket = np.frombuffer(memory, struct_dtype(spec.btf, "reader"), 1)["read_ticket"]
        if held is not None:
            self._leave_out_own_syscalls()

    def attach(self) -> None:
        """Begin. T_on, `attached_boot_ns`, is read after the last program is attached."""
        self._leave_out_own_syscalls()
        super().attach()

    def _leave_out_own_syscalls(self) -> None:
        if "note_reader" in self._object.programs:
            self._object.iterate("note_reader")

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

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what can be read now, of at most some `limit` tickets, in order."""
        for piece in self._cursor.read(limit, final=final):
            self._say_how_far()
            if isinstance(piece, Gap):
                self.lost += piece.lost
                if piece.reason == "lapped":
                    self.largest_lap = max(self.largest_lap, piece.lost)
                batch = self.decoder.gap_batch(piece)
            else:
                batch = self.decoder.batch(piece)
            self.events += batch.num_rows
            yield batch

    def _say_how_far(self) -> None:
        """Syscalls give way to other events by this (bpf_obj/syscalls.h).

        One aligned store of 8 bytes, ordered with nothing: who sees it late, sheds too early. What is there
        was copied before, so the reader is never behind what it says.
        """
        if self._read_ticket is not None:
            self._read_ticket[0] = self._cursor.seq

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

    def detach(self) -> None:
        """End exactly: afterwards no event can come any more, and what is not ready never will be."""
        if self.pin is not None:
            pins.remove_pins(self.pin, links_only=True)
        super().detach()

    def accounts(self, *, runs: bool = False, running: bool = False) -> Accounts:
        """The kernel's own counts; final after `detach`."""
        accounts = super().accounts(runs=runs, running=running)
        return replace(accounts, laps=accounts.issued // self.ring_slots)

    def close(self) -> None:
        """Let go of it: unless it is pinned, that detaches and unloads it."""
        super().close()
        if self._held is not None:
            self._held.close()


def _words(memory: mmap.mmap | memoryview, variable: Any) -> npt.NDArray[np.uint64]:
    return np.frombuffer(memory, np.uint64, variable.size // 8, variable.offset)
