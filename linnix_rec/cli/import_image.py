"""`linnix-rec import`: options in, exit status out. Knows no ring; `linnix_rec.session.dump` does."""

from __future__ import annotations

from pathlib import Path

import click

from linnix_rec.cli import reading


@click.command(
    short_help="Make a capture of a raw image.",
    epilog="""\b
Exit status:
  0  written
  1  the disk is full, or fails
  2  wrong usage, or DIR can't be made there
  3  FILE can't be read, is no raw image, or is damaged

\b
Examples:
  linnix-rec import incident.ring -o incident.lrec     on any machine, without privileges
""",
)
@click.argument("file", metavar="FILE", type=reading.CAPTURE_PATH)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the capture goes.  [default: FILE's name with .lrec, here]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace DIR if it is a capture; nothing else is ever replaced.")
@click.option(
    "--redact", metavar="REGEX",
    help="Replace what matches in arguments, filenames and names by [redacted].",
)  # fmt: skip
@click.option(
    "--max-slots", type=click.IntRange(1024, 1 << 31), default=1 << 20, show_default=True, metavar="N",
    help="Read images of up to so many slots; each takes 128 bytes of memory.",
)  # fmt: skip
def command(file: Path, output: Path | None, force: bool, redact: str | None, max_slots: int) -> int:
    """Turn FILE, written by 'linnix-rec dump --raw', into an ordinary capture.

    Needs neither the kernel that it is of, nor privileges, nor Linux; only python-zstandard.
    """
    from linnix_rec.session.dump import import_raw

    reading.say(import_raw(file, output, force=force, redact=redact, maximum_slots=max_slots))
    return 0
