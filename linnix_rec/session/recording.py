"""One recording, from the first listing to the closed capture. Knows source and writer, not how they work."""

import contextlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from linnix_rec.capture.document import FAILURE, ClockSample, Stopped
from linnix_rec.capture.writer import CaptureWriter
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.session import clock
from linnix_rec.session.cgroups import CgroupPaths
from linnix_rec.session.command import Command
from linnix_rec.session.evidence import Evidence
from linnix_rec.session.notify import ServiceManager
from linnix_rec.session.outcome import Outcome, held_by
from linnix_rec.session.pump import Pump
from linnix_rec.session.request import Request
from linnix_rec.session.status import Progress, StatusLine, enough_slots
from linnix_rec.session.wakeup import Wakeup
from linnix_rec.sources.pinned import End
from linnix_rec.sources.source import Source

READ_TICKETS: Final = 1 << 14  # at a time: 2 MiB of slots, which fit a core's cache while they are decoded
IDLE_SECONDS: Final = 0.25
# A ring is left alone for no longer than half of it takes to fill at this rate: then syscalls are shed.
PEAK_TICKETS_PER_SECOND: Final = 1 << 21
# A batch costs some ms, whatever is in it: few tickets wait for others, and the ring is their buffer.
FEW_TICKETS: Final = 1 << 12
FEW_SECONDS: Final = 1.0
LOOK_UP_SECONDS: Final = 1.0  # from the ring, to the clock and the service manager
CLOCK_STEP_NS: Final = 1_000_000
TREE_SECONDS: Final = 0.25  # between two looks at all tasks

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PASSED_ON_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
TURN_OVER_SIGNAL: Final = signal.SIGUSR1
CAUGHT_SIGNALS: Final = (*ENDING_SIGNALS, signal.SIGQUIT, TURN_OVER_SIGNAL)


class Recording:
    """Drives one source into one writer until something ends it.

    `writer` is at the ticket that `source` reads next, and nobody else has it.
    """

    begun = False  # whether the capture holds something to keep

    def __init__(
        self,
        request: Request,
        source: Source,
        writer: CaptureWriter,
        wakeup: Wakeup,
        evidence: Evidence,
    ) -> None:
        self._request = request
        self._source = source
        self._writer = writer
        self._wakeup = wakeup
        self._evidence = evidence
        self._manager = ServiceManager()
        self._clock = clock.sample()
        self._looked_up = time.monotonic()
        self._new_samples: list[ClockSample] = [self._clock] if writer.document.resumptions else []
        self._tree_looked = -TREE_SECONDS
        self._read_at = -FEW_SECONDS
        self._live_tasks = 0
        self._largest_lag = writer.document.largest_lag or 0
        self._idle_seconds = idle_seconds(request.channel.poll, source.ring_slots)
        source.realtime_offset_ns = _offset_ns(self._clock)
        self._before = held_by(writer.document)

    def run(self, command: Command | None, root_pidfd: int | None) -> Outcome:
        """List the tasks, let the command go, record until the end, close the capture.

        root_pidfd: the process with which recording ends; None for no such process, or one that has ended, if
        the rest of its tree is waited for

        Raises LinnixRecError if recording could not begin; what fails later is in the outcome.
        """
        self._cgroups = CgroupPaths()
        self._pump = Pump(self._writer, self._request.buffer_bytes, self._note_what_is_new)
        status = StatusLine(wanted=not self._request.quiet and command is None)
        failure: LinnixRecError | None = None
        try:
            try:
                self._begin(command, root_pidfd)
                stopped = self._record(command, root_pidfd, status)
            finally:
                status.clear()
        except LinnixRecError as error:
            if not self.begun:
                self._pump.finish()
                raise
            failure, stopped = error, stopped_now(FAILURE, str(error))
        if failure is None and self._pump.failure is not None:
            failure = self._writer_s_failure()
        if failure is not None and self._source.pin is not None:
            return self._leave(stopped, failure)
        return self._end(stopped, failure)

    def finish(self, stopped: Stopped) -> Outcome:
        """Only write what is still in the ring, and close the capture."""
        self.begun = True
        self._cgroups = CgroupPaths()
        self._pump = Pump(self._writer, self._request.buffer_bytes, self._note_what_is_new)
        return self._end(stopped, None)

    def _begin(self, command: Command | None, root_pidfd: int | None) -> None:
        if not self._writer.document.resumptions:
            self._list_tasks()
            if self._request.tree_only and not self._source.listed:
                raise RecordingError(
                    "this kernel does not show us that process, so its tree can't be followed:"
                    " it has ended, or is in another pid namespace, or is protected"
                )
        if command is not None:
            command.release()
        self.begun = True
        self._manager.ready()
        if root_pidfd is not None:
            self._wakeup.watch(root_pidfd)
        if self._request.channel.poll in (None, "epoll"):
            for descriptor in self._source.descriptors:
                self._wakeup.watch(descriptor)

    def _list_tasks(self) -> None:
        """List the tasks, and read on meanwhile: of a large host they may be more than the ring holds."""
        with ThreadPoolExecutor(1, thread_name_prefix="listing") as elsewhere:
            listing = elsewhere.submit(self._source.list_tasks)
            while not listing.done():
                if not self._drain():
                    time.sleep(0.001)
        self._listings = (*self._writer.document.listings, listing.result())
        self._pump.note(listings=self._listings)

    def _record(self, command: Command | None, root_pidfd: int | None, status: StatusLine) -> Stopped:
        deadline = None if self._request.duration_s is None else time.monotonic() + self._request.duration_s
        while True:
            busy = self._is_worth_reading() and self._drain()
            if self._pump.failure is not None:
                return stopped_now(FAILURE, str(self._pump.failure))
            stopped = self._reason_to_stop(command, root_pidfd, deadline)
            if stopped is not None:
                return stopped
            if self._once_a_second():
                self._read_clock()
                self._manager.status(self._progress().line())
            status.show(self._progress())
            self._manager.alive()
            seconds = 0.0 if busy else self._idle_seconds
            if deadline is not None:
                seconds = max(0.0, min(seconds, deadline - time.monotonic()))
            self._wakeup.wait(seconds)

    def _is_worth_reading(self) -> bool:
        """Whether there is much to read, or little for long; how to wait may also have been said."""
        now = time.monotonic()
        if not is_worth_reading(self._request.channel.poll, self._source, now - self._read_at):
            return False
        self._read_at = now
        return True

    def _drain(self) -> bool:
        """Read once; whether to read again at once."""
        if not self._pump.has_room:
            return False  # the ring takes what comes
        before = self._source.seq
        self._largest_lag = max(self._largest_lag, self._source.lag)
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
        """Why to stop now, if at all."""
        running = command is not None and not command.ended()
        ended_by = self._take_signals(command if running else None)
        if ended_by is not None:
            return stopped_now("signal", ended_by.name)
        if deadline is not None and time.monotonic() >= deadline:
            return stopped_now("duration", f"{self._request.duration_s:g} s")
        if running or not self._root_has_ended(root_pidfd):
            return None
        if self._request.wait and self._request.tree_only:
            if root_pidfd is not None:
                self._wakeup.unwatch(root_pidfd)
            if self._tree_lives():
                return None
            return stopped_now("tree", "the last task of the tree ended")
        return stopped_now("command" if command else "pid", "it ended")

    def _take_signals(self, command: Command | None) -> signal.Signals | None:
        """The signal that ends the recording, if one came; a command that runs gets its own."""
        for number in self._wakeup.take():
            if number == TURN_OVER_SIGNAL:
                self._turn_over()
            elif command is None and number in ENDING_SIGNALS:
                return number
            elif command is not None and number in PASSED_ON_SIGNALS:
                command.send(number)
        return None

    def _turn_over(self) -> None:
        """Close the segment; with what was made before somebody asked for it."""
        until = self._source.issued
        while self._source.seq < until and self._drain():
            pass
        self._pump.turn_over()

    def _root_has_ended(self, root_pidfd: int | None) -> bool:
        """Whether the process is gone; one that a tree needs and that is none was gone when we took it up."""
        return self._request.tree_only if root_pidfd is None else self._wakeup.has_ended(root_pidfd)

    def _tree_lives(self) -> bool:
        """Whether to wait for more of the tree."""
        if time.monotonic() - self._tree_looked < TREE_SECONDS:
            return True
        self._tree_looked = time.monotonic()
        issued = self._source.issued
        # Who was born during the look was perhaps not looked at, but it has taken a ticket.
        return self._source.live_tasks() > 0 or self._source.issued != issued

    def _once_a_second(self) -> bool:
        now = time.monotonic()
        if now - self._looked_up < LOOK_UP_SECONDS:
            return False
        self._looked_up = now
        return True

    def _read_clock(self) -> None:
        sample = clock.sample()
        if abs(_offset_ns(sample) - _offset_ns(self._clock)) >= CLOCK_STEP_NS:
            self._clock = sample
            self._new_samples.append(sample)
            self._source.realtime_offset_ns = _offset_ns(sample)

    def _note_what_is_new(self, batch: pa.RecordBatch) -> None:
        """In the writer's thread, after each batch: what the next capture.json should also say."""
        if self._cgroups.observe(batch):
            self._writer.note(cgroups={**self._writer.document.cgroups, **self._cgroups.paths})
        self._note_clock()

    def _note_clock(self) -> None:
        if self._new_samples:
            samples, self._new_samples = self._new_samples, []
            self._writer.note(clock=(*self._writer.document.clock, *samples))

    def _progress(self) -> Progress:
        lapped = self._source.largest_lap
        return Progress(
            events=self._source.events,
            lag=self._source.lag,
            lost=self._source.lost,
            bytes_written=self._writer.bytes_written,
            enough_slots=enough_slots(self._source.ring_slots, lapped) if lapped else 0,
        )

    def _end(self, stopped: Stopped, failure: LinnixRecError | None) -> Outcome:
        """Detach, write what is in the ring, close the capture."""
        self._manager.stopping()
        if self._source.attached:
            if self._request.tree_only:
                self._live_tasks = self._source.live_tasks()
            self._list_tasks()
            with contextlib.suppress(LinnixRecError, OSError):  # whoever comes after then knows less, no more
                self._source.note_end(End(stopped, self._listings).dump())
        for descriptor in self._source.descriptors:
            self._wakeup.unwatch(descriptor)
        self._evidence.detaching()
        self._source.detach()
        try:
            self._evidence.detached()
            self._drain_to_the_end()
            self._pump.finish()
        except LinnixRecError as error:
            if failure is None:
                failure, stopped = error, stopped_now(FAILURE, str(error))
        if failure is not None and self._source.pin is not None:
            return self._leave(stopped, failure)
        late_failure = self._close(stopped)
        if failure is None and late_failure is None:
            self._source.unpin()
        return self._outcome(stopped, failure or late_failure)

    def _close(self, stopped: Stopped) -> LinnixRecError | None:
        """Close the capture, if need be as one that stopped because of the failure that this gives."""
        accounts = self._source.accounts(runs=self._request.prove)
        self._new_samples.append(clock.sample())
        self._note_clock()
        self._writer.note(
            perf=self._evidence.perf,
            connector=self._evidence.connector,
            largest_lag=None if accounts is None else self._largest_lag,
        )
        try:
            self._writer.close(stopped, accounts)
        except LinnixRecError as error:
            if self._source.pin is not None:
                self._writer.abandon()  # what it lacks is in the ring still
                return error
            # Without room even for this the capture stays as an unfinished one.
            with contextlib.suppress(LinnixRecError):
                self._writer.close(stopped_now(FAILURE, str(error)), accounts)
            return error
        finally:
            self._cgroups.close()
        return None

    def _leave(self, stopped: Stopped, failure: LinnixRecError) -> Outcome:
        """Leave the capture unfinished, as a crash would: what it lacks is in the ring, which is pinned."""
        with contextlib.suppress(LinnixRecError):
            self._pump.finish()
        self._writer.abandon()
        self._cgroups.close()
        return self._outcome(stopped, failure)

    def _writer_s_failure(self) -> LinnixRecError:
        failure = self._pump.failure
        if isinstance(failure, LinnixRecError):
            return failure
        assert failure is not None
        raise failure

    def _outcome(self, stopped: Stopped, failure: LinnixRecError | None) -> Outcome:
        document = self._writer.document
        pruned = sum(document.pruned.rows.values()) if document.pruned else 0
        return Outcome(
            stopped=stopped,
            seconds=(stopped.boot_ns - self._source.attached_boot_ns) / 1e9,
            events=self._before.events + self._source.events,
            kept=pruned + sum(segment.rows for segment in document.segments),
            lost=self._before.lost + self._source.lost,
            largest_lap=self._source.largest_lap,
            shed=document.accounts.shed if document.accounts else 0,
            laps=self._source.issued // self._source.ring_slots if self._source.ring_slots else 0,
            live_tasks=self._live_tasks,
            bytes_written=self._writer.bytes_written,
            failure=failure,
            pinned=self._source.pin is not None,
        )


def idle_seconds(poll: str | None, ring_slots: int) -> float:
    """How long the source is left alone when it has nothing; unless it wakes us."""
    if poll == "busy":
        return 0.0
    if poll is not None and poll != "epoll":
        return int(poll) / 1000
    return min(IDLE_SECONDS, ring_slots / 2 / PEAK_TICKETS_PER_SECOND) if ring_slots else IDLE_SECONDS


def is_worth_reading(poll: str | None, source: Source, waited_seconds: float) -> bool:
    """Whether there is much in the ring, or little for long; at once, if somebody said how to wait."""
    few = min(FEW_TICKETS, source.ring_slots // 8)
    return poll is not None or waited_seconds >= FEW_SECONDS or source.lag >= few


def _offset_ns(sample: ClockSample) -> int:
    return sample.realtime_ns - sample.boot_ns


def stopped_now(reason: str, detail: str) -> Stopped:
    """That a recording stops at this moment."""
    now = clock.sample()
    return Stopped(reason, detail, clock.rfc3339(now.realtime_ns), now.boot_ns)
