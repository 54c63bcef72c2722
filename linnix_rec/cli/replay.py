"""`linnix-rec replay`: a capture in, who started whom out. Knows no events; `linnix_rec.replay` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from linnix_rec.cli import reading
from linnix_rec.errors import LinnixRecError, UsageError

if TYPE_CHECKING:
    from linnix_rec.capture.reader import Capture
    from linnix_rec.proof.verdict import RuleResult
    from linnix_rec.replay.lineage import Lineage
    from linnix_rec.report.tree import TreeStyle

_BATCH_ROWS = 1 << 17
# Offsets in longer recordings have ms only.
_MICROSECONDS_MATTER_NS = 100 * 10**9


@click.command(
    short_help="Show who started whom, and how each ended.",
    epilog=f"""\b
While it reads, it checks that the order is causal (birth, death, parent, once; see 'verify') and says on
stderr what it found. Of a source without tickets that is the order of arrival, which proves none.

\b
Exit status:
  0  done    1  failed, or the order is not causal    2  wrong usage
  3  CAPTURE can't be read, or a segment of it is missing; what is there is shown

\b
Examples:
  linnix-rec replay build.lrec                         the tree of processes
  linnix-rec replay --chains build.lrec                a line a process: fork -> exec -> exit
  linnix-rec replay --pid 1234 build.lrec              everybody who had that pid, in full
  linnix-rec replay --format jsonl | jq 'select(.exit.code != 0)'
  linnix-rec replay --format dot | dot -Tsvg > tree.svg

{reading.CAPTURE_HELP}
""",
)
@click.argument("capture", required=False, type=reading.CAPTURE_PATH)
@click.option("--tree", is_flag=True, help="The tree of processes (the default).")
@click.option("--chains", is_flag=True, help="Each process's life in a line.")
@click.option("--pid", type=int, metavar="N", help="Only those that had this pid, in full.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "dot"]),
    default="text",
    show_default=True,
    help="Text for people; JSON, one process a line; a Graphviz graph.",
)
@click.option("--all", "everybody", is_flag=True, help="Each and every process, also those that did nothing.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=reading.NamedPath(path_type=Path),
    help="Write to FILE, not to stdout.",
)
def command(
    *,
    capture: Path | None,
    tree: bool,
    chains: bool,
    pid: int | None,
    form: str,
    everybody: bool,
    output: Path | None,
) -> int:
    """Show the processes of CAPTURE: who started whom, what each ran, and how it ended.

    A process that execs again has a line `⇒` a step; what it starts then stands below. Processes that
    existed before, and did nothing during the recording, are left out unless they started somebody; and on
    a terminal many alike in a row, all with exit status 0, are one line. --all shows each of them.
    """
    from linnix_rec.report.views import View, view_lines

    if tree and chains:
        raise UsageError("--tree and --chains are two views: choose one")
    opened = reading.open_chosen(capture)
    lineage, rules = _read(opened)
    if pid is not None and not lineage.holders_of(pid).size:
        raise LinnixRecError(
            f"no process has pid {pid} in {opened.path} ('show --tid {pid}' would find a thread)"
        )
    shape = "chains" if chains else "tree" if tree or pid is None else "life"
    view = View(shape, form, pid, everybody)
    reading.write_lines(view_lines(lineage, view, _style(opened, output, everybody=everybody)), output)
    return _report(opened, lineage, rules)


def _read(capture: Capture) -> tuple[Lineage, tuple[RuleResult, ...]]:
    """Read all of a capture once, for its lineage and for the causal rules."""
    from linnix_rec.capture.schema import EVENT_SCHEMA
    from linnix_rec.proof.causality import CausalCheck
    from linnix_rec.proof.inversions import arrival_check
    from linnix_rec.proof.rows import CAUSAL_COLUMNS
    from linnix_rec.replay.lineage import LineageBuilder
    from linnix_rec.replay.rows import COLUMNS

    document = capture.document
    check = (
        CausalCheck(
            document.births_known_from_ns, lambda: capture.batches(CAUSAL_COLUMNS, batch_rows=_BATCH_ROWS)
        )
        if document.ordered
        else arrival_check(capture)
    )
    builder = LineageBuilder()
    columns = [name for name in EVENT_SCHEMA.names if name in {*COLUMNS, *CAUSAL_COLUMNS}]
    for batch in capture.batches(columns, batch_rows=_BATCH_ROWS):
        check.feed(batch)
        builder.feed(batch)
    return builder.finish(), check.results()


def _style(capture: Capture, output: Path | None, *, everybody: bool) -> TreeStyle:
    from linnix_rec.report.tree import ASCII_LINES, LINES, TreeStyle

    timeline = reading.timeline_of(capture)
    lasted_ns = timeline.ended_boot_ns - timeline.started_boot_ns
    digits = 6 if lasted_ns < _MICROSECONDS_MATTER_NS else 3
    if output is not None:
        return TreeStyle(timeline.started_boot_ns, digits)
    stream = reading.stdout()
    strokes = LINES if reading.draws_lines(stream) else ASCII_LINES
    width = reading.width_for(stream)
    return TreeStyle(
        timeline.started_boot_ns,
        digits,
        width,
        reading.ink_for(stream),
        strokes,
        folds=width is not None and not everybody,
    )


def _report(capture: Capture, lineage: Lineage, rules: tuple[RuleResult, ...]) -> int:
    """Say on stderr how many lives are whole and whether the order is causal; give the exit status."""
    from linnix_rec.proof.verdict import lost_unit
    from linnix_rec.report.chains import tally_line
    from linnix_rec.report.verdict import Counts, causal_line

    document = capture.document
    tally = lineage.tally(document.births_known_from_ns)
    reading.say(tally_line(tally, lost_unit(document.source, ordered=document.ordered)))
    counts = Counts(lineage.events, tally.lost_tickets, capture.missing_tickets, document.ordered)
    reading.say(causal_line(rules, counts, str(capture.path)))
    return reading.status_of_reading(capture) or (0 if all(rule.holds for rule in rules) else 1)
