"""Batches from the draining thread to the writing one: in order, bounded, and no failure kept secret."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from linnix_rec.errors import RecordingError
from linnix_rec.session.pump import Pump


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"seq": pa.array(numbers, pa.uint64())})


class Writer:
    """Takes batches when it is let."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.go = threading.Event()
        self.seqs: list[int] = []
        self.threads: set[str] = set()
        self._failure = failure

    def write(self, batch: Any) -> None:
        assert self.go.wait(30)
        if self._failure is not None:
            raise self._failure
        self.threads.add(threading.current_thread().name)
        self.seqs += batch.column("seq").to_pylist()

    def turn_over_if_due(self) -> None:
        """Nothing is ever due."""


def pump_into(writer: Any, bound_bytes: int = 1 << 20, observed: list[Any] | None = None) -> Pump:
    return Pump(writer, bound_bytes, (observed if observed is not None else []).append)


def test_what_is_put_is_written_in_order_by_another_thread() -> None:
    writer, observed = Writer(), []
    pump = pump_into(writer, observed=observed)
    writer.go.set()
    for number in range(200):
        pump.put(batch(number))
    pump.finish()
    assert writer.seqs == list(range(200))
    assert writer.threads == {"writer"}
    assert len(observed) == 200


def test_a_slow_writer_holds_nobody_up_and_the_bound_says_when_to_stop() -> None:
    writer = Writer()
    pump = pump_into(writer, bound_bytes=20)
    put = 0
    while pump.has_room:
        pump.put(batch(put))
        put += 1
    assert put in (3, 4)  # 8 bytes each; the writer may hold one already
    writer.go.set()
    pump.finish()
    assert writer.seqs == list(range(put))
    assert pump.has_room


@pytest.mark.parametrize("failure", [RecordingError("the disk is full"), RuntimeError("a bug")])
def test_what_the_writer_raises_is_raised_at_the_end_and_seen_before(failure: Exception) -> None:
    writer = Writer(failure)
    pump = pump_into(writer)
    pump.put(batch(1))
    writer.go.set()
    with pytest.raises(type(failure), match=str(failure)):
        pump.finish()
    assert pump.failure is failure


def test_nothing_put_is_nothing_written(tmp_path: Path) -> None:
    writer = Writer()
    pump_into(writer).finish()
    assert writer.seqs == []
