"""Latencies are of the load's own events, and a channel that can't be had has its reason in the row."""

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from linnix_rec.bench import latency
from linnix_rec.bench.latency import COLUMNS, Load, Reader, Watched, Way, measure, problem_row, row
from linnix_rec.bench.tables import Figure, Table
from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.session.request import ChannelOptions

EPOLL = Way("ringbuf", ChannelOptions(poll="epoll"))
NOTHING = Load("nothing", "nothing", (sys.executable, "-c", ""))
A_FEW = Load("few", "a few events", ("/bin/sh", "-c", "sleep 0.1; /bin/true; /bin/true; sleep 0.1"))


def event(kind: str, boot_ns: int) -> dict[str, Any]:
    return {"kind": kind, "boot_ns": boot_ns}


class Told:
    """A source that tells what it is given, once, in one batch."""

    ring_slots, descriptors = 0, ()

    def __init__(self, *rows: dict[str, Any], lost: int = 0) -> None:
        self.seq = self.lost = 0
        self._rows, self._loses = list(rows), lost
        self._untold = True

    def read(self, _limit: int) -> Iterator[pa.RecordBatch]:
        self.seq += 1
        if self.seq > latency._LAST_READINGS and self._untold:
            self._untold, self.lost = False, self._loses
            yield pa.RecordBatch.from_pylist(self._rows, EVENT_SCHEMA)


def test_only_acts_of_the_loads_time_have_a_latency() -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    long_ago, to_come = now - 10**9, now + 10**12
    source = Told(
        event("fork", to_come),
        event("exit", to_come),
        event("task", to_come),
        event("exec", long_ago),
        lost=3,
    )
    with Reader(source, "1") as reader:  # type: ignore[arg-type]
        watched = reader.watch(NOTHING.command)
    assert len(watched.latencies_ns) == 2
    assert set(watched.latencies_ns < 0) == {True}
    assert watched.lost == 3


def test_a_load_that_fails_is_told() -> None:
    with (
        Reader(Told(), "1") as reader,  # type: ignore[arg-type]
        pytest.raises(LinnixRecError, match="the load failed, status 7: "),
    ):
        reader.watch((sys.executable, "-c", "raise SystemExit(7)"))


def test_a_row_has_percentiles_in_microseconds_of_each_run() -> None:
    seen = [Watched(np.arange(0, 101_000, 1000), lost=0, busy=0.5), Watched(np.array([5000]), 2, 1.0)]
    cells = dict(zip(COLUMNS, row(EPOLL, seen), strict=True))
    assert (cells["channel"], cells["wake-up"], cells["poll"]) == ("ringbuf", "adaptive", "epoll")
    assert cells["p50"] == Figure((50.0, 5.0), "us")
    assert cells["p99"] == Figure((99.0, 5.0), "us")
    assert cells["max"] == Figure((100.0, 5.0), "us")
    assert cells["reader's CPU"] == Figure((50.0, 100.0), "%")
    assert cells["events"] == Figure((101, 1))
    assert cells["lost"] == Figure((0, 2))


def test_a_load_without_events_has_no_percentiles() -> None:
    cells = row(EPOLL, [Watched(np.zeros(0, np.int64), 0, 0.1)])
    assert cells == problem_row(EPOLL, "it saw no event")


@pytest.mark.parametrize(
    ("way", "told"),
    [
        (Way("sequencer", ChannelOptions()), ("sequencer", "none", "default")),
        (Way("sequencer", ChannelOptions(poll="10")), ("sequencer", "none", "10 ms")),
        (Way("perf", ChannelOptions(poll="busy", wakeup="none")), ("perf, time", "none", "busy")),
        (Way("connector", ChannelOptions(poll="epoll")), ("connector", "force", "epoll")),
    ],
)
def test_a_way_is_named_by_its_options(way: Way, told: tuple[str, ...]) -> None:
    assert (way.name, way.wakeup, way.poll) == told
    assert problem_row(way, "no such thing")[:4] == (*told, "no such thing")


def test_a_channel_that_cant_be_had_has_its_reason_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: SimpleNamespace, decoder: object) -> None:
        raise RecordingError(f"no {request.source} here\n  verifier: no")

    monkeypatch.setattr(latency, "open_source", refuse)
    (table,) = measure(2, lambda _line: None, ways=[EPOLL], loads=[NOTHING])
    assert table.rows == (problem_row(EPOLL, "no ringbuf here"),)


@pytest.mark.kernel
@pytest.mark.parametrize(
    "way",
    [
        Way("sequencer", ChannelOptions(poll="1")),
        EPOLL,
        Way("perf", ChannelOptions(poll="epoll", wakeup="force", merge="none")),
        Way("connector", ChannelOptions(poll="epoll")),
    ],
    ids=lambda way: way.source,
)
def test_a_real_fork_exec_and_exit_take_their_time(way: Way) -> None:
    table: Table
    (table,) = measure(1, lambda _line: None, ways=[way], loads=[A_FEW])
    cells = dict(zip(COLUMNS, table.rows[0], strict=True))
    assert isinstance(cells["events"], Figure), cells
    assert cells["events"].median >= 6
    assert isinstance(cells["p50"], Figure)
    assert cells["p50"].median > 0
