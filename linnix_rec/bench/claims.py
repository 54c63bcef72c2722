"""What was claimed of the cost of recording, beside what was measured. Measures nothing.

A claim is a bound on one figure; the verdict is whether the median keeps it, whichever way it falls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from linnix_rec.bench.tables import Cell, Figure, Table

DOCUMENT: Final = "the reference document"
TARGET: Final = "our target"
NOT_MEASURED: Final = "not measured"


@dataclass(frozen=True)
class Claim:
    """`figure` names what is bounded: from `least` to `greatest`, each None if it is not."""

    text: str
    by: str
    figure: str
    least: float | None = None
    greatest: float | None = None

    def holds(self, measured: Figure) -> bool:
        """Whether the median is within the bounds."""
        above = self.least is None or measured.median >= self.least
        return above and (self.greatest is None or measured.median <= self.greatest)

    def verdict(self, measured: Figure | None) -> str:
        """Give the verdict in a word."""
        if measured is None:
            return NOT_MEASURED
        words = ("met", "missed") if self.by == TARGET else ("confirmed", "refuted")
        return words[0 if self.holds(measured) else 1]


CLAIMS: Final = (
    Claim("typical load: under 1% of a core", DOCUMENT, "typical", greatest=1.0),
    Claim("typical load: at most 1.8% at the peak", DOCUMENT, "typical peak", greatest=1.8),
    Claim("idle: no CPU (under 0.05% of a core)", DOCUMENT, "idle", greatest=0.05),
    Claim("a program takes 2 to 5 µs an event, or less", DOCUMENT, "program", greatest=5000),
    Claim("10 to 15 MB of memory, buffers aside", DOCUMENT, "memory", greatest=15),
    Claim("what is recorded is not slowed (by 5% at most)", DOCUMENT, "slowdown", greatest=1.05),
    Claim("a loop of ps takes 2 to 5% of a core", DOCUMENT, "ps typical", 2, 5),
    Claim("strace slows its load 2 to 5 times", DOCUMENT, "strace slowdown", 2, 5),
    Claim("typical load: under 1% of a core", TARGET, "typical", greatest=1.0),
    Claim("a fork storm is no slower than under perf record", TARGET, "against perf", greatest=1.0),
    Claim("at most 1/20 of perf record's bytes an event", TARGET, "bytes against perf", greatest=0.05),
)


def claims_table(measured: Mapping[str, Figure], claims: Sequence[Claim] = CLAIMS) -> Table:
    """Give each claim with its figure; `measured` lacks what could not be measured here."""
    rows: list[tuple[Cell, ...]] = []
    for claim in claims:
        figure = measured.get(claim.figure)
        rows.append((claim.text, claim.by, figure or NOT_MEASURED, claim.verdict(figure)))
    return Table(
        "claims",
        "Claims about the cost, and what was measured",
        ("claim", "by", "measured", "verdict"),
        tuple(rows),
        ("The verdict is of the median.",),
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure | None:
    """Give ours against theirs, run by run; None if either was not measured in every run."""
    if not ours or len(ours) != len(theirs):
        return None
    return Figure(tuple(our / their for our, their in zip(ours, theirs, strict=True)))
