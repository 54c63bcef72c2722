"""What the recorder says: figures in words, the last lines, a status line only where a terminal is."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from linnix_rec.capture.document import Stopped
from linnix_rec.errors import RecordingError
from linnix_rec.session import clock, status
from linnix_rec.session.outcome import Outcome
from linnix_rec.session.request import Request
from linnix_rec.session.status import Progress, StatusLine, bytes_in_words, seconds_in_words
from linnix_rec.session.summary import summary

WHOLE = Outcome(
    stopped=Stopped("command", "it ended", "2026-11-21T12:00:00.000000Z", 1),
    seconds=2.34,
    events=12345,
    kept=12345,
    lost=0,
    largest_lap=0,
    laps=0,
    live_tasks=0,
    bytes_written=54321,
    failure=None,
    pinned=False,
)
MAKE = Request(command=("make",))


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (54321, "54.3 kB"), (123456, "123 kB"), (2.5e9, "2.5 GB"),
     (7e15, "7000 TB")],
)  # fmt: skip
def test_bytes_are_in_decimal_units(count: float, words: str) -> None:
    assert bytes_in_words(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (2.34, "2.3 s"), (245, "4 min 5 s"), (11220, "3 h 7 min"), (59.99, "60.0 s")],
)
def test_times_are_as_long_as_they_need(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_a_whole_capture_is_two_lines() -> None:
    assert list(summary(MAKE, Path("my make.lrec"), WHOLE)) == [
        "12,345 events in 2.3 s, nothing lost; 54.3 kB in my make.lrec",
        "see who started whom: linnix-rec replay 'my make.lrec'",
    ]


def test_loss_is_counted_and_says_what_to_do() -> None:
    lines = list(summary(MAKE, Path("x.lrec"), replace(WHOLE, lost=1234, largest_lap=1234, laps=3)))
    assert "1,234 tickets lost, 3 laps of the ring" in lines[0]
    assert lines[1] == "the ring was too small for this load: try --ring-slots 2097152"
    lapped = replace(WHOLE, lost=3399, largest_lap=3399)
    assert "--ring-slots 8192" in list(summary(replace(MAKE, ring_slots=1024), Path("x.lrec"), lapped))[1]


def test_what_producers_gave_up_is_not_for_a_larger_ring_to_save() -> None:
    lines = list(summary(MAKE, Path("x.lrec"), replace(WHOLE, lost=2)))
    assert "2 tickets lost" in lines[0]
    assert len(lines) == 2


def test_who_still_lives_is_counted_with_the_option_that_waits() -> None:
    one = list(summary(MAKE, Path("x.lrec"), replace(WHOLE, live_tasks=1)))[1]
    assert (
        one
        == "1 task of the tree still live, unrecorded from here on (--wait records until the last has ended)"
    )
    by_time = replace(WHOLE, stopped=replace(WHOLE.stopped, reason="duration"), live_tasks=2)
    waited = list(summary(MAKE, Path("x.lrec"), by_time))[1]
    assert waited == "2 tasks of the tree still live, unrecorded from here on"
    assert len(list(summary(Request(), Path("x.lrec"), replace(WHOLE, live_tasks=99)))) == 2


def test_a_failure_stands_first() -> None:
    failed = replace(WHOLE, kept=0, failure=RecordingError("the disk is full"))
    assert list(summary(MAKE, Path("x.lrec"), failed)) == [
        "error: the disk is full",
        "0 of 12,345 events in 2.3 s are kept in x.lrec",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_status_line_is_drawn_on_a_terminal_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "REDRAW_SECONDS", -1.0)
    terminal = Terminal()
    line = StatusLine(wanted=True, stream=terminal)
    line.show(Progress(events=1000, lag=5, lost=0, bytes_written=2000))
    assert "1,000 events" in terminal.getvalue()
    assert "lag 5 · lost 0 · 2.0 kB · Ctrl-C ends" in terminal.getvalue()
    line.clear()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(("wanted", "stream"), [(True, io.StringIO()), (False, Terminal())])
def test_elsewhere_it_is_silent(wanted: bool, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "REDRAW_SECONDS", -1.0)
    line = StatusLine(wanted=wanted, stream=stream)
    line.show(Progress(1, 2, 3, 4))
    line.clear()
    assert stream.getvalue() == ""


def test_a_moment_is_written_in_utc_with_microseconds() -> None:
    assert clock.rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456Z"
    assert clock.rfc3339(0) == "1970-01-01T00:00:00.000000Z"


def test_both_clocks_go_on() -> None:
    first, second = clock.sample(), clock.sample()
    assert first.boot_ns < second.boot_ns <= clock.boot_ns()
