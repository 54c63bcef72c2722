"""One recording, from attaching to the closed capture. Knows the source and the writer, not how they work."""

import contextlib
import os
import platform
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linnix_rec import __version__
from linnix_rec.capture.directory import prepare_directory
from linnix_rec.capture.document import (
    CaptureDocument,
    ClockSample,
    Filter,
    Host,
    ObjectFile,
    Started,
    Stopped,
)  # fmt: skip
from linnix_rec.capture.text import decode_bytes
from linnix_rec.capture.writer import CaptureWriter
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.session import clock
from linnix_rec.session.cgroups import CgroupPaths
from linnix_rec.session.command import Command, CommandNotStartedError
from linnix_rec.session.pump import Pump
from linnix_rec.session.request import Request
from linnix_rec.session.status import Progress, StatusLine
from linnix_rec.session.wakeup import Wakeup
from linnix_rec.sources.sequencer import OBJECT_NAME, SequencerSource

READ_TICKETS: Final = 1 << 14  # at a time: 2 MiB of slots, which fit a core's cache while they are decoded
IDLE_SECONDS: Final = 0.25
# A ring is left alone for no longer than half of it takes to fill at this rate.
PEAK_TICKETS_PER_SECOND: Final = 1 << 20
CLOCK_SECONDS: Final = 1.0
FIRST_SEGMENT_SECONDS: Final = 1.0
CLOCK_STEP_NS: Final = 1_000_000
TREE_SECONDS: Final = 0.25  # between two looks at all tasks

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PASSED_ON_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
CAUGHT_SIGNALS: Final = (*ENDING_SIGNALS, signal.SIGQUIT)


@dataclass(frozen=True)
class Outcome:
    """What a recording came to. `failure` is what ended it early, already closed behind it.

    events, kept: rows read from the ring, rows in closed segments
    lost: tickets that stand in gaps; largest_lap is the longest gap of tickets that were lapped
    """

    stopped: Stopped
    seconds: float
    events: int
    kept: int
    lost: int
    largest_lap: int
    laps: int
    live_tasks: int
    bytes_written: int
    failure: LinnixRecError | None


class Recording:
    """Drives one source into one writer until something ends it."""

    prepared = False  # the capture's directory is there
    begun = False  # and holds something to keep

    def __init__(
        self,
        request: Request,
        directory: Path,
        source: SequencerSource,
        wakeup: Wakeup,
        owner: tuple[int, int] | None,
    ) -> None:
        self._request = request
        self._directory = directory
        self._source = source
        self._wakeup = wakeup
        self._owner = owner
        self._clock = [clock.sample()]
        self._clock_read = time.monotonic()
        self._tree_looked = -TREE_SECONDS
        self._idle_seconds = min(IDLE_SECONDS, source.ring_slots / 2 / PEAK_TICKETS_PER_SECOND)
        source.decoder.realtime_offset_ns = _offset_ns(self._clock[-1])

    def run(self, command: Command | None, root_pidfd: int | None) -> Outcome:
        """Attach, let the command go, record until the end, close the capture.

        Raises LinnixRecError if recording could not begin; what fails later is in the outcome.
        """
        self._source.attach()
        if self._request.tree_only and root_pidfd is not None:
            self._source.mark(root_pidfd)
            if command is None:
                self._source.adopt()
        self._source.list_tasks()
        if self._request.tree_only and not self._source.listed:
            raise RecordingError(
                "this kernel does not show that process to BPF programs, so its tree can't be followed:"
                " it has ended, or is in another pid namespace, or is protected"
            )
        prepare_directory(self._directory, self._request.force, self._owner)
        self.prepared = True
        self._writer = CaptureWriter(
            self._directory,
            self._document(),
            owner=self._owner,
            first_segment_seconds=FIRST_SEGMENT_SECONDS,
        )
        self._cgroups = CgroupPaths()
        self._pump = Pump(self._writer, self._request.buffer_bytes, self._cgroups.observe)
        status = StatusLine(wanted=not self._request.quiet and command is None)
        failure: LinnixRecError | None = None
        try:
            if command is not None:
                self._release(command)
            self.begun = True
            if root_pidfd is not None:
                self._wakeup.watch(root_pidfd)
            stopped = self._record(command, root_pidfd, status)
        except CommandNotStartedError:
            raise
        except LinnixRecError as error:
            failure, stopped = error, _stopped("failure", str(error))
        finally:
            status.clear()
            self._live_tasks = self._source.live_tasks() if self._request.tree_only else 0
            self._source.detach()
        try:
            self._drain_to_the_end()
            self._pump.finish()
        except LinnixRecError as error:
            if failure is None:
                failure, stopped = error, _stopped("failure", str(error))
        late_failure = self._close(stopped)
        return self._outcome(stopped, failure or late_failure)

    def _release(self, command: Command) -> None:
        try:
            command.release()
        except CommandNotStartedError:
            self._pump.finish()
            raise

    def _record(self, command: Command | None, root_pidfd: int | None, status: StatusLine) -> Stopped:
        deadline = None if self._request.duration_s is None else time.monotonic() + self._request.duration_s
        while True:
            busy = self._drain()
            if self._pump.failure is not None:
                return _stopped("failure", str(self._pump.failure))
            stopped = self._reason_to_stop(command, root_pidfd, deadline)
            if stopped is not None:
                return stopped
            self._read_clock()
            status.show(self._progress())
            seconds = 0.0 if busy else self._idle_seconds
            if deadline is not None:
                seconds = max(0.0, min(seconds, deadline - time.monotonic()))
            self._wakeup.wait(seconds)

    def _drain(self) -> bool:
        """Read once; whether to read again at once."""
        if not self._pump.has_room:
            return False  # the ring takes what comes
        before = self._source.seq
        for batch in self._source.read(READ_TICKETS):
            self._pump.put(batch)
        return self._source.seq - before >= READ_TICKETS // 2

    def _drain_to_the_end(self) -> None:
        while self._source.lag and self._pump.failure is None:
            if not self._pump.has_room:
                time.sleep(0.005)
                continue
            for batch in self._source.read(READ_TICKETS, final=True):
                self._pump.put(batch)
        for batch in self._source.read(READ_TICKETS, final=True):  # a gap that was held back
            self._pump.put(batch)

    def _reason_to_stop(
        self, command: Command | None, root_pidfd: int | None, deadline: float | None
    ) -> Stopped | None:
        """Why to stop now, if at all. Passes signals on that are the command's business."""
        running = command is not None and not command.ended()
        for number in self._wakeup.take():
            if command is not None and running:
                if number in PASSED_ON_SIGNALS:
                    command.send(number)
            elif number in ENDING_SIGNALS:
                return _stopped("signal", number.name)
        if deadline is not None and time.monotonic() >= deadline:
            return _stopped("duration", f"{self._request.duration_s:g} s")
        if root_pidfd is None or running or not self._wakeup.has_ended(root_pidfd):
            return None
        if self._request.wait and self._request.tree_only:
            self._wakeup.unwatch(root_pidfd)
            if self._tree_lives():
                return None
            return _stopped("tree", "the last task of the tree ended")
        return _stopped("command" if command else "pid", "it ended")

    def _tree_lives(self) -> bool:
        """Whether to wait for more of the tree."""
        if time.monotonic() - self._tree_looked < TREE_SECONDS:
            return True
        self._tree_looked = time.monotonic()
        issued = self._source.issued
        # Who was born during the look was perhaps not looked at, but it has taken a ticket.
        return self._source.live_tasks() > 0 or self._source.issued != issued

    def _read_clock(self) -> None:
        if time.monotonic() - self._clock_read < CLOCK_SECONDS:
            return
        self._clock_read = time.monotonic()
        sample = clock.sample()
        if abs(_offset_ns(sample) - _offset_ns(self._clock[-1])) >= CLOCK_STEP_NS:
            self._clock.append(sample)
            self._source.decoder.realtime_offset_ns = _offset_ns(sample)

    def _progress(self) -> Progress:
        return Progress(self._source.events, self._source.lag, self._source.lost, self._writer.bytes_written)

    def _close(self, stopped: Stopped) -> LinnixRecError | None:
        """Close the capture, if need be as one that stopped because of the failure that this gives."""
        accounts = self._source.accounts()
        try:
            clocks = [*self._clock[1:], clock.sample()]
            self._writer.close(stopped, accounts, clock=clocks, cgroups=self._cgroups.paths)
        except LinnixRecError as error:
            # Without room even for this the capture stays as an unfinished one.
            with contextlib.suppress(LinnixRecError):
                self._writer.close(_stopped("failure", str(error)), accounts)
            return error
        finally:
            self._cgroups.close()
        return None

    def _outcome(self, stopped: Stopped, failure: LinnixRecError | None) -> Outcome:
        return Outcome(
            stopped=stopped,
            seconds=(stopped.boot_ns - self._source.attached_boot_ns) / 1e9,
            events=self._source.events,
            kept=sum(segment.rows for segment in self._writer.document.segments),
            lost=self._source.lost,
            largest_lap=self._source.largest_lap,
            laps=self._source.issued // self._source.ring_slots,
            live_tasks=self._live_tasks,
            bytes_written=self._writer.bytes_written,
            failure=failure,
        )

    def _document(self) -> CaptureDocument:
        request, now = self._request, self._clock[-1]
        uname = platform.uname()
        return CaptureDocument(
            tool_version=__version__,
            capture_id=str(uuid.uuid4()),
            host=Host(
                hostname=uname.node,
                kernel_release=uname.release,
                machine=uname.machine,
                boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                cpus=os.cpu_count() or 1,
                page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
            ),
            object=ObjectFile(OBJECT_NAME, self._source.object_sha256),
            ring_slots=self._source.ring_slots,
            filter=Filter(
                mode=request.mode,
                command=tuple(decode_bytes(os.fsencode(word)) for word in request.command) or None,
                pid=request.pid,
            ),
            started=Started(
                time=clock.rfc3339(now.realtime_ns),
                boot_ns=now.boot_ns,
                attached_boot_ns=self._source.attached_boot_ns,
                first_seq=0,
            ),
            clock=(now,),
        )


def _offset_ns(sample: ClockSample) -> int:
    return sample.realtime_ns - sample.boot_ns


def _stopped(reason: str, detail: str) -> Stopped:
    now = clock.sample()
    return Stopped(reason, detail, clock.rfc3339(now.realtime_ns), now.boot_ns)
