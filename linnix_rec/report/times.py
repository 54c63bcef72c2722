"""Moments as people write them, and times as they read them. Knows a recording's start and end, no events.

`1234` is a seq; `2026-09-21T14:16:40Z` a wall-clock time (RFC 3339; UTC unless it says otherwise);
`14:16:40.5` such a time on the recording's day; `+1.5s` is from its start and `-2s` from its end.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Final

from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.replay.selection import Bound

_DAY_US: Final = 24 * 3600 * 10**6
_UNITS_NS: Final = {
    "": 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SEQ: Final = re.compile(r"\d+", re.ASCII)
_SEQ_RANGE: Final = re.compile(r"(\d*)(?:(:)(\d*))?", re.ASCII)
_SEQ_DIGITS: Final = 20  # of 2**64
_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d+))?"
_TIME_OF_DAY: Final = re.compile(_CLOCK, re.ASCII)
_RFC_3339: Final = re.compile(
    rf"(?P<date>\d{{4}}-\d\d-\d\d)[Tt ]{_CLOCK}(?P<zone>[Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
_DISTANCE: Final = re.compile(
    r"(?P<sign>[+-])(?P<number>\d{1,9}(?:\.\d{1,9})?|\.\d{1,9}) ?(?P<unit>[a-zµ]*)", re.ASCII
)


@dataclass(frozen=True)
class Timeline:
    """A recording's start and end: ns since boot, and the start as µs since 1970, UTC."""

    started_boot_ns: int
    ended_boot_ns: int
    started_us: int


def moment(text: str, timeline: Timeline) -> Bound:
    """Read a moment as the module describes it; raises UsageError."""
    text = text.strip()
    if _SEQ.fullmatch(text):
        return Bound("seq", _seq(text))
    if found := _DISTANCE.fullmatch(text):
        return _distance(found, text, timeline)
    try:
        if found := _RFC_3339.fullmatch(text):
            return Bound("time", _wall_us(found))
        if found := _TIME_OF_DAY.fullmatch(text):
            return Bound("time", _us_on_recorded_day(found, timeline))
    except ValueError as error:
        raise UsageError(f"no such time: {text} ({error})") from error
    raise UsageError(
        f"can't read the time {text!r}: give a seq (1234), a time (2026-09-21T14:16:40Z or 14:16:40), "
        "or a distance from the start (+1.5s) or the end (-2s)"
    )


def seq_range(text: str) -> tuple[int, int | None]:
    """Read `A:B` (half-open; either side may be left out) or `A` (that seq alone); raises UsageError."""
    found = _SEQ_RANGE.fullmatch(text.strip())
    if not found or not text.strip():
        raise UsageError(f"can't read the range {text!r}: give A:B, two seqs of which the second is left out")
    first = _seq(found[1] or "0")
    if not found[2]:
        return first, first + 1
    return first, _seq(found[3]) if found[3] else None


def _seq(digits: str) -> int:
    """Read a seq; raises UsageError if no ticket can have it."""
    significant = digits.lstrip("0") or "0"
    if len(significant) > _SEQ_DIGITS or int(significant) >= 1 << 64:
        raise UsageError(f"the seq {digits} is too large: tickets are 64-bit numbers")
    return int(significant)


def rfc_3339(us: int) -> str:
    """Give µs since 1970 as `2026-09-21T14:16:40.000001Z`; raises UnreadableCaptureError."""
    try:
        moment_utc = _EPOCH + timedelta(microseconds=us)
    except OverflowError as error:
        raise UnreadableCaptureError(f"the capture is damaged: no event was {us} µs after 1970") from error
    return f"{moment_utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def microseconds_of(text: str) -> int:
    """Give an RFC 3339 time as µs since 1970; raises ValueError."""
    found = _RFC_3339.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a time of RFC 3339")
    return _wall_us(found)


def _distance(found: re.Match[str], text: str, timeline: Timeline) -> Bound:
    unit_ns = _UNITS_NS.get(found["unit"])
    if unit_ns is None:
        raise UsageError(f"can't read the unit of {text!r}: it is h, m, s, ms, us or ns")
    distance_ns = round(float(found["number"]) * unit_ns)
    if found["sign"] == "+":
        return Bound("boot_ns", timeline.started_boot_ns + distance_ns)
    return Bound("boot_ns", timeline.ended_boot_ns - distance_ns)


def _clock_us(found: re.Match[str]) -> int:
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second
        raise ValueError("hours go to 23, minutes to 59, seconds to 59")
    fraction_us = int(((found["fraction"] or "") + "000000")[:6])
    return ((hour * 60 + minute) * 60 + second) * 10**6 + fraction_us


def _wall_us(found: re.Match[str]) -> int:
    days = (date.fromisoformat(found["date"]) - _EPOCH.date()).days
    zone = found["zone"] or "Z"
    ahead_us = 0
    if zone not in "Zz":
        ahead_us = int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[4:6])) * 60 * 10**6
    return days * _DAY_US + _clock_us(found) - ahead_us


def _us_on_recorded_day(found: re.Match[str], timeline: Timeline) -> int:
    """A time before the start's is meant to be after midnight, if the recording went on that long."""
    us = timeline.started_us // _DAY_US * _DAY_US + _clock_us(found)
    ended_us = timeline.started_us + (timeline.ended_boot_ns - timeline.started_boot_ns) // 1000
    return us + _DAY_US if us < timeline.started_us and us + _DAY_US <= ended_us else us
