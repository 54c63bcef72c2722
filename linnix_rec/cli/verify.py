"""`linnix-rec verify`: captures in, verdicts out. Knows no rule; `linnix_rec.proof` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from linnix_rec.cli import reading
from linnix_rec.cli.terminal import preferences
from linnix_rec.errors import UnreadableCaptureError, UsageError

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
  alive     the tasks that the kernel lists at the end are those that live by the events
  digest    the files are those that were written, unchanged
  account   the kernel's own counters agree with the capture
  witness   perf counted as many events (record --witness perf)
  connector the kernel's process connector told of the same events (record --witness connector)
  expect    the digest is the one that was noted elsewhere (--expect)
Where a gap may hide the missing half, a rule counts "unknown", which is no violation.
Of a source without tickets (record --source ringbuf, perf, connector) birth, death, parent and once judge
the rows as they arrived; sequence and alive are not judged.

\b
Exit status (of several captures, the highest):
  0  proven; of a source without tickets: causal, and nothing that is known to be lost
  1  readable, but wrong, incomplete or unfinished
  2  wrong usage    3  a capture can't be read

\b
Examples:
  linnix-rec verify build.lrec
  linnix-rec verify -q build.lrec && echo whole
  linnix-rec verify -q --digest build.lrec > build.digest       # keep this elsewhere
  linnix-rec verify --expect "$(cut -d' ' -f1 build.digest)" build.lrec
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
@click.option(
    "--digest",
    "with_digest",
    is_flag=True,
    help="Print each capture's digest first: it commits to every byte of the segments and to capture.json.",
)
@click.option(
    "--expect",
    "expected",
    metavar="DIGEST",
    help="Fail unless the capture's digest is this one, which was noted elsewhere; for one CAPTURE.",
)
@click.option(
    "-q", "--quiet", is_flag=True, help="Print nothing, or with --digest only that; the exit status tells."
)
@click.pass_context
def command(
    context: click.Context,
    *,
    captures: tuple[Path, ...],
    form: str,
    allow_loss: bool,
    with_digest: bool,
    expected: str | None,
    quiet: bool,
) -> int:
    """Prove that each CAPTURE holds every event, unchanged, and in an order that can have happened.

    It prints a line a rule, the first offenders by seq, and what it comes to; with -v also each identity
    between counters, with both sides. These are always shown of a capture with 'record --prove' or a witness.
    """
    wanted = _Wanted(allow_loss, with_digest, _expected(expected, captures))
    chosen = captures or (reading.chosen_capture(None),)
    proofs = (_prove(path, wanted) for path in chosen)
    if form == "text":
        worst, verbose = 0, preferences(context).verbosity > 0
        for place, proof in enumerate(proofs):
            titled = len(chosen) > 1
            if not quiet:
                lines = _text(proof, titled=titled, verbose=verbose, first=place == 0, digest=with_digest)
                reading.write_lines(lines)
            elif with_digest:
                reading.write_lines(_digest(proof))
            worst = max(worst, proof.status)
        return worst
    listed = list(proofs)
    if not quiet:
        from linnix_rec.report.verdict import json_verdicts, junit_verdicts

        reading.write_lines([json_verdicts(listed) if form == "json" else junit_verdicts(listed)])
    return max(proof.status for proof in listed)


@dataclass(frozen=True)
class _Wanted:
    """What is asked of each capture."""

    allow_loss: bool
    digest: bool
    expected: str | None


def _expected(text: str | None, captures: tuple[Path, ...]) -> str | None:
    """Give the digest to expect; raises UsageError if it is none, or of several captures."""
    from linnix_rec.proof.evidence import parse_digest

    if text is None:
        return None
    if len(captures) > 1:
        raise UsageError("--expect is one capture's digest: verify the captures one by one")
    return parse_digest(text)


def _prove(path: Path, wanted: _Wanted) -> Proof:
    from linnix_rec.capture.reader import open_capture
    from linnix_rec.proof.verify import verify_capture
    from linnix_rec.report.verdict import Proof

    try:
        verdict = verify_capture(
            open_capture(path), with_digest=wanted.digest, expected_digest=wanted.expected
        )
    except UnreadableCaptureError as error:
        reading.say(f"error: {error}")
        return Proof(str(path), error.exit_status, unreadable=str(error))
    return Proof(str(path), verdict.exit_status(wanted.allow_loss), verdict)


def _digest(proof: Proof) -> Iterator[str]:
    from linnix_rec.report.verdict import digest_line

    line = digest_line(proof)
    if line:
        yield line


def _text(proof: Proof, *, titled: bool, verbose: bool, first: bool, digest: bool) -> Iterator[str]:
    from linnix_rec.capture.text import printable
    from linnix_rec.report.verdict import verdict_lines

    stream = reading.stdout()
    ink, width = reading.ink_for(stream), reading.width_for(stream)
    if titled and not first:
        yield ""
    if digest and proof.verdict is not None:  # it names the capture, as a title does
        yield from map(ink.strong, _digest(proof))
    elif titled:
        yield ink.strong(printable(proof.capture))
    if proof.verdict is not None or titled:
        yield from verdict_lines(proof, width=width, ink=ink, every_identity=verbose)
