"""`linnix-rec dump`: options in, exit status out. Knows no ring; `linnix_rec.session.armed` does."""

from __future__ import annotations

from pathlib import Path

import click

from linnix_rec.cli import reading


@click.command(
    short_help="Take out what an armed ring holds.",
    epilog="""\b
Exit status:
  0    written
  2    wrong usage, nothing is pinned under NAME, or DIR or FILE can't be made there
  125  this host fails: the pins can't be opened, the disk is full

\b
Examples:
  sudo linnix-rec dump host -o incident.lrec       an ordinary capture: verify, show, replay
  sudo linnix-rec dump host --raw incident.ring    as quick as can be; `import` makes the capture elsewhere
""",
)
@click.argument("name", metavar="NAME")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the capture goes.  [default: ./NAME-<UTC time>.lrec]",
)  # fmt: skip
@click.option(
    "--raw", type=reading.CAPTURE_PATH, metavar="FILE",
    help="Write the ring's image instead, zstd-compressed; needs python-zstandard.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace DIR if it is a capture, FILE if it is a raw image.")
@click.option(
    "--redact", metavar="REGEX",
    help="Replace what matches in arguments, filenames and names by [redacted], and what the recorder's own\n"
    "--redact matches; not with --raw.",
)  # fmt: skip
def command(name: str, output: Path | None, raw: Path | None, force: bool, redact: str | None) -> int:
    """Write what the ring pinned under NAME holds: the events of its last lap, up to this moment.

    The ring goes on recording meanwhile, and can be dumped again at any time. The tasks that run are
    listed first, so that the capture says who lives. It begins at the oldest ticket that is still whole.
    """
    from linnix_rec.session.dump import dump, dump_raw

    if raw is not None:
        if str(raw) == "-":
            raise click.UsageError("--raw writes a file, not stdout: give it a name (`./-` is one)")
        if output is not None or redact is not None:
            raise click.UsageError(
                f"--raw and {'-o' if output is not None else '--redact'} exclude each other"
            )
        reading.say(dump_raw(name, raw, force=force))
    else:
        reading.say(dump(name, output, force=force, redact=redact))
    return 0
