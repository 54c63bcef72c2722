"""What a capture holds, in figures: counts, commands, losses. Knows no files and no screen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EXEC, FORK, GAP, KINDS, SYSCALL

#: What the figures are made of, to ask of a reader.
COLUMNS: Final = ("kind", "boot_ns", "child_tid", "child_tgid", "filename", "lost", "reason", "syscall")


@dataclass
class Summary:
    """Figures over events.

    `commands` counts successful execs by file, `syscalls` calls by name, `lost` tickets by reason.
    """

    events: Counter[str] = field(default_factory=Counter)
    processes_born: int = 0
    threads_born: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    syscalls: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    first_boot_ns: int | None = None
    last_boot_ns: int | None = None
    largest_inversion_ns: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next batch in order of seq, with at least `COLUMNS`."""
        kinds = columns.kind_codes(batch)
        for code, count in enumerate(np.bincount(kinds, minlength=len(KINDS)).tolist()):
            if count:
                self.events[KINDS[code] if code < len(KINDS) else "unknown"] += count
        forks = kinds == FORK
        leaders = columns.int32(batch, "child_tid")[forks] == columns.int32(batch, "child_tgid")[forks]
        self.processes_born += int(leaders.sum())
        self.threads_born += int(leaders.size - leaders.sum())
        _add_names(self.commands, batch.filter(pa.array(kinds == EXEC)), "filename")
        if (kinds == SYSCALL).any():
            _add_names(self.syscalls, batch, "syscall")
        self._add_gaps(batch.filter(pa.array(kinds == GAP)))
        self._add_times(columns.int64(batch, "boot_ns")[columns.valid(batch, "boot_ns")])

    def _add_gaps(self, gaps: pa.RecordBatch) -> None:
        self.gaps += gaps.num_rows
        for lost, reason in zip(*(gaps.column(name).to_pylist() for name in ("lost", "reason")), strict=True):
            self.lost[reason or "unknown"] += lost or 0

    def _add_times(self, boot_ns: "np.typing.NDArray[np.int64]") -> None:
        if not boot_ns.size:
            return
        highest = np.maximum.accumulate(boot_ns)
        if self.last_boot_ns is not None:
            highest = np.maximum(highest, self.last_boot_ns)
        self.largest_inversion_ns = max(self.largest_inversion_ns, int((highest - boot_ns).max()))
        lowest = int(boot_ns.min())
        self.first_boot_ns = lowest if self.first_boot_ns is None else min(self.first_boot_ns, lowest)
        self.last_boot_ns = int(highest[-1])


def _add_names(counts: Counter[str], batch: pa.RecordBatch, column: str) -> None:
    if batch.num_rows:
        indices, names = columns.names(batch, column)
        for index, count in enumerate(np.bincount(indices[columns.valid(batch, column)]).tolist()):
            if count:
                counts[names[index]] += count


def summarise(batches: Iterable[pa.RecordBatch]) -> Summary:
    """Give the figures of batches in order of seq."""
    summary = Summary()
    for batch in batches:
        summary.add(batch)
    return summary
