"""Slots of syscalls and failed execs to rows, value by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from linnix_rec.capture.schema import EVENT_SCHEMA, KINDS, SYSCALL_COLUMNS, WIDE_SCHEMA
from linnix_rec.ring.cursor import Gap, Run
from linnix_rec.sources.decode import NO_SYSCALL, SYSCALL_COMPAT, Decoder
from tests.sources.test_decode import FIRST_SEQ, Event, lay_out, slot_dtype, some_exec

NAMES = {0: "read", 39: "getpid", 59: "execve"}
COLUMNS = [field.name for field in SYSCALL_COLUMNS]
HIGHEST = (1 << 64) - 1


def a_syscall(number: int, arguments: tuple[int, int, int], result: int, *, flags: int = 0) -> np.ndarray:
    slots = np.zeros(1, slot_dtype())
    slots.view(np.uint8)[:] = 0xA5
    slots["kind"], slots["span"], slots["index"] = KINDS.index("syscall"), 1, 0
    slots["flags"], slots["status"], slots["boot_ns"] = flags, number, 5_000
    slots["comm"][0] = np.frombuffer(b"dd".ljust(16, b"\0"), np.uint8)
    slots["syscall"]["arguments"][0] = arguments
    slots["syscall"]["result"], slots["syscall"]["duration_ns"] = result, 777
    return slots


def a_failed_exec(path: bytes, errno: int, *, cut: bool = False) -> np.ndarray:
    slots = lay_out([some_exec(path, b"", cut=cut)])
    slots["kind"] = KINDS.index("failed-exec")
    slots["status"][0] = errno
    return slots


def decode(*parts: np.ndarray, names: dict[int, str] | None = NAMES) -> pa.RecordBatch:
    batch = Decoder(4096, 0, syscall_names=names).batch(Run(FIRST_SEQ, np.concatenate(parts)))
    batch.validate(full=True)
    return batch


def told(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in batch.select(COLUMNS).to_pylist()
    ]


def test_every_value_of_a_syscall_arrives() -> None:
    batch = decode(a_syscall(0, (3, HIGHEST, 1 << 63), -11))
    assert batch.schema.equals(WIDE_SCHEMA, check_metadata=True)
    assert batch.column("kind").to_pylist() == ["syscall"]
    assert batch.column("comm").to_pylist() == ["dd"]
    assert told(batch) == [
        {
            "nr": 0,
            "syscall": "read",
            "arg0": 3,
            "arg1": HIGHEST,
            "arg2": 1 << 63,
            "ret": -11,
            "duration_ns": 777,
        }
    ]


@pytest.mark.parametrize(
    ("number", "flags", "name"),
    [
        (39, 0, "getpid"),
        (480, 0, "syscall_480"),
        (11, SYSCALL_COMPAT, "compat_11"),
        (NO_SYSCALL - 1, 0, "syscall_65534"),
    ],
)
def test_a_number_is_named_by_its_table(number: int, flags: int, name: str) -> None:
    (row,) = told(decode(a_syscall(number, (0, 0, 0), 0, flags=flags)))
    assert (row["nr"], row["syscall"]) == (number, name)


def test_a_number_that_no_table_has_has_no_name() -> None:
    (row,) = told(decode(a_syscall(NO_SYSCALL, (0, 0, 0), -38)))
    assert row["nr"] == -1
    assert "syscall" not in row


def test_a_failed_exec_has_its_path_and_why() -> None:
    long = b"/" + b"p" * 300
    batch = decode(a_failed_exec(long, 2), a_failed_exec(b"x", 13, cut=True))
    assert batch.column("filename").to_pylist() == [long.decode(), "x"]
    assert batch.column("errno").to_pylist() == [2, 13]
    assert batch.column("argv_truncated").to_pylist() == [False, True]
    assert batch.column("slots").to_pylist() == [4, 1]
    for name in ("argv", "old_tid", "nr", "syscall"):
        assert batch.column(name).null_count == 2


def test_among_other_events_each_has_its_own_columns_alone() -> None:
    fork = Event(
        "fork", dict.fromkeys(("boot_ns", "tid"), 7), b"sh",
        {"child_tid": 1, "child_tgid": 1, "child_start_ns": 2, "clone_flags": 3},
    )  # fmt: skip
    batch = decode(
        a_syscall(39, (0, 0, 0), 5),
        lay_out([some_exec(b"/bin/sh", b"sh\0"), fork]),
        a_failed_exec(b"/no", 2),
        a_syscall(59, (1, 2, 3), 0),
    )
    assert batch.column("kind").to_pylist() == ["syscall", "exec", "fork", "failed-exec", "syscall"]
    assert batch.column("syscall").to_pylist() == ["getpid", None, None, None, "execve"]
    assert batch.column("filename").to_pylist() == [None, "/bin/sh", None, "/no", None]
    assert batch.column("argv").to_pylist() == [None, ["sh"], None, None, None]
    assert batch.column("errno").to_pylist() == [None, None, None, 2, None]
    assert batch.column("child_tid").to_pylist() == [None, None, 1, None, None]
    assert batch.column("seq").to_pylist() == [FIRST_SEQ + at for at in (0, 1, 3, 4, 5)]


def test_a_recording_of_processes_alone_has_no_such_columns() -> None:
    batch = decode(lay_out([some_exec(b"/bin/sh", b"sh\0")]), names=None)
    assert batch.schema.equals(EVENT_SCHEMA, check_metadata=True)
    assert Decoder(4096, 0).gap_batch(Gap(1, 2, "lapped")).schema.equals(EVENT_SCHEMA)


def test_a_gap_among_syscalls_is_in_their_schema() -> None:
    gap = Decoder(4096, 0, syscall_names=NAMES).gap_batch(Gap(1, 41, "lapped"))
    assert gap.schema.equals(WIDE_SCHEMA, check_metadata=True)
    assert (gap.column("lost").to_pylist(), gap.column("nr").to_pylist()) == ([40], [None])
