"""Carries batches from the draining thread to the writing one, up to a bound in bytes. Knows no ring.

Neither waits for the other. When the writer falls behind by more than the bound, the reader stops
reading, and the ring, which is far larger, takes what comes.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from linnix_rec.capture.writer import CaptureWriter

WAKE_SECONDS: Final = 0.5


class Pump:
    """Owns the writer's thread from start() to finish()."""

    def __init__(
        self, writer: CaptureWriter, bound_bytes: int, observe: Callable[[pa.RecordBatch], None]
    ) -> None:
        self._writer = writer
        self._bound_bytes = bound_bytes
        self._observe = observe
        self._batches: deque[pa.RecordBatch] = deque()
        self._queued_bytes = 0
        self._more = threading.Condition()
        self._notes: dict[str, Any] = {}
        self._turn_over = False
        self._done = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether the queue is under its bound; one batch may always wait, however small the bound."""
        return not self._batches or self._queued_bytes < self._bound_bytes

    def put(self, batch: pa.RecordBatch) -> None:
        """Queue a batch; never waits. Look at `has_room` before reading more."""
        with self._more:
            self._batches.append(batch)
            self._queued_bytes += batch.nbytes
            self._more.notify()

    def note(self, **changes: Any) -> None:
        """Have the writer say this in capture.json, soon; by the document's fields."""
        with self._more:
            self._notes |= changes
            self._more.notify()

    def turn_over(self) -> None:
        """Have the writer close its segment as soon as it has written what is queued."""
        with self._more:
            self._turn_over = True
            self._more.notify()

    def finish(self) -> None:
        """Write all that is queued and end the thread; raises what the writer raised."""
        with self._more:
            self._done = True
            self._more.notify()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._done or self._batches:
                batch = self._next()
                self._take_notes()
                if batch is None:
                    self._rest()
                else:
                    self._writer.write(batch)
                    self._observe(batch)
            self._take_notes()
        except BaseException as failure:  # handed to the draining thread, which ends the recording
            self.failure = failure

    def _take_notes(self) -> None:
        with self._more:
            notes, self._notes = self._notes, {}
        if notes:
            self._writer.note(at_once=True, **notes)

    def _rest(self) -> None:
        """With nothing queued, close the segment if somebody asked for it, or time has."""
        if self._turn_over:
            self._turn_over = False
            self._writer.turn_over()
        else:
            self._writer.turn_over_if_due()

    def _next(self) -> pa.RecordBatch | None:
        """The oldest batch, or None if there is none for a while."""
        with self._more:
            if not self._batches and not self._done and not self._turn_over:
                self._more.wait(WAKE_SECONDS)
            if not self._batches:
                return None
            batch = self._batches.popleft()
            self._queued_bytes -= batch.nbytes
            return batch
