"""`linnix-rec disarm`: options in, exit status out. Knows no ring; `linnix_rec.session.armed` does."""

from __future__ import annotations

import click

from linnix_rec.cli import reading


@click.command(
    short_help="End what is pinned.",
    epilog="""\b
Exit status:
  0    ended
  2    nothing is pinned under NAME, or it is being recorded, or its capture lacks events
  125  it can't be opened
""",
)
@click.argument("name", metavar="NAME")
@click.option(
    "--force", is_flag=True, help="Also if the capture of a recorder that died lacks what the ring holds."
)
def command(name: str, force: bool) -> int:
    """End what is pinned under NAME, be it armed, or left by a recorder that died.

    The programs are detached, and the ring is gone.
    """
    from linnix_rec.session.armed import disarm

    ended = disarm(name, force=force)
    if ended.problem:
        reading.say(f"removed {name}: {ended.problem}")
    else:
        reading.say(f"disarmed {name}: it had given {ended.issued:,} tickets since {ended.since[:19]}Z")
    return 0
