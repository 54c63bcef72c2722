"""Tasks and acts of the process connector -> Arrow record batches in the event schema. Knows no message.

What no message tells is null: a start that was lost, the thread that made a thread, cgroup, CPU time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linnix_rec.capture.schema import EVENT_SCHEMA, EXEC, EXIT, FORK, KINDS, TASK
from linnix_rec.sources.connector_lives import LAST, NO_ID, PERHAPS_LAST, Rows, Who
from linnix_rec.sources.connector_messages import Acts
from linnix_rec.sources.connector_proc import ExecText, Usage

_KIND_NAMES: Final = pa.array(KINDS, pa.string())
_CLOCK: Final = pa.timestamp("us", tz="UTC")
#: The columns that `Who` has in this order, and what in it says that a value is not known.
_ACTOR: Final[Mapping[str, tuple[type[np.generic], int]]] = {
    "tid": (np.int32, 0),
    "tgid": (np.int32, 0),
    "start_ns": (np.uint64, 0),
    "parent_tid": (np.int32, 0),
    "parent_tgid": (np.int32, 0),
    "parent_start_ns": (np.uint64, 0),
    "uid": (np.uint32, NO_ID),
    "gid": (np.uint32, NO_ID),
}

Mask = NDArray[np.bool_]
Columns = dict[str, pa.Array]


def event_batch(
    rows: Rows,
    acts: Acts,
    boot_ns: NDArray[np.int64],
    texts: Mapping[int, ExecText],
    *,
    seq: int,
    realtime_offset_ns: int,
) -> pa.RecordBatch:
    """One event a row; `boot_ns` are the acts' times, `texts` what was read of execs, by their place."""
    places = np.array(rows.at, np.intp)
    kind, words = acts.kind[places], acts.words[places]
    boot = boot_ns[places]
    columns = _common(kind, boot, realtime_offset_ns, seq) | _actors(rows.who)
    columns["cpu"] = pa.array(acts.cpu[places])
    columns |= _fork(kind == FORK, words, boot)
    columns |= _exec(kind == EXEC, rows, texts)
    columns |= _exit(kind == EXIT, words[:, 2], np.array(rows.last_thread, np.uint8))
    return _assembled(columns, len(places))


def task_batch(
    who: Sequence[Who], usage: Sequence[Usage], boot_ns: int, *, seq: int, realtime_offset_ns: int
) -> pa.RecordBatch:
    """One `task` event for each that was found at that time."""
    count = len(who)
    boot = np.full(count, boot_ns, np.int64)
    columns = _common(np.full(count, TASK, np.uint8), boot, realtime_offset_ns, seq) | _actors(who)
    for name, values in zip(Usage._fields, zip(*usage, strict=True), strict=True):
        columns[name] = pa.array(values, EVENT_SCHEMA.field(name).type)
    return _assembled(columns, count)


def gap_batch(seq: int, lost: int, cpu: int) -> pa.RecordBatch:
    """One row that stands for messages of a CPU that never came, whatever they told of."""
    row = {"seq": seq, "slots": 0, "kind": "gap", "cpu": cpu, "lost": lost, "reason": "dropped"}
    return pa.RecordBatch.from_pylist([row], EVENT_SCHEMA)


def _common(
    kind: NDArray[np.uint8], boot_ns: NDArray[np.int64], realtime_offset_ns: int, seq: int
) -> Columns:
    rows = len(kind)
    kinds = pa.array(kind.astype(np.int32))
    return {
        "seq": pa.array(np.arange(seq, seq + rows, dtype=np.uint64)),
        "slots": pa.array(np.ones(rows, np.uint8)),
        "kind": pa.DictionaryArray.from_arrays(kinds, _KIND_NAMES),
        "boot_ns": pa.array(boot_ns),
        "time": pa.Array.from_buffers(
            _CLOCK, rows, [None, pa.py_buffer((boot_ns + realtime_offset_ns) // 1000)]
        ),
    }


def _actors(who: Sequence[Who]) -> Columns:
    *numbers, comms = zip(*who, strict=True)
    columns = {"comm": pa.array(comms, pa.string()).dictionary_encode()}
    for (name, (type_, unknown)), values in zip(_ACTOR.items(), numbers, strict=True):
        column = np.array(values, type_)
        columns[name] = pa.array(column, mask=column == unknown)
    return columns


def _fork(here: Mask, words: NDArray[np.uint32], boot_ns: NDArray[np.int64]) -> Columns:
    if not here.any():
        return {}
    return {
        "child_tid": pa.array(words[:, 2].astype(np.int32), mask=~here),
        "child_tgid": pa.array(words[:, 3].astype(np.int32), mask=~here),
        "child_start_ns": pa.array(boot_ns.astype(np.uint64), mask=~here),
    }


def _exec(here: Mask, rows: Rows, read: Mapping[int, ExecText]) -> Columns:
    if not here.any():
        return {}
    old_tids = np.array([rows.old_tid.get(place, 0) for place in rows.at], np.int32)
    columns = {"old_tid": pa.array(old_tids, mask=old_tids == 0)}
    if read:
        texts = [read.get(place, _UNREAD) for place in rows.at]
        columns["filename"] = pa.array([text.filename for text in texts], pa.string()).dictionary_encode()
        columns["argv"] = pa.array([text.argv for text in texts], pa.list_(pa.string()))
        columns["argv_truncated"] = pa.array([text.cut for text in texts], pa.bool_())
    return columns


_UNREAD: Final = ExecText(None, None, None, None)


def _exit(here: Mask, statuses: NDArray[np.uint32], lasts: NDArray[np.uint8]) -> Columns:
    if not here.any():
        return {}
    return {
        "exit_code": pa.array((statuses >> 8).astype(np.int32), mask=~here),
        "exit_signal": pa.array((statuses & 0x7F).astype(np.uint8), mask=~here),
        "core_dumped": pa.array(statuses & 0x80 != 0, mask=~here),
        "last_thread": pa.array(lasts == LAST, mask=~here | (lasts == PERHAPS_LAST)),
    }


def _assembled(columns: Mapping[str, Any], rows: int) -> pa.RecordBatch:
    """Columns that no row of the batch uses are null throughout."""
    arrays = [columns[f.name] if f.name in columns else pa.nulls(rows, f.type) for f in EVENT_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=EVENT_SCHEMA)
