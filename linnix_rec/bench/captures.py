"""Large captures made of a real one, repeated so that it stays valid. Knows no kernel."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from linnix_rec.capture import columns
from linnix_rec.capture.document import Accounts, EventAccount
from linnix_rec.capture.reader import Capture
from linnix_rec.capture.writer import CaptureWriter, prepare_directory
from linnix_rec.errors import LinnixRecError, UsageError

#: More than Linux has thread ids (PID_MAX_LIMIT, include/linux/threads.h): each repetition has its own.
IDS_A_REPETITION: Final = 1 << 22
_REPETITIONS_MAX: Final = (1 << 31) // IDS_A_REPETITION
_STARTS: Final = ("start_ns", "parent_start_ns", "child_start_ns")
_IDS: Final = ("tid", "tgid", "parent_tid", "parent_tgid", "child_tid", "child_tgid", "old_tid")


@dataclass(frozen=True)
class Throughput:
    """What one run took; `size_bytes` is that of the Parquet files."""

    events: int
    size_bytes: int
    cpu_seconds: float

    @property
    def events_per_second(self) -> float:
        """Events a second of one core."""
        return self.events / self.cpu_seconds

    @property
    def bytes_per_event(self) -> float:
        """Parquet bytes an event."""
        return self.size_bytes / self.events


def repetitions(capture: Capture, events: int) -> int:
    """Give how often to repeat the capture for so many events; raises UsageError if it is too small."""
    rows = sum(segment.rows for segment in capture.document.segments)
    times = -(-events // max(1, rows))
    if times > _REPETITIONS_MAX:
        least = -(-events // _REPETITIONS_MAX)
        raise UsageError(
            f"{capture.path} has {rows:,} events, too few to make {events:,} of: take one of {least:,} up"
        )
    return times


def repeated(
    batches: list[pa.RecordBatch], tickets: int, attached_boot_ns: int, times: int
) -> Iterator[pa.RecordBatch]:
    """Yield the batches `times` times: tickets and clocks go on, and who acts is somebody else each time.

    tickets: what all batches together took
    attached_boot_ns: who started later starts later each time, as its fork does; who was there already,
        was there already
    """
    if times > _REPETITIONS_MAX:
        raise ValueError(f"{times} repetitions need more thread ids than there are")
    duration_ns = _last_boot_ns(batches) + 1 - _first_boot_ns(batches)
    for repetition in range(times):
        for batch in batches:
            ns = repetition * duration_ns
            yield _later(batch, repetition * tickets, ns, repetition * IDS_A_REPETITION, attached_boot_ns)


def write_repeated(capture: Capture, times: int, directory: Path) -> Throughput:
    """Write the finished capture `times` times as one into a new directory, and say how fast.

    Timed is what the writer does, hashing and syncing included; renumbering is not.
    """
    before = capture.document
    if before.stopped is None or before.accounts is None:
        raise LinnixRecError(f"{capture.path} is not finished")
    prepare_directory(directory, force=False)
    writer = CaptureWriter(directory, replace(before, segments=(), stopped=None, accounts=None))
    taken = 0.0
    batches, attached_boot_ns = list(capture.batches()), before.started.attached_boot_ns
    for batch in repeated(batches, before.accounts.issued, attached_boot_ns, times):
        started = time.thread_time()
        writer.write(batch)
        taken += time.thread_time() - started
    started = time.thread_time()
    writer.close(before.stopped, _times(before.accounts, times))
    taken += time.thread_time() - started
    return Throughput(writer.rows_written, writer.bytes_written, taken)


def _later(batch: pa.RecordBatch, tickets: int, ns: int, ids: int, attached_boot_ns: int) -> pa.RecordBatch:
    shifts = {"seq": tickets, "boot_ns": ns, "time": ns // 1000}
    shifts |= dict.fromkeys(_STARTS, ns) | dict.fromkeys(_IDS, ids)
    # Below these, values stay: thread id 0 is nobody's.
    least = dict.fromkeys(_STARTS, attached_boot_ns) | dict.fromkeys(_IDS, 1)
    arrays = [
        _shifted(array, shifts[name], least.get(name, 0)) if name in shifts else array
        for name, array in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _shifted(array: pa.Array, by: int, least: int) -> pa.Array:
    """Add to all values from `least` on; nulls stay."""
    integers = pa.uint64() if pa.types.is_uint64(array.type) else pa.int64()
    plain = array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array
    values = plain.cast(integers).fill_null(0).to_numpy(zero_copy_only=False)
    moved = np.where(values < least, values, values + values.dtype.type(by))
    return pa.array(moved, integers, mask=~_valid(array)).cast(array.type)


def _valid(array: pa.Array) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    valid: np.ndarray[tuple[int], np.dtype[np.bool_]] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _first_boot_ns(batches: list[pa.RecordBatch]) -> int:
    return int(columns.int64(batches[0], "boot_ns")[0])


def _last_boot_ns(batches: list[pa.RecordBatch]) -> int:
    return int(columns.int64(batches[-1], "boot_ns").max())


def _times(accounts: Accounts, times: int) -> Accounts:
    return replace(
        accounts,
        issued=accounts.issued * times,
        published=accounts.published * times,
        abandoned=accounts.abandoned * times,
        events={
            kind: EventAccount(
                seen=account.seen * times,
                filtered=account.filtered * times,
                claimed=account.claimed * times,
                abandoned=account.abandoned * times,
            )
            for kind, account in accounts.events.items()
        },
    )
