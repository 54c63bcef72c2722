"""`linnix-rec reconcile`: two captures in, what one lacks of the other out. Knows no event; `proof` does."""

from __future__ import annotations

import re
from pathlib import Path

import click

from linnix_rec.cli import reading
from linnix_rec.cli.record import duration_s

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)", re.ASCII)


def share(text: str) -> float:
    """`0.1%`, `0.001` -> 0.001."""
    match = _SHARE.fullmatch(text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else 2.0
    if value > 1:
        raise click.BadParameter(f"{text!r} is no share: try 0.1% or 0.001")
    return value


def window_ns(text: str) -> int:
    """`10s` -> nanoseconds."""
    ns = round(duration_s(text) * 1e9)
    if ns <= 0:
        raise click.BadParameter("a window has a length: try 10s")
    return ns


@click.command(
    short_help="Compare two recordings of the same time, event by event.",
    epilog="""\b
Exit status:
  0  they agree within the tolerance
  1  they do not: --fail-after windows in a row are bad
  2  wrong usage, or captures that can't be compared    3  a capture can't be read

\b
Examples:
  sudo linnix-rec record --shadow ringbuf -o a.lrec -a -d 60s
  linnix-rec reconcile a.lrec a.shadow.lrec
  linnix-rec reconcile --tolerance 1% --fail-after 3 a.lrec a.shadow.lrec || roll-back
  linnix-rec reconcile --format json a.lrec a.shadow.lrec | jq '.captures[].lost_by_kind'
""",
)
@click.argument("first", metavar="A", type=reading.CAPTURE_PATH)
@click.argument("second", metavar="B", type=reading.CAPTURE_PATH)
@click.option(
    "--window",
    "window",
    type=window_ns,
    default="10s",
    show_default=True,
    metavar="TIME",
    help="Count what is missing over windows of this length.",
)
@click.option(
    "--tolerance",
    type=share,
    default="0.1%",
    show_default=True,
    metavar="SHARE",
    help="A window is bad if more of its events are missing on either side.",
)
@click.option(
    "--fail-after",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="End 1 once N windows in a row are bad: the signal to roll a migration back.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Tables for people, or one JSON document.",
)
def command(*, first: Path, second: Path, window: int, tolerance: float, fail_after: int, form: str) -> int:
    """Say which events of A are not in B, and of B not in A.

    A and B are recordings of the same host (or of the same tree) at the same time, through two sources, as
    'record --shadow' makes them. Each fork, exec and exit is matched by its task (thread id and start) and
    its kind; of the process connector, which tells no start, by thread id and time. It prints each side's
    events, losses and inversions, what is in one only, by kind and by window, and names the first ones.

    Compared is the time that both saw. What is in one only within 10 ms of its ends (100 ms with the process
    connector) may be there by one clock alone: it is counted apart, and not called missing.
    """
    from linnix_rec.capture.reader import open_capture
    from linnix_rec.proof.reconcile import reconcile
    from linnix_rec.report.reconcile import Comparison, comparison_lines, json_comparison

    a, b = open_capture(first), open_capture(second)
    comparison = Comparison(
        captures=(str(first), str(second)),
        started_boot_ns=(a.document.started.boot_ns, b.document.started.boot_ns),
        found=reconcile(a, b, window_ns=window),
        window_ns=window,
        tolerance=tolerance,
        fail_after=fail_after,
    )
    if form == "json":
        reading.write_lines([json_comparison(comparison)])
    else:
        stream = reading.stdout()
        ink, width = reading.ink_for(stream), reading.width_for(stream)
        reading.write_lines(comparison_lines(comparison, width=width, ink=ink))
    return 0 if comparison.agrees else 1
