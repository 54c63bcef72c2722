"""What a recording drives, whatever its events come through. States it only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from linnix_rec.capture.document import Accounts, Channel, Listing


class Source(Protocol):
    """Events of this host, one by one in the source's order; a context manager that lets go of all it holds.

    name: as `--source` has it
    ordered: it numbers events in the kernel, and says of each lost one which number it had
    channel: what capture.json says of one that does not number them
    remarks: what of it is not as it should be, a line each
    descriptors: readable when something waits; none if it wakes nobody
    realtime_offset_ns: CLOCK_REALTIME - CLOCK_BOOTTIME, as events are given their time by; set anew at will
    attached_boot_ns: T_on: who was born later was seen born
    attached: what of it is attached, 0 for nothing
    pin: where it is pinned, if it is: then it goes on until `detach`, whoever lets go of it
    events, lost: rows that were read so far; events (or tickets) that stand in gaps so far
    ring_slots: size of a ring that is overwritten, else 0; largest_lap: the longest gap of it, in tickets
    issued: events (or tickets) made so far; seq: the first not yet read; lag: how many are not read
    listed: how many `task` events there were
    """

    name: str
    ordered: bool
    channel: Channel | None
    descriptors: tuple[int, ...]
    realtime_offset_ns: int
    attached_boot_ns: int
    pin: Path | None
    events: int
    lost: int
    ring_slots: int
    largest_lap: int

    @property
    def remarks(self) -> tuple[str, ...]: ...

    @property
    def attached(self) -> int: ...

    @property
    def issued(self) -> int: ...

    @property
    def seq(self) -> int: ...

    @property
    def lag(self) -> int: ...

    @property
    def listed(self) -> int: ...

    def attach(self) -> None:
        """Begin."""

    def mark(self, pidfd: int) -> None:
        """Make the process's first thread a member of the tree."""

    def adopt(self) -> None:
        """Make all that the tree's tasks have forked so far, and their threads, members of it."""

    def live_tasks(self) -> int:
        """How many tasks of the tree still run, this process's own left out."""

    def list_tasks(self) -> Listing:
        """Make a `task` event of each task there is (of the tree, if only that is recorded)."""

    def read(self, limit: int, *, final: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what can be read now, of at most some `limit` events; `final` after `detach`."""

    def note_end(self, note: bytes) -> None:
        """If it is pinned, note beside it how it ends."""

    def unpin(self) -> None:
        """Take its names away, if it is pinned."""

    def detach(self) -> None:
        """End exactly: afterwards no event can come any more."""

    def accounts(self, *, runs: bool = False, running: bool = False) -> Accounts | None:
        """The kernel's own counts, if there are any; final after `detach`."""

    def close(self) -> None:
        """Let go of it: unless it is pinned, that ends it."""

    def __enter__(self) -> Source: ...

    def __exit__(self, *exception: object) -> None: ...
