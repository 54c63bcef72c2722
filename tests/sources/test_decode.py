"""Slots to rows, value by value, against events that are laid out here byte by byte, and slowly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.schema import EVENT_SCHEMA, KINDS
from linnix_rec.capture.text import decode_bytes, encode_text
from linnix_rec.ring.cursor import Gap, Run
from linnix_rec.sources.decode import Decoder

HEAD_TEXT, SLOT_TEXT, SPAN_MAX = 32, 112, 16
PAGE_BYTES = 4096
OFFSET_NS = 1_700_000_000_123_456_789
FIRST_SEQ = 1 << 33

COMMON = {
    "boot_ns": st.integers(0, (1 << 62) - 1),
    "start_ns": st.integers(0, (1 << 64) - 1),
    "parent_start_ns": st.integers(0, (1 << 64) - 1),
    "cgroup_id": st.integers(0, (1 << 64) - 1),
    "tid": st.integers(0, (1 << 31) - 1),
    "tgid": st.integers(0, (1 << 31) - 1),
    "parent_tid": st.integers(0, (1 << 31) - 1),
    "parent_tgid": st.integers(0, (1 << 31) - 1),
    "uid": st.integers(0, (1 << 32) - 1),
    "gid": st.integers(0, (1 << 32) - 1),
    "cpu": st.integers(0, (1 << 16) - 1),
}
WORD, HALF = st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1)
TID = st.integers(0, (1 << 31) - 1)
# Bytes of all sorts: ASCII, whole and broken UTF-8, and UTF-8 that spells an escape.
PIECES = st.sampled_from(
    [b"a", b"/usr/bin/", b" ", b"\xff", b"\xc3\xa9", b"\xc3", b"\xee\xbe\x80", b"\n", b"\x1b["]
)
TEXT = st.lists(PIECES, max_size=60).map(b"".join)


@dataclass(frozen=True)
class Event:
    kind: str
    common: dict[str, int]
    comm: bytes
    payload: dict[str, Any]

    @property
    def filename_slots(self) -> int:
        return 1 + -(-max(0, len(self.payload["filename"]) - HEAD_TEXT) // SLOT_TEXT)

    @property
    def span(self) -> int:
        if self.kind != "exec":
            return 1
        return self.filename_slots + -(-len(self.payload["argv"]) // SLOT_TEXT)


@st.composite
def exec_payloads(draw: st.DrawFn) -> dict[str, Any]:
    filename = draw(TEXT)
    arguments = draw(st.lists(TEXT, max_size=8))
    argv = b"".join(argument + b"\0" for argument in arguments)
    room = (SPAN_MAX - 1 - len(filename) // SLOT_TEXT - 1) * SLOT_TEXT
    keep = draw(st.sampled_from([len(argv), len(argv), draw(st.integers(0, len(argv)))]))
    return {
        "filename": filename,
        "argv": argv[: min(keep, room)],
        "cut": draw(st.booleans()),
        "old_tid": draw(TID),
    }


USAGE = {"cpu_ns": WORD, "utime_ns": WORD, "stime_ns": WORD, "min_faults": WORD, "maj_faults": HALF}

PAYLOADS = {
    "fork": st.fixed_dictionaries(
        {"child_tid": TID, "child_tgid": TID, "child_start_ns": WORD, "clone_flags": WORD}
    ),
    "exec": exec_payloads(),
    "exit": st.fixed_dictionaries(
        USAGE
        | {"max_rss_pages": HALF, "status": st.integers(0, (1 << 16) - 1), "flags": st.sampled_from([0, 1])}
    ),
    "task": st.fixed_dictionaries(
        USAGE | {"status": st.sampled_from([0, 16, 32]), "flags": st.sampled_from([0, 4, 8, 12])}
    ),
}


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(sorted(PAYLOADS)))
    comm = draw(st.one_of(st.just(b"sh"), st.binary(max_size=15), PIECES)).split(b"\0")[0][:15]
    return Event(kind, draw(st.fixed_dictionaries(COMMON)), comm, draw(PAYLOADS[kind]))


@cache
def slot_dtype() -> np.dtype[Any]:
    return struct_dtype(read_object_spec(read_object("sequencer"), "sequencer").btf, "slot")


def lay_out(events: list[Event], garbage: int = 0xA5) -> np.ndarray:
    """The events' slots as the kernel leaves them: what no event writes holds what was there before."""
    slots = np.zeros(sum(event.span for event in events), slot_dtype())
    slots.view(np.uint8)[:] = garbage
    at = 0
    for event in events:
        span = slots[at : at + event.span]
        span["kind"], span["span"] = KINDS.index(event.kind), event.span
        span["index"] = np.arange(event.span)
        head = span[0]
        for name, value in event.common.items():
            head[name] = value
        name_bytes = event.comm + b"\0"
        head["comm"][: len(name_bytes)] = np.frombuffer(name_bytes, np.uint8)
        head["flags"] = head["status"] = 0
        _lay_out_payload(event, span)
        at += event.span
    return slots


def _lay_out_payload(event: Event, span: np.ndarray) -> None:
    head, payload = span[0], event.payload
    if event.kind == "exec":
        head["flags"] = 2 if payload["cut"] else 0
        head["exec"]["old_tid"] = payload["old_tid"]
        head["exec"]["filename_bytes"] = len(payload["filename"])
        head["exec"]["argv_bytes"] = len(payload["argv"])
        _lay_text(head["exec"]["text"], payload["filename"][:HEAD_TEXT])
        rest = payload["filename"][HEAD_TEXT:]
        for index in range(1, event.span):
            if index < event.filename_slots:
                _lay_text(span[index]["text"], rest[(index - 1) * SLOT_TEXT :][:SLOT_TEXT])
            else:
                begin = (index - event.filename_slots) * SLOT_TEXT
                _lay_text(span[index]["text"], payload["argv"][begin:][:SLOT_TEXT])
        return
    for name, value in payload.items():
        if name in ("status", "flags"):
            head[name] = value
        else:
            head["fork" if event.kind == "fork" else "usage"][name] = value


def _lay_text(room: np.ndarray, text: bytes) -> None:
    room[: len(text)] = np.frombuffer(text, np.uint8)


def expected_row(event: Event, seq: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(EVENT_SCHEMA.names)
    row |= event.common | {"seq": seq, "slots": event.span, "kind": event.kind}
    row["comm"] = decode_bytes(event.comm)
    row["time"] = (event.common["boot_ns"] + OFFSET_NS) // 1000
    payload = event.payload
    if event.kind == "exec":
        arguments = payload["argv"].split(b"\0")
        if arguments[-1] == b"":
            arguments.pop()
        row |= {
            "filename": decode_bytes(payload["filename"]),
            "argv": [decode_bytes(argument) for argument in arguments],
            "argv_truncated": payload["cut"],
            "old_tid": payload["old_tid"],
        }
    elif event.kind == "exit":
        status, last = payload["status"], payload["flags"] == 1
        row |= {name: payload[name] for name in USAGE}
        row |= {
            "exit_code": status >> 8,
            "exit_signal": status & 0x7F,
            "core_dumped": bool(status & 0x80),
            "last_thread": last,
            "max_rss_bytes": payload["max_rss_pages"] * PAGE_BYTES if last else None,
        }
    elif event.kind == "task":
        row |= {name: payload[name] for name in USAGE}
        flags = payload["flags"]
        row |= {
            "exit_state": payload["status"],
            "task_flags": (0x4 if flags & 4 else 0) | (0x200000 if flags & 8 else 0),
        }
    else:
        row |= payload
    return row


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    batch.validate(full=True)
    assert batch.schema.equals(EVENT_SCHEMA, check_metadata=True)
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["time"] = columns["time"].cast(pa.int64())
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(c.to_pylist() for c in columns.values()), strict=True)
    ]


def decode(slots: np.ndarray, seq: int = FIRST_SEQ) -> list[dict[str, Any]]:
    return rows_of(Decoder(PAGE_BYTES, OFFSET_NS).batch(Run(seq, slots)))


def expected_rows(events: list[Event], seq: int = FIRST_SEQ) -> list[dict[str, Any]]:
    rows = []
    for event in events:
        rows.append(expected_row(event, seq))
        seq += event.span
    return rows


@settings(max_examples=150, deadline=None)
@given(events=st.lists(events(), min_size=1, max_size=12), garbage=st.sampled_from([0, 0xA5, 0xFF]))
def test_every_value_of_every_event_arrives(events: list[Event], garbage: int) -> None:
    assert decode(lay_out(events, garbage)) == expected_rows(events)


def some_exec(filename: bytes, argv: bytes, *, comm: bytes = b"sh", cut: bool = False) -> Event:
    common = dict.fromkeys(COMMON, 7)
    return Event("exec", common, comm, {"filename": filename, "argv": argv, "cut": cut, "old_tid": 7})


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 143, 144, 145, 32 + 15 * 112])
def test_a_filename_of_any_length_is_put_together_again(length: int) -> None:
    filename = bytes(ord("a") + place % 26 for place in range(length))
    (row,) = decode(lay_out([some_exec(filename, b"")]))
    assert row["filename"] == filename.decode()
    assert row["argv"] == []


@pytest.mark.parametrize(
    ("argv", "arguments"),
    [
        (b"", []),
        (b"\0", [""]),
        (b"\0\0", ["", ""]),
        (b"a\0", ["a"]),
        (b"a\0\0b\0", ["a", "", "b"]),
        (b"a\0cut", ["a", "cut"]),
        (b"x" * 112 + b"\0", ["x" * 112]),
        (b"x" * 111 + b"\0" + b"y\0", ["x" * 111, "y"]),
        (b"x" * (15 * 112), ["x" * (15 * 112)]),
    ],
)
def test_arguments_end_at_their_nul_or_where_they_were_cut(argv: bytes, arguments: list[str]) -> None:
    events = [some_exec(b"/bin/one", b"1\0"), some_exec(b"/bin/sh", argv), some_exec(b"/bin/two", b"2\0")]
    assert [row["argv"] for row in decode(lay_out(events))] == [["1"], arguments, ["2"]]


def test_arguments_that_could_not_be_read_leave_slots_of_the_span_unused() -> None:
    slots = lay_out([some_exec(b"a", b"x" * 300, cut=True), some_exec(b"b", b"y\0")])
    slots["exec"]["argv_bytes"][0] = 112
    first, second = decode(slots)
    assert (first["argv"], first["slots"], first["argv_truncated"]) == (["x" * 112], 4, True)
    assert (second["seq"], second["filename"], second["argv"]) == (FIRST_SEQ + 4, "b", ["y"])


def test_bytes_that_are_not_utf8_come_back_unchanged() -> None:
    name, argument = b"\xff/\xc3", b"\xed\xa0\x80\xee\xbe\x80"
    (row,) = decode(lay_out([some_exec(name, argument + b"\0", comm=b"\xff\xfe")]))
    assert encode_text(row["filename"]) == name
    assert [encode_text(text) for text in row["argv"]] == [argument]
    assert encode_text(row["comm"]) == b"\xff\xfe"


def test_names_that_differ_only_after_their_nul_are_one_name() -> None:
    slots = lay_out([some_exec(b"a", b""), some_exec(b"b", b"")])
    slots["comm"][0] = np.frombuffer(b"sh\0garbage\0\0\0\0\0\0", np.uint8)
    slots["comm"][1] = np.frombuffer(b"sh\0other\0\0\0\0\0\0\0\0", np.uint8)
    batch = Decoder(PAGE_BYTES, 0).batch(Run(0, slots))
    assert batch.column("comm").to_pylist() == ["sh", "sh"]
    assert batch.column("comm").dictionary.to_pylist() == ["sh"]


def test_a_name_of_16_bytes_without_a_nul_is_taken_whole() -> None:
    slots = lay_out([some_exec(b"a", b"")])
    slots["comm"][0] = np.frombuffer(b"0123456789abcdef", np.uint8)
    assert decode(slots)[0]["comm"] == "0123456789abcdef"


def test_a_batch_of_one_kind_leaves_the_other_kinds_columns_null() -> None:
    fork = {"child_tid": 1, "child_tgid": 1, "child_start_ns": 2, "clone_flags": 3}
    slots = lay_out([Event("fork", dict.fromkeys(COMMON, 7), b"sh", fork)] * 3)
    batch = Decoder(PAGE_BYTES, 0).batch(Run(0, slots))
    for name in ("filename", "argv", "exit_code", "exit_state", "lost", "reason"):
        assert batch.column(name).null_count == 3
    assert batch.column("child_tid").null_count == 0


def test_a_gap_is_one_row_at_its_first_ticket() -> None:
    (row,) = rows_of(Decoder(PAGE_BYTES, OFFSET_NS).gap_batch(Gap(FIRST_SEQ, FIRST_SEQ + 40, "lapped")))
    wanted: dict[str, Any] = dict.fromkeys(EVENT_SCHEMA.names)
    wanted |= {"seq": FIRST_SEQ, "slots": 0, "kind": "gap", "lost": 40, "reason": "lapped"}
    assert row == wanted


def test_the_wall_clock_may_be_set_anew_between_batches() -> None:
    slots = lay_out([some_exec(b"a", b"")])
    decoder = Decoder(PAGE_BYTES, 1_000_000)
    before = rows_of(decoder.batch(Run(0, slots)))[0]["time"]
    decoder.realtime_offset_ns = 5_000_000
    assert rows_of(decoder.batch(Run(0, slots)))[0]["time"] - before == 4_000
