"""`linnix-rec verify`: captures in, verdicts out. Knows no rule; `linnix_rec.proof` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from linnix_rec.cli import reading
from linnix_rec.errors import UnreadableCaptureError

if TYPE_CHECKING:
    from linnix_rec.report.verdict import Proof


@click.command(
    short_help="Prove that a capture is whole and in order.",
    epilog=f"""\b
The rules:
  sequence  every ticket is there, or stands in a gap
  birth     who was born during the recording, was forked before it did anything
  death     who has exited, does nothing any more
  parent    who forks, lives
  once      nobody is forked twice, or exits twice
  digest    the files are those that were written, unchanged
  account   the kernel's own counters agree with the capture
Where a gap may hide the missing half, a rule counts "unknown", which is no violation.

\b
Exit status (of several captures, the highest):
  0  proven; for a source without tickets: causal, completeness unknown
  1  readable, but wrong, incomplete or unfinished
  2  wrong usage    3  a capture can't be read

\b
Examples:
  linnix-rec verify build.lrec
  linnix-rec verify -q build.lrec && echo whole
  linnix-rec verify --format junit *.lrec > verdicts.xml

{reading.CAPTURE_HELP}
""",
)
@click.argument("captures", nargs=-1, metavar="[CAPTURE]...", type=reading.CAPTURE_PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit"]),
    default="text",
    show_default=True,
    help="Lines for people, one JSON document, or JUnit XML for CI.",
)
@click.option("--allow-loss", is_flag=True, help="Let lost tickets pass, if all else holds.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status tells.")
def command(captures: tuple[Path, ...], form: str, allow_loss: bool, quiet: bool) -> int:
    """Prove that each CAPTURE holds every event, unchanged, and in an order that can have happened.

    It prints a line a rule, the first offenders by seq, and what it comes to.
    """
    chosen = captures or (reading.chosen_capture(None),)
    proofs = (_prove(path, allow_loss) for path in chosen)
    if form == "text" and not quiet:
        worst = 0
        for place, proof in enumerate(proofs):
            reading.write_lines(_text(proof, titled=len(chosen) > 1, place=place))
            worst = max(worst, proof.status)
        return worst
    listed = list(proofs)
    if not quiet:
        from linnix_rec.report.verdict import json_verdicts, junit_verdicts

        reading.write_lines([json_verdicts(listed) if form == "json" else junit_verdicts(listed)])
    return max(proof.status for proof in listed)


def _prove(path: Path, allow_loss: bool) -> Proof:
    from linnix_rec.capture.reader import open_capture
    from linnix_rec.proof.verify import verify_capture
    from linnix_rec.report.verdict import Proof

    try:
        verdict = verify_capture(open_capture(path))
    except UnreadableCaptureError as error:
        reading.say(f"error: {error}")
        return Proof(str(path), error.exit_status, unreadable=str(error))
    return Proof(str(path), verdict.exit_status(allow_loss), verdict)


def _text(proof: Proof, *, titled: bool, place: int) -> Iterator[str]:
    from linnix_rec.capture.text import printable
    from linnix_rec.report.verdict import verdict_lines

    stream = reading.stdout()
    ink, width = reading.ink_for(stream), reading.width_for(stream)
    if titled:
        yield from [""] * bool(place)
        yield ink.strong(printable(proof.capture))
    if proof.verdict is not None or titled:
        yield from verdict_lines(proof, width=width, ink=ink)
