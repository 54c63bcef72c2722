"""Slots of the ring -> Arrow record batches in the event schema. Knows no ring protocol and no kernel.

Columns are taken whole, by numpy: no Python object is made per event. Where a column does not apply to a
row, its validity bit is 0 and its value is whatever the slot held there, which Arrow leaves undefined
and no writer stores.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.capture import schema
from linnix_rec.capture.text import decode_bytes
from linnix_rec.ring.cursor import Gap, Run, Slots

EXIT_LAST_THREAD: Final = 1 << 0
EXEC_TEXT_CUT: Final = 1 << 1
TASK_EXITING: Final = 1 << 2
TASK_KERNEL_THREAD: Final = 1 << 3
SYSCALL_COMPAT: Final = 1 << 4
#: What stands for the number of a syscall that no table has (bpf_obj/slot.h).
NO_SYSCALL: Final = 0xFFFF
#: Tells the numbers of another table from the native one's.
_COMPAT: Final = 1 << 16

#: The kernel's own bits for these (include/linux/sched.h), as the column task_flags has them.
_PF_EXITING: Final = 0x4
_PF_KTHREAD: Final = 0x200000

_KIND_NAMES: Final = pa.array(schema.KINDS, pa.string())

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


def _bits(mask: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def _numbers(values: npt.NDArray[Any], type_: pa.DataType, valid: pa.Buffer | None = None) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(type_, len(values), [valid, buffer])


def _flags(values: Mask, valid: pa.Buffer | None) -> pa.Array:
    return pa.Array.from_buffers(pa.bool_(), len(values), [valid, _bits(values)])


def _rows_at(slots: Slots, at: Integers) -> Slots:
    """`slots[at]` by whole words: a structured row numpy copies field by field, which takes 250 ns, not 4."""
    words = slots.view(np.uint64).reshape(len(slots), -1)
    rows: Slots = words.take(at, axis=0).view(slots.dtype).reshape(len(at))
    return rows


def text_array(text: Bytes, ends: Integers) -> pa.Array:
    """Strings that stand one after the other in `text`, as far as `ends`: what is not UTF-8 is escaped."""
    if text.size == 0 or int(text.max()) < 0x80:
        offsets = np.zeros(len(ends) + 1, np.int32)
        offsets[1:] = ends
        return pa.Array.from_buffers(
            pa.string(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))]
        )
    whole, starts = text.tobytes(), np.concatenate([[0], ends[:-1]])
    return pa.array(
        [decode_bytes(whole[start:end]) for start, end in zip(starts, ends, strict=True)], pa.string()
    )


def _comms(comms: Bytes) -> pa.Array:
    """(n, 16) bytes -> dictionary of names. The kernel may leave anything after a name's NUL."""
    encoded = pa.Array.from_buffers(
        pa.binary(comms.shape[1]), len(comms), [None, pa.py_buffer(np.ascontiguousarray(comms))]
    ).dictionary_encode()
    names = [decode_bytes(raw.split(b"\0", 1)[0]) for raw in encoded.dictionary.to_pylist()]
    distinct = list(dict.fromkeys(names))
    if len(distinct) == len(names):
        return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(names, pa.string()))
    places = {name: place for place, name in enumerate(distinct)}
    renumber = np.array([places[name] for name in names], np.int32)
    indices = renumber[encoded.indices.to_numpy()]
    return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.string()))


class _Execs:
    """The texts of a run's exec events, laid end to end without Python touching a row."""

    def __init__(self, slots: Slots, heads: Integers) -> None:
        exec_ = slots["exec"]  # only its numbers are indexed: numpy copies whole structures slowly
        spans = slots["span"][heads].astype(np.int64)
        head_room, slot_room = exec_["text"].shape[1], slots["text"].shape[1]

        filename_bytes = exec_["filename_bytes"][heads].astype(np.int64)
        argv_bytes = exec_["argv_bytes"][heads].astype(np.int64)
        filename_slots = 1 - (np.minimum(head_room - filename_bytes, 0) // slot_room)

        # For every slot of every exec: where its text lies, and how much of its room is used.
        owner = np.repeat(np.arange(len(heads)), spans)
        index = np.arange(len(owner)) - np.repeat(np.cumsum(spans) - spans, spans)
        is_head, is_argv = index == 0, index >= filename_slots[owner]
        begin = np.where(is_argv, index - filename_slots[owner], index - 1) * slot_room
        begin[~is_argv] += head_room
        begin[is_head] = 0
        wanted = np.where(is_argv, argv_bytes[owner], filename_bytes[owner]) - begin
        used = np.clip(wanted, 0, np.where(is_head, head_room, slot_room))
        text_at = (heads[owner] + index) * slots.itemsize + _text_offset(slots.dtype)
        text_at[is_head] += _head_text_offset(slots.dtype) - _text_offset(slots.dtype)

        raw = slots.view(np.uint8)
        filenames = _gathered(raw, text_at[~is_argv], used[~is_argv])
        arguments = _gathered(raw, text_at[is_argv], used[is_argv])
        self.filenames = text_array(filenames, np.cumsum(filename_bytes)).dictionary_encode()
        self.arguments, self.argument_counts = _split_arguments(arguments, argv_bytes)
        self.cut = slots["flags"][heads] & EXEC_TEXT_CUT != 0


def _text_offset(slot: np.dtype[Any]) -> int:
    """Where the text of a slot that is not its span's first begins, in bytes."""
    return int(slot.fields["text"][1])  # type: ignore[index]


def _head_text_offset(slot: np.dtype[Any]) -> int:
    """Where the text of an exec's first slot begins, in bytes."""
    exec_, offset = slot.fields["exec"][:2]  # type: ignore[index]
    return int(offset) + int(exec_.fields["text"][1])  # type: ignore[index]


def _gathered(raw: Bytes, begins: Integers, lengths: Integers) -> Bytes:
    """The stretches of `raw` that begin there and are so long, end to end."""
    ends = np.cumsum(lengths)
    places = np.repeat(begins - (ends - lengths), lengths)
    return raw[places + np.arange(len(places))]


def _split_arguments(text: Bytes, lengths: Integers) -> tuple[pa.Array, Integers]:
    """NUL-terminated arguments of several execs -> all arguments, and how many each exec has.

    An argument that is cut has no NUL of its own: it ends where its exec's bytes end.
    """
    is_nul = text == 0
    ends = np.cumsum(lengths)
    lasts = ends[lengths > 0] - 1
    unended = np.zeros(len(text), bool)
    unended[lasts] = ~is_nul[lasts]
    last_of_argument = np.flatnonzero(is_nul | unended)
    kept_before = np.cumsum(~is_nul)
    counts_before = np.concatenate([[0], np.cumsum(is_nul | unended)])
    counts = counts_before[ends] - counts_before[ends - lengths]
    return text_array(text[~is_nul], kept_before[last_of_argument]), counts


def _scattered(values: pa.Array, at: Integers, rows: int) -> pa.Array:
    """`values` at the rows `at`, null elsewhere."""
    places = np.zeros(rows, np.int32)
    places[at] = np.arange(len(at), dtype=np.int32)
    there = np.zeros(rows, bool)
    there[at] = True
    return values.take(_numbers(places, pa.int32(), _bits(there)))


class Decoder:
    """Turns runs and gaps into batches.

    page_size_bytes: of the recorded kernel, as its memory sizes are in pages
    realtime_offset_ns: CLOCK_REALTIME - CLOCK_BOOTTIME; may be set anew at any time
    with_argv: whether the programs read arguments; else the column is null
    syscall_names: by number on the recorded machine; None if neither syscalls nor failed execs are recorded:
        then batches are in EVENT_SCHEMA, else in WIDE_SCHEMA
    redact: what takes secrets out of a batch before anybody else sees it
    """

    def __init__(
        self,
        page_size_bytes: int,
        realtime_offset_ns: int,
        *,
        with_argv: bool = True,
        syscall_names: Mapping[int, str] | None = None,
        redact: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
    ) -> None:
        self.page_size_bytes = page_size_bytes
        self.realtime_offset_ns = realtime_offset_ns
        self.with_argv = with_argv
        self.schema = schema.EVENT_SCHEMA if syscall_names is None else schema.WIDE_SCHEMA
        self._syscall_names = syscall_names or {}
        self._redact = redact
        # glibc gives back what is freed beyond twice the largest block freed so far, and each run would fault
        # its columns in again, for a tenth of the time. This block is freed untouched.
        np.empty(1 << 24, np.uint8)

    def batch(self, run: Run) -> pa.RecordBatch:
        """The events of `run`, one row each."""
        slots = run.slots
        heads = np.flatnonzero(slots["index"] == 0)
        events = slots if len(heads) == len(slots) else _rows_at(slots, heads)
        columns = self._common(events, run.seq + heads.astype(np.uint64))
        kind = events["kind"]
        columns |= self._fork(events, kind == schema.FORK)
        columns |= self._exec(slots, heads, kind)
        columns |= self._usage(events, (kind == schema.EXIT) | (kind == schema.TASK))
        columns |= self._exit(events, kind == schema.EXIT)
        columns |= self._task(events, kind == schema.TASK)
        if self.schema is schema.WIDE_SCHEMA:
            columns |= self._syscall(events, kind == schema.SYSCALL)
            columns |= self._failed_exec(events, kind == schema.FAILED_EXEC)
        batch = _assemble(columns, len(events), self.schema)
        return batch if self._redact is None else self._redact(batch)

    def arrivals(self, seq: int, slots: Slots) -> pa.RecordBatch:
        """The events of a channel without tickets, of whole spans: numbered from `seq` as they arrived."""
        batch = self.batch(Run(seq, slots))
        rows = batch.num_rows
        numbers = {"seq": np.arange(seq, seq + rows, dtype=np.uint64), "slots": np.ones(rows, np.uint8)}
        for name, values in numbers.items():
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, batch.schema.field(place), pa.array(values))
        return batch

    def gap_batch(self, gap: Gap, cpu: int | None = None) -> pa.RecordBatch:
        """One row that stands for what is lost; `cpu` if it was lost there."""
        row = {
            "seq": gap.seq, "slots": 0, "kind": "gap", "cpu": cpu, "lost": gap.lost, "reason": gap.reason,
        }  # fmt: skip
        return pa.RecordBatch.from_pylist([row], self.schema)

    def _common(self, events: Slots, seq: npt.NDArray[np.uint64]) -> dict[str, pa.Array]:
        boot_ns = events["boot_ns"].astype(np.int64)
        kinds = _numbers(events["kind"].astype(np.int32), pa.int32())
        columns = {
            "seq": _numbers(seq, pa.uint64()),
            "slots": _numbers(events["span"], pa.uint8()),
            "kind": pa.DictionaryArray.from_arrays(kinds, _KIND_NAMES, safe=False),
            "boot_ns": _numbers(boot_ns, pa.int64()),
            "time": _numbers((boot_ns + self.realtime_offset_ns) // 1000, pa.timestamp("us", tz="UTC")),
            "comm": _comms(events["comm"]),
        }
        for name in (
            "cpu", "tid", "tgid", "start_ns", "parent_tid", "parent_tgid", "parent_start_ns",
            "uid", "gid", "cgroup_id",
        ):  # fmt: skip
            columns[name] = _numbers(events[name], _type(name))
        return columns

    def _fork(self, events: Slots, mask: Mask) -> dict[str, pa.Array]:
        if not mask.any():
            return {}
        names = ("child_tid", "child_tgid", "child_start_ns", "clone_flags")
        return _payload(events["fork"], names, _bits(mask))

    def _exec(self, slots: Slots, heads: Integers, kind: npt.NDArray[np.uint8]) -> dict[str, pa.Array]:
        """Of execs, and of those that failed what they have in common with them."""
        succeeded = kind == schema.EXEC
        mask = succeeded | (kind == schema.FAILED_EXEC)
        if not mask.any():
            return {}
        at, rows = np.flatnonzero(mask), len(heads)
        execs = _Execs(slots, heads[at])
        valid = _bits(succeeded)
        cut = np.zeros(rows, bool)
        cut[at] = execs.cut
        offsets = np.zeros(rows + 1, np.int32)
        offsets[1 + at] = execs.argument_counts
        np.cumsum(offsets, out=offsets)
        return {
            "filename": _scattered(execs.filenames, at, rows),
            "argv": pa.Array.from_buffers(
                pa.list_(pa.string()),
                rows,
                [valid if self.with_argv else _bits(np.zeros(rows, bool)), pa.py_buffer(offsets)],
                children=[execs.arguments],
            ),
            "argv_truncated": _flags(cut, _bits(mask)),
            "old_tid": _numbers(slots["exec"]["old_tid"][heads], pa.int32(), valid),
        }

    def _usage(self, events: Slots, mask: Mask) -> dict[str, pa.Array]:
        if not mask.any():
            return {}
        valid, usage = _bits(mask), events["usage"]
        return _payload(usage, ("cpu_ns", "utime_ns", "stime_ns", "min_faults"), valid) | {
            "maj_faults": _numbers(usage["maj_faults"].astype(np.uint64), pa.uint64(), valid)
        }

    def _exit(self, events: Slots, mask: Mask) -> dict[str, pa.Array]:
        if not mask.any():
            return {}
        valid, status = _bits(mask), events["status"]
        last = events["flags"] & EXIT_LAST_THREAD != 0
        rss_bytes = events["usage"]["max_rss_pages"].astype(np.uint64) * np.uint64(self.page_size_bytes)
        return {
            "exit_code": _numbers((status >> 8).astype(np.int32), pa.int32(), valid),
            "exit_signal": _numbers((status & 0x7F).astype(np.uint8), pa.uint8(), valid),
            "core_dumped": _flags(status & 0x80 != 0, valid),
            "last_thread": _flags(last, valid),
            # Of the process, and final only when its last thread ends.
            "max_rss_bytes": _numbers(rss_bytes, pa.uint64(), _bits(mask & last)),
        }

    def _task(self, events: Slots, mask: Mask) -> dict[str, pa.Array]:
        if not mask.any():
            return {}
        valid, flags = _bits(mask), events["flags"].astype(np.uint32)
        kernel_flags = np.where(flags & TASK_EXITING, np.uint32(_PF_EXITING), np.uint32(0))
        kernel_flags |= np.where(flags & TASK_KERNEL_THREAD, np.uint32(_PF_KTHREAD), np.uint32(0))
        return {
            "exit_state": _numbers(events["status"].astype(np.uint32), pa.uint32(), valid),
            "task_flags": _numbers(kernel_flags, pa.uint32(), valid),
        }

    def _syscall(self, events: Slots, mask: Mask) -> dict[str, pa.Array]:
        if not mask.any():
            return {}
        valid, syscall = _bits(mask), events["syscall"]
        number = events["status"].astype(np.int32)
        named = mask & (number != NO_SYSCALL)
        arguments = {f"arg{place}": syscall["arguments"][:, place] for place in range(3)}
        return {name: _numbers(values, pa.uint64(), valid) for name, values in arguments.items()} | {
            "nr": _numbers(np.where(named, number, np.int32(-1)), pa.int32(), valid),
            "syscall": self._names_of(number, events["flags"], named),
            "ret": _numbers(syscall["result"], pa.int64(), valid),
            "duration_ns": _numbers(syscall["duration_ns"], pa.uint64(), valid),
        }

    def _names_of(self, number: npt.NDArray[np.int32], flags: npt.NDArray[np.uint8], named: Mask) -> pa.Array:
        """The names of syscalls at the rows of `named`; null elsewhere."""
        codes = np.where(named, number, np.int32(0))
        compat = named & (flags & SYSCALL_COMPAT != 0)
        if compat.any():
            codes[compat] += _COMPAT
        found = np.flatnonzero(np.bincount(codes))  # 0 too, perhaps, for want of a name: that costs nothing
        places = np.zeros(int(found[-1]) + 1, np.int32)
        places[found] = np.arange(len(found), dtype=np.int32)
        names = [self._name_of(code) for code in found.tolist()]
        return pa.DictionaryArray.from_arrays(
            _numbers(places[codes], pa.int32(), _bits(named)), pa.array(names, pa.string()), safe=False
        )

    def _name_of(self, code: int) -> str:
        if code >= _COMPAT:
            return f"compat_{code - _COMPAT}"
        return self._syscall_names.get(code, f"syscall_{code}")

    def _failed_exec(self, events: Slots, mask: Mask) -> dict[str, pa.Array]:
        if not mask.any():
            return {}
        return {"errno": _numbers(events["status"].astype(np.int32), pa.int32(), _bits(mask))}


def _type(name: str) -> pa.DataType:
    return schema.WIDE_SCHEMA.field(name).type


def _payload(payload: Slots, names: tuple[str, ...], valid: pa.Buffer) -> dict[str, pa.Array]:
    return {name: _numbers(payload[name], _type(name), valid) for name in names}


def _assemble(columns: Mapping[str, pa.Array], rows: int, wanted: pa.Schema) -> pa.RecordBatch:
    """Columns that no row of the batch uses are null throughout."""
    arrays = [columns[f.name] if f.name in columns else pa.nulls(rows, f.type) for f in wanted]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)
