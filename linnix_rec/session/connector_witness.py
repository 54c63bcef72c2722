"""Keeps what the process connector says while a recording runs; knows no event of the recording.

A thread reads, so that no message waits for the recorder. So that nothing is lost unnoticed, not even the
last messages of a CPU, it makes a mark on every CPU when it begins and when it ends: it goes there and sets
its own name, which makes one message more with that CPU's next number.
"""

import os
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linnix_rec.capture.connector import FILE_NAME, MessageWriter
from linnix_rec.capture.document import ConnectorWitness
from linnix_rec.capture.files import Owner
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.session.clock import boot_ns
from linnix_rec.session.privileges import drop_privileges
from linnix_rec.sources.connector import RECEIVE_BUFFER_BYTES, ProcessConnector
from linnix_rec.sources.connector_marks import affinity_kept, mark_cpu, remarks_on
from linnix_rec.sources.connector_messages import KEPT, Heard, Rows
from linnix_rec.sources.cpus import online_cpus

_NAME: Final = b"connector"
#: Between two readings; many messages are read as cheaply as one.
_PAUSE_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 1.0
_WRITE_ROWS: Final = 1 << 14
_WRITE_SECONDS: Final = 1.0
_MARK_TRIES: Final = 3
_STEP_NS: Final = 1_000_000


class ConnectorListener:
    """Listens from its making until `after_detach` or `close`. Make it before attaching.

    Raises RecordingError. `remarks` are lines for the person at the prompt.
    """

    def __init__(self, buffer_bytes: int = RECEIVE_BUFFER_BYTES) -> None:
        self._connector = ProcessConnector(buffer_bytes)
        self._offset_ns = _offset_ns()
        self._held: list[Rows] = []
        self._held_boot_ns: list[NDArray[np.int64]] = []
        self._held_since = time.monotonic()
        self._marked: set[tuple[int, int]] = set()
        self._unmarked: frozenset[int] = frozenset()
        self._writer: MessageWriter | None = None
        self._failure: LinnixRecError | None = None
        self._begin_ns = self._end_ns = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._stop_reader, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="connector", daemon=True)
        try:
            for heard in self._connector.listen():
                self._keep(heard)
            self._thread.start()
        except BaseException:
            self.close()
            raise
        self._ready.wait()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is not as it should be, a line each."""
        return remarks_on(self._connector.remark, self._unmarked)

    def after_attach(self, directory: Path, owner: Owner | None) -> None:
        """Begin the window and the file; call it when the last program is attached. Raises RecordingError."""
        self._begin_ns = boot_ns()
        with self._lock:
            try:
                self._writer = MessageWriter(directory, owner)
            except OSError as error:
                raise _unwritable(directory, error) from error

    def before_detach(self) -> None:
        """End the window; call it before the first program is detached."""
        self._end_ns = boot_ns()

    def after_detach(self) -> ConnectorWitness:
        """Take what was said until now, and close the file; call it when no program runs any more.

        Raises RecordingError.
        """
        self._end_thread()
        try:
            if self._failure is not None:
                raise self._failure
            assert self._writer is not None, "after_attach was not called"
            writer = self._writer
            try:
                self._write()
                sha256 = writer.close()
            except OSError as error:
                raise _unwritable(Path(FILE_NAME), error) from error
            self._writer = None
            return ConnectorWitness(
                file=FILE_NAME,
                sha256=sha256,
                rows=writer.rows,
                lost={str(cpu): lost for cpu, lost in sorted(self._connector.numbering.lost.items())},
                overruns=self._connector.overruns,
                first_boot_ns=self._begin_ns,
                end_boot_ns=self._end_ns or boot_ns(),
            )
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening, once; a file that is not whole goes."""
        self._end_thread()
        self._connector.close()
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _end_thread(self) -> None:
        if self._stop < 0:
            return
        os.close(self._stop)  # the other end becomes readable
        self._stop = -1
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._stop_reader)

    def _run(self) -> None:
        try:
            drop_privileges(())  # they are a thread's own, and reading needs none
            self._mark()
            self._ready.set()
            while not self._stopped():
                self._connector.wait(_IDLE_SECONDS, also=self._stop_reader)
                self._read()
            self._mark()
        except LinnixRecError as error:
            self._failure = error
        except OSError as error:
            self._failure = _unwritable(Path(FILE_NAME), error)
        finally:
            self._ready.set()

    def _stopped(self) -> bool:
        """Whether to stop; takes a pause, so that messages gather."""
        time.sleep(_PAUSE_SECONDS)
        return self._stop < 0

    def _read(self) -> None:
        for heard in self._connector.receive():
            self._keep(heard)
        with self._lock:
            if self._writer is not None and self._is_due():
                self._write()

    def _keep(self, heard: Heard) -> None:
        offset_ns = _offset_ns()
        if abs(offset_ns - self._offset_ns) >= _STEP_NS:
            # Suspended in between. Messages from before that waited here are dated too late by that time.
            self._offset_ns = offset_ns
        self._marked |= heard.renamed
        self._held.append(heard.events)
        self._held_boot_ns.append(heard.events["monotonic_ns"] + self._offset_ns)

    def _is_due(self) -> bool:
        rows = sum(map(len, self._held))
        return rows >= _WRITE_ROWS or (rows > 0 and time.monotonic() - self._held_since >= _WRITE_SECONDS)

    def _write(self) -> None:
        """Write what is held; with the lock, or when the thread has ended."""
        rows = np.concatenate([np.zeros(0, KEPT), *self._held])
        boot_ns_ = np.concatenate([np.zeros(0, np.int64), *self._held_boot_ns])
        self._held, self._held_boot_ns = [], []
        self._held_since = time.monotonic()
        if self._writer is not None and len(rows):
            self._writer.write(rows, boot_ns_)

    def _mark(self) -> None:
        """Have every CPU number a message, and read until all those are heard.

        What a CPU said before its mark waits in the socket already: the kernel puts messages there at once.
        """
        own = threading.get_native_id()
        missing = online_cpus()
        with affinity_kept():
            for _ in range(_MARK_TRIES):
                self._marked.clear()
                unreachable = {cpu for cpu in missing if not mark_cpu(cpu, _NAME)}
                self._read()
                missing -= {cpu for cpu, tid in self._marked if tid == own}
                if not missing - unreachable:
                    break
        self._unmarked = missing


def _offset_ns() -> int:
    """CLOCK_BOOTTIME - CLOCK_MONOTONIC, the time spent suspended: the tightest of five tries."""
    tries = []
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        now = boot_ns()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        tries.append((after - before, now - (before + after) // 2))
    return min(tries)[1]


def _unwritable(path: Path, error: OSError) -> RecordingError:
    return RecordingError(f"can't write the connector's messages to {path}: {error.strerror or error}")
