"""`linnix-rec arm`: options in, exit status out. Knows no ring; `linnix_rec.session.armed` does."""

from __future__ import annotations

import click

from linnix_rec.cli import reading
from linnix_rec.cli.record import PID_MAX


@click.command(
    short_help="Record into a ring that nobody reads.",
    epilog="""\b
Exit status:
  0  it records    2  wrong usage, or NAME is pinned already    125  recording can't be had on this host

\b
Examples:
  sudo linnix-rec arm host                     from now on the last 1,048,576 slots can be had
  sudo linnix-rec dump host -o now.lrec        what happened up to now? again and again
  sudo linnix-rec disarm host                  enough
""",
)
@click.argument("name", metavar="NAME")
@click.option(
    "-p", "--pid", type=click.IntRange(1, PID_MAX), metavar="PID",
    help="Record the tree of this process only.",
)  # fmt: skip
@click.option(
    "--ring-slots", type=int, default=1 << 20, show_default=True, metavar="N",
    help="Slots of the ring, a power of two from 1024 up; 128 bytes each.",
)  # fmt: skip
@click.option("--no-argv", is_flag=True, help="Record no arguments.")
def command(name: str, pid: int | None, ring_slots: int, no_argv: bool) -> int:
    """Attach the programs, pin them under NAME, and leave.

    The kernel then records into the ring, round and round, with no process that reads it and no CPU time
    but the programs' own. 'linnix-rec dump' takes out what the ring holds, as often as one likes;
    'linnix-rec disarm' ends it, and so does a reboot.
    """
    from linnix_rec.session.armed import arm
    from linnix_rec.session.request import Request

    arm(name, Request(pid=pid, ring_slots=ring_slots, argv=not no_argv))
    reading.say(f"armed: the last {ring_slots:,} slots can be had by `linnix-rec dump {name}`")
    return 0
