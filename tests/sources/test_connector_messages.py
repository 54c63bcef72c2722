"""Datagrams of the process connector: what is read from them, what is refused, and the holes between."""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.errors import RecordingError
from linnix_rec.sources.connector_messages import (
    GROUP_CHANGED,
    RENAMED,
    USER_CHANGED,
    Heard,
    Hole,
    Numbering,
    Told,
    cn_proc,
    joined_told,
    layouts,
    parse,
    parse_acts,
)

# include/uapi/linux/cn_proc.h
NONE, FORKED, EXECUTED, UID, GID, SID, COMM, EXITED = 0, 1, 2, 4, 0x40, 0x80, 0x200, 0x80000000
STRIDE = 128
MESSAGE_BYTES = 76


def message(what: int, *payload: int, cpu: int = 1, number: int = 7, at: int = 123, ack: int = 0) -> bytes:
    event = struct.pack("=IIQ", what, cpu, at) + struct.pack("=6I", *payload, *[0] * (6 - len(payload)))
    connector = struct.pack("=IIIIHH", 1, 1, number, ack, len(event), 0)
    return struct.pack("=IHHII", 16 + len(connector) + len(event), 3, 0, 0, 0) + connector + event


def received(*datagrams: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    room = np.zeros((len(datagrams), STRIDE), np.uint8)
    for row, datagram in zip(room, datagrams, strict=True):
        row[: len(datagram)] = np.frombuffer(datagram[:STRIDE], np.uint8)
    return room, np.array([len(datagram) for datagram in datagrams], np.uint32)


def hear(*datagrams: bytes) -> Heard:
    return parse(*received(*datagrams))


def hear_acts(*datagrams: bytes) -> Told:
    return parse_acts(*received(*datagrams))


def test_a_message_is_as_long_as_the_kernel_makes_it() -> None:
    fork, longest = layouts()
    assert longest.itemsize == MESSAGE_BYTES == len(message(EXITED))
    assert fork.itemsize < longest.itemsize


def test_fork_exec_and_exit_are_read() -> None:
    heard = hear(
        message(FORKED, 10, 11, 20, 21, cpu=0, number=3, at=5),
        message(EXECUTED, 20, 21, cpu=1, number=4, at=6),
        message(EXITED, 20, 21, 0x0300, 17, 10, 11, cpu=0, number=4, at=7),
    )
    assert heard.events["kind"].tolist() == [FORK, EXEC, EXIT]
    assert heard.events["tid"].tolist() == [10, 20, 20]
    assert heard.events["tgid"].tolist() == [11, 21, 21]
    assert heard.events["child_tid"].tolist() == [20, 0, 0]
    assert heard.events["child_tgid"].tolist() == [21, 0, 0]
    assert heard.events["exit_status"].tolist() == [0, 0, 0x300]
    assert heard.events["cpu_seq"].tolist() == [3, 4, 4]
    assert heard.events["monotonic_ns"].tolist() == [5, 6, 7]
    assert heard.refused == 0


def test_messages_of_other_kinds_only_have_a_number() -> None:
    heard = hear(message(UID, 5, 5, 0, 0, number=8), message(COMM, 5, 5, cpu=3, number=9))
    assert len(heard.events) == 0
    assert heard.cpu_seq.tolist() == [8, 9]
    assert heard.renamed == {(3, 5)}


def test_a_name_that_is_no_text_is_not_read() -> None:
    name = int.from_bytes(b"\xff\xfe\xff\xfe", "little")
    assert hear(message(COMM, 5, 5, name, name, name, name)).renamed == {(1, 5)}


def test_an_idle_task_is_no_fork() -> None:
    heard = hear(message(FORKED, 1, 1, 0, 0), message(FORKED, 1, 1, 9, 9))
    assert heard.events["child_tid"].tolist() == [9]
    assert len(heard.cpu_seq) == 2


def test_the_kernel_s_answer_is_told_by_number_and_error() -> None:
    assert hear(message(NONE, 0, ack=78), message(NONE, 1, ack=5)).answers == ((78, 0), (5, 1))


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        message(EXITED)[:75],
        message(EXITED)[:20],
        struct.pack("=I", 4000) + message(EXITED)[4:],
        struct.pack("=I", 0) + message(EXITED)[4:],
        message(EXITED)[:4] + struct.pack("=H", 2) + message(EXITED)[6:],
        message(EXITED)[:16] + struct.pack("=I", 2) + message(EXITED)[20:],
        message(EXITED)[:20] + struct.pack("=I", 2) + message(EXITED)[24:],
        message(EXITED)[:32] + struct.pack("=H", 4) + message(EXITED)[34:],
        message(EXITED)[:32] + struct.pack("=H", 0xFFFF) + message(EXITED)[34:],
    ],
    ids=["nothing", "cut", "cut in its header", "claims more", "claims nothing", "no data", "another channel",
         "another channel's value", "a request", "payload beyond its end"],
)  # fmt: skip
def test_what_is_no_whole_message_of_this_connector_is_refused(datagram: bytes) -> None:
    heard = hear(datagram, message(EXECUTED, 1, 1))
    assert heard.refused == 1
    assert heard.events["kind"].tolist() == [EXEC]


@given(st.lists(st.binary(max_size=STRIDE), min_size=1, max_size=20))
def test_any_bytes_are_read_or_refused(datagrams: list[bytes]) -> None:
    heard = hear(*datagrams)
    assert heard.refused + len(heard.cpu_seq) == len(datagrams)
    assert len(heard.events) <= len(heard.cpu_seq)
    told = hear_acts(*datagrams)
    assert (told.refused, len(told.cpu)) == (heard.refused, len(heard.cpu_seq))


@given(
    st.lists(st.sampled_from([FORKED, EXECUTED, UID, COMM, EXITED, 1 << 20]), min_size=1),
    st.integers(0, MESSAGE_BYTES - 1),
    st.integers(0, 255),
)
def test_a_changed_byte_costs_at_most_its_own_message(kinds: list[int], place: int, value: int) -> None:
    whole = [message(what, 1, 2, 3, 4) for what in kinds]
    changed = bytearray(whole[0])
    changed[place] = value
    before, after = hear(*whole), hear(bytes(changed), *whole[1:])
    assert after.refused <= 1
    assert len(before.events) - 1 <= len(after.events) <= len(before.events) + 1


def test_who_follows_tasks_hears_names_and_users_too() -> None:
    told = hear_acts(
        message(FORKED, 10, 11, 20, 21, cpu=0, number=3, at=5),
        message(FORKED, 1, 1, 0, 0, number=4),
        message(SID, 20, 21, number=5),
        message(UID, 20, 21, 33, 34, number=6),
        message(GID, 20, 21, 44, 45, number=7),
        message(COMM, 20, 21, *struct.unpack("=4I", b"a name\0garbage.."), number=8),
        message(EXITED, 20, 21, 0x300, 17, 10, 11, cpu=2, number=9, at=7),
    )
    acts = told.acts
    assert acts.kind.tolist() == [FORK, USER_CHANGED, GROUP_CHANGED, RENAMED, EXIT]
    assert acts.at.tolist() == [0, 3, 4, 5, 6]
    assert acts.cpu.tolist() == [0, 1, 1, 1, 2]
    assert acts.monotonic_ns.tolist() == [5, 123, 123, 123, 7]
    assert acts.words[0].tolist() == [10, 11, 20, 21, 0, 0]
    assert acts.words[3, 2:].tobytes() == b"a name\0garbage.."
    assert acts.words[4].tolist() == [20, 21, 0x300, 17, 10, 11]
    assert told.cpu_seq.tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_what_is_told_in_pieces_is_the_same_as_at_once() -> None:
    datagrams = [message(FORKED, 1, 1, tid, tid, number=tid) for tid in range(1, 9)] + [b"", message(SID, 1)]
    whole = hear_acts(*datagrams)
    parts = joined_told([hear_acts(*datagrams[:3]), hear_acts(*datagrams[3:4]), hear_acts(*datagrams[4:])])
    assert (whole.refused, parts.refused) == (1, 1)
    assert parts.cpu_seq.tolist() == whole.cpu_seq.tolist()
    for one, other in zip(parts.acts, whole.acts, strict=True):
        assert one.tolist() == other.tolist()


def columns(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(values, np.uint32)


def test_a_hole_in_a_cpu_s_numbers_is_that_cpu_s_loss() -> None:
    numbering = Numbering()
    assert numbering.take(columns(0, 1, 0, 0), columns(10, 500, 11, 14)) == [Hole(at=3, cpu=0, lost=2)]
    assert numbering.take(columns(1, 0), columns(501, 16)) == [Hole(at=1, cpu=0, lost=1)]
    assert numbering.lost == {0: 3}


def test_numbers_wrap() -> None:
    numbering = Numbering()
    numbering.take(columns(0, 0, 0), columns((1 << 32) - 2, (1 << 32) - 1, 0))
    numbering.take(columns(0), columns(2))
    assert numbering.lost == {0: 1}


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=300), st.integers(1, 50))
def test_exactly_what_was_dropped_between_others_is_lost(sent: list[tuple[int, bool]], size: int) -> None:
    numbers = dict.fromkeys(range(4), (1 << 32) - 20)
    arrived: list[tuple[int, int]] = []
    lost = dict.fromkeys(range(4), 0)
    pending = dict.fromkeys(range(4), 0)  # dropped, and not yet followed by one that arrived
    heard = set()
    for cpu, arrives in sent:
        if arrives:
            arrived.append((cpu, numbers[cpu]))
            lost[cpu] += pending[cpu] if cpu in heard else 0
            pending[cpu] = 0
            heard.add(cpu)
        else:
            pending[cpu] += 1
        numbers[cpu] = (numbers[cpu] + 1) % (1 << 32)
    numbering = Numbering()
    for at in range(0, len(arrived), size):
        cpus, own = zip(*arrived[at : at + size], strict=True)
        numbering.take(columns(*cpus), columns(*own))
    assert numbering.lost == {cpu: count for cpu, count in lost.items() if count}


def test_without_pyroute2_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroute2.netlink.connector", None)
    with pytest.raises(RecordingError, match=r"pip install 'linnix-rec\[connector\]'"):
        cn_proc()
