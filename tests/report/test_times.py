"""Claims about times as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.replay.selection import Bound
from linnix_rec.report.times import Timeline, microseconds_of, moment, rfc_3339, seq_range

# From 2026-09-21T23:59:50Z on, for 20 s.
STARTED_US = 1_790_035_190_000_000
TIMELINE = Timeline(started_boot_ns=5_000_000_000, ended_boot_ns=25_000_000_000, started_us=STARTED_US)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("1234", Bound("seq", 1234)),
        ("+1.5s", Bound("boot_ns", 6_500_000_000)),
        ("+1.5", Bound("boot_ns", 6_500_000_000)),
        ("-2s", Bound("boot_ns", 23_000_000_000)),
        ("+250ms", Bound("boot_ns", 5_250_000_000)),
        ("+7us", Bound("boot_ns", 5_000_007_000)),
        ("-1m", Bound("boot_ns", -35_000_000_000)),
        ("2026-09-21T23:59:50Z", Bound("time", STARTED_US)),
        ("2026-09-22T01:59:50.25+02:00", Bound("time", STARTED_US + 250_000)),
        ("2026-09-21T18:29:50-05:30", Bound("time", STARTED_US)),
        ("2026-09-21 23:59:50", Bound("time", STARTED_US)),
        ("23:59:50.000001", Bound("time", STARTED_US + 1)),
        ("00:00:05", Bound("time", STARTED_US + 15_000_000)),  # after midnight, while it still recorded
        ("12:00:00", Bound("time", STARTED_US - 43_190_000_000)),
    ],
)
def test_moments_are_read(text: str, bound: Bound) -> None:
    assert moment(text, TIMELINE) == bound


@pytest.mark.parametrize(
    "text", ["", "yesterday", "25:00:00", "12:60:00", "2026-02-30T00:00:00Z", "+5x", "1.5", "+"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        moment(text, TIMELINE)


@given(st.one_of(st.text(), st.from_regex(r"[+-]?[0-9:.TZ+-]{1,40}[a-z]{0,2}")))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (seq_range, lambda text: moment(text, TIMELINE)):
        with contextlib.suppress(UsageError):
            read(text)


def test_time_that_no_calendar_has_is_damage() -> None:
    with pytest.raises(UnreadableCaptureError):
        rfc_3339(1 << 62)


def test_refusal_says_what_would_do() -> None:
    with pytest.raises(UsageError, match=r"can't read the time 'noon': give a seq .* or the end \(-2s\)"):
        moment("noon", TIMELINE)


@pytest.mark.parametrize(
    ("text", "bounds"), [("3:9", (3, 9)), ("3:", (3, None)), (":9", (0, 9)), (":", (0, None)), ("7", (7, 8))]
)
def test_seq_ranges_are_half_open_and_either_side_may_be_left_out(
    text: str, bounds: tuple[int, int | None]
) -> None:
    assert seq_range(text) == bounds


@pytest.mark.parametrize("text", ["", "a:b", "1:2:3", "-1:5"])
def test_what_is_no_seq_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        seq_range(text)


@pytest.mark.parametrize("text", [":99999999999999999999999999", "18446744073709551616:", "9" * 5000])
def test_a_seq_beyond_64_bits_is_too_large(text: str) -> None:
    with pytest.raises(UsageError, match=r"too large: tickets are 64-bit"):
        seq_range(text)


def test_the_largest_seq_is_one() -> None:
    assert seq_range("18446744073709551615") == ((1 << 64) - 1, 1 << 64)
    assert moment("18446744073709551615", TIMELINE).value == (1 << 64) - 1


@pytest.mark.parametrize("us", [0, 1, STARTED_US, STARTED_US + 999_999])
def test_wall_clock_times_are_read_as_written(us: int) -> None:
    assert microseconds_of(rfc_3339(us)) == us


def test_wall_clock_times_have_microseconds_and_utc() -> None:
    assert rfc_3339(STARTED_US + 1) == "2026-09-21T23:59:50.000001Z"
