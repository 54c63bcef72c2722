"""Two recordings beside each other, for people and as JSON. Knows no rule and no file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from linnix_rec.capture.text import printable
from linnix_rec.proof.reconcile import Reconciliation, Side, Sighting, Window
from linnix_rec.proof.verdict import lost_unit
from linnix_rec.report import words
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import cut_to

_NAMES: Final = ("A", "B")
#: So many windows are told; of more, the bad ones first met.
_SHOWN_WINDOWS: Final = 24

_KIND_HEADINGS: Final = ("KIND", "IN BOTH", "ONLY IN A", "ONLY IN B", "LOST BY A", "LOST BY B")
_WINDOW_HEADINGS: Final = (
    *("WINDOW", "IN A", "IN B", "ONLY IN A", "ONLY IN B", "LOST BY A", "LOST BY B", "MISSING", ""),
)


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two captures, and what is asked of it.

    captures, started_boot_ns: their names, and when they began
    tolerance: 0 to 1; a window is bad if a larger share of its events is missing on either side
    fail_after: they disagree if so many windows in a row are bad
    """

    captures: tuple[str, str]
    started_boot_ns: tuple[int, int]
    found: Reconciliation
    window_ns: int
    tolerance: float
    fail_after: int

    @property
    def agrees(self) -> bool:
        """Whether they agree, as far as was asked."""
        return self.found.longest_bad_run(self.tolerance) < self.fail_after


def comparison_lines(comparison: Comparison, *, width: int | None = None, ink: Ink = PLAIN) -> Iterator[str]:
    """Tell of both sides, of kinds and windows, of the first events that one lacks, and what it comes to."""
    found = comparison.found
    lasted_ns = found.end_ns - found.from_ns
    for name, capture, side in zip(_NAMES, comparison.captures, found.sides, strict=True):
        yield cut_to(f"{name}  {printable(capture)}: {_told_side(side, lasted_ns)}", width)
    after = words.offset(max(0, found.from_ns - comparison.started_boot_ns[0]))
    yield ink.faint(f"both saw {words.duration(lasted_ns)}, from {after} s of A")
    yield ""
    yield from _kinds(found, width, ink)
    yield ""
    yield from _windows(comparison, width, ink)
    for place, side in enumerate(found.sides):
        yield from _alone(comparison, place, side, width)
    if found.at_edges:
        near = words.counted(found.at_edges, "event")
        yield ink.faint(f"{near} in one only, too near the ends of that time to be called missing")
    yield ""
    yield ink.good(conclude(comparison)) if comparison.agrees else ink.bad(conclude(comparison))


def conclude(comparison: Comparison) -> str:
    """Give what it comes to, in one line."""
    found = comparison.found
    bad = found.bad_windows(comparison.tolerance)
    missing = sum(sum(side.alone.values()) for side in found.sides)
    both = f"{words.counted(sum(found.both.values()), 'event')} in both"
    tolerance = f"{100 * comparison.tolerance:.4g} %"
    if not missing:
        return f"agree: {both}, none in one only"
    lacking = f"{missing:,} in one only"
    if not any(bad):
        return f"agree within {tolerance}: {both}, {lacking}"
    run = found.longest_bad_run(comparison.tolerance)
    first = words.offset(found.windows[bad.index(True)].from_ns - found.from_ns, 1)
    beyond = (
        f"{sum(bad):,} of {words.counted(len(bad), 'window')} beyond {tolerance}, the first at {first} s, "
        f"{run:,} in a row (--fail-after {comparison.fail_after})"
    )
    return f"{'agree so far' if comparison.agrees else 'disagree'}: {both}, {lacking}; {beyond}"


def json_comparison(comparison: Comparison) -> str:
    """Give all of it as one JSON document; times are ns since boot."""
    found = comparison.found
    bad = found.bad_windows(comparison.tolerance)
    told = {
        "verdict": "agree" if comparison.agrees else "disagree",
        "summary": conclude(comparison),
        "from_boot_ns": found.from_ns,
        "end_boot_ns": found.end_ns,
        "window_ns": comparison.window_ns,
        "tolerance": comparison.tolerance,
        "fail_after": comparison.fail_after,
        "bad_windows": sum(bad),
        "longest_bad_run": found.longest_bad_run(comparison.tolerance),
        "in_both": dict(found.both),
        "at_edges": found.at_edges,
        "captures": [
            _side_object(name, side, found.end_ns - found.from_ns)
            for name, side in zip(comparison.captures, found.sides, strict=True)
        ],
        "windows": [_window_object(window, flag) for window, flag in zip(found.windows, bad, strict=True)],
    }
    return json.dumps(told, indent=2).replace("\x7f", "\\u007f")


# ---- for people ----


def _told_side(side: Side, lasted_ns: int) -> str:
    events = sum(side.events.values())
    rate = f"{events * 10**9 / lasted_ns:,.0f}/s"
    unfinished = "" if side.finished else ", not finished"
    return (
        f"{printable(side.source)}{unfinished}, {words.counted(events, 'event')}, {rate}, {_lost(side)}, "
        f"{_inversions(side)}{_lag(side)}"
    )


def _lag(side: Side) -> str:
    if side.largest_lag is None:
        return ""
    behind = words.counted(side.largest_lag, "ticket" if side.ordered else "event")
    return f", its reader at most {behind} behind"


def _lost(side: Side) -> str:
    if not side.lost:
        return "nothing lost"
    unit = lost_unit(side.source, ordered=side.ordered)
    return f"{words.counted(side.lost, unit)} lost in {words.counted(side.gaps, 'gap')}"


def _inversions(side: Side) -> str:
    found = side.inversions
    if not found.total:
        return "no inversion"
    parts = ((found.births, "birth"), (found.deaths, "death"), (found.parents, "parent"))
    listed = words.joined(f"{count:,} of {name}" for count, name in parts if count)
    return f"{words.counted(found.total, 'inversion')} ({listed})"


def _kinds(found: Reconciliation, width: int | None, ink: Ink) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [_KIND_HEADINGS]
    for kind, both in found.both.items():
        alone = [f"{side.alone[kind]:,}" for side in found.sides]
        lost = ["?" if side.lost_by_kind is None else f"{side.lost_by_kind[kind]:,}" for side in found.sides]
        rows.append((kind, f"{both:,}", *alone, *lost))
    yield from _table(rows, width, ink)


def _windows(comparison: Comparison, width: int | None, ink: Ink) -> Iterator[str]:
    found = comparison.found
    bad = found.bad_windows(comparison.tolerance)
    numbered = list(zip(found.windows, bad, strict=True))
    shown = numbered if len(numbered) <= _SHOWN_WINDOWS else [each for each in numbered if each[1]]
    rows: list[tuple[str, ...]] = [_WINDOW_HEADINGS]
    for window, flag in shown[:_SHOWN_WINDOWS]:
        counts = [f"{count:,}" for pair in (window.events, window.alone, window.lost) for count in pair]
        at = words.offset(window.from_ns - found.from_ns, 1)
        rows.append((at, *counts, f"{window.share:.2%}", "bad" if flag else ""))
    yield from _table(rows, width, ink)
    left = len(numbered) - len(rows) + 1
    if left:
        bad_left = sum(bad) - sum(row[-1] == "bad" for row in rows)
        yield ink.faint(f"and {words.counted(left, 'more window')}, {bad_left:,} of them bad")


def _table(rows: Sequence[tuple[str, ...]], width: int | None, ink: Ink) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for place, row in enumerate(rows):
        cells = [cell.rjust(size) for cell, size in zip(row, widths, strict=True)]
        line = cut_to("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip(), width)
        if place == 0:
            yield ink.faint(line)
        else:
            yield ink.bad(line) if row[-1] == "bad" else line


def _alone(comparison: Comparison, place: int, side: Side, width: int | None) -> Iterator[str]:
    count = sum(side.alone.values())
    if not count:
        return
    yield ""
    yield f"only in {_NAMES[place]}: linnix-rec show --seq N {words.quoted(comparison.captures[place])}"
    for sighting in side.first:
        yield cut_to(_told_sighting(sighting, comparison.started_boot_ns[place]), width)
    if count > len(side.first):
        yield f"  and {count - len(side.first):,} more"


def _told_sighting(sighting: Sighting, started_boot_ns: int) -> str:
    who = f"{sighting.tid}" if sighting.tid == sighting.tgid else f"{sighting.tgid}/{sighting.tid}"
    by = "by " if sighting.kind == "fork" else ""
    at = words.offset(sighting.boot_ns - started_boot_ns, 6)
    return f"  seq {sighting.seq}  {at}  {sighting.kind} of {who}  {by}{printable(sighting.comm)}"


# ---- for programs ----


def _side_object(name: str, side: Side, lasted_ns: int) -> dict[str, Any]:
    return {
        "capture": name,
        "source": side.source,
        "ordered": side.ordered,
        "finished": side.finished,
        "events": dict(side.events),
        "events_per_second": sum(side.events.values()) * 10**9 / lasted_ns,
        "only_here": dict(side.alone),
        "first_only_here": [asdict(sighting) for sighting in side.first],
        "lost": side.lost,
        "lost_are": lost_unit(side.source, ordered=side.ordered) + "s",
        "gaps": side.gaps,
        "lost_by_kind": None if side.lost_by_kind is None else dict(side.lost_by_kind),
        "inversions": asdict(side.inversions),
        "largest_lag": side.largest_lag,
    }


def _window_object(window: Window, bad: bool) -> dict[str, Any]:
    return {
        "from_boot_ns": window.from_ns,
        "end_boot_ns": window.end_ns,
        "events": list(window.events),
        "in_both": window.both,
        "only_here": list(window.alone),
        "lost": list(window.lost),
        "missing_share": window.share,
        "bad": bad,
    }
