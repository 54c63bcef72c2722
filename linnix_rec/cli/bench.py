"""`linnix-rec bench`: the measurements by name; options in, tables out. Knows no measurement's work.

Each is a module of `linnix_rec.bench`, imported only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from linnix_rec.cli import reading
from linnix_rec.cli.options import add_common_options
from linnix_rec.errors import UsageError

if TYPE_CHECKING:
    from linnix_rec.bench.tables import Table

_Function = TypeVar("_Function", bound=Callable[..., Any])

RUNS_MAX = 1000
WORKERS_MAX = 4096
FORKS_MAX = 100_000_000


class Measurements(click.Group):
    """The group `linnix-rec bench`: its commands in the order of an event's way, with the common options."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            add_common_options(found)
        return found


@click.group(
    cls=Measurements,
    short_help="Measure speed, loss and cost on this host.",
    epilog="""\b
Exit status:
  0  measured, whatever came out    1  it could not be    2  wrong usage    125  this host can't record

\b
Examples:
  sudo linnix-rec bench capture --workers 2,8,32      what does each channel lose, and misorder?
  sudo linnix-rec bench overhead                      what does recording cost, beside its peers?
  sudo linnix-rec bench publish --format json         ns an event and CPU, for a plot
""",
)
def command() -> None:
    """Measure speed, loss and cost of recording on this host, as tables.

    Each figure is the median of several runs, with the least and the greatest. What is compared is measured
    in turn within one run. It takes minutes, and is only as quiet as the host: let nothing else run.
    """


def _common(function: _Function) -> _Function:
    """Add the options that each measurement takes."""
    for option in (
        click.option(
            "-o", "--output", type=reading.NamedPath(path_type=Path, dir_okay=False), metavar="FILE",
            help="Write there instead of to stdout.",
        ),
        click.option(
            "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
            help="Tables for people, or one JSON document.",
        ),
        click.option(
            "--runs", type=click.IntRange(1, RUNS_MAX), metavar="N",
            help="How often to measure each figure; told is the median.  [default: 3 to 7]",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def _numbers(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    """`2,8,32` -> (2, 8, 32)."""
    if given is None:
        return None
    try:
        numbers = tuple(int(part) for part in given.split(","))
    except ValueError:
        raise click.BadParameter(f"{given!r} is no list of numbers: try 2,8,32") from None
    if not all(1 <= number <= WORKERS_MAX for number in numbers):
        raise click.BadParameter(f"each must be from 1 to {WORKERS_MAX}")
    return numbers


@command.command(short_help="What an event costs where it happens.")
@_common
def publish(**options: Any) -> None:
    """Measure ns an event and CPU, driven in the kernel, on one CPU and on all at once.

    The sequencer, the ring buffer, the perf buffer, and the bare limit of any such channel.
    """
    _measure("publish", **options)


@command.command(short_help="What each channel captures, loses and misorders.")
@click.option(
    "--workers", callback=_numbers, default="2,8,32", show_default=True, metavar="N,...",
    help="How many processes fork at once; a row each.",
)  # fmt: skip
@click.option(
    "--forks", type=click.IntRange(1, FORKS_MAX), default=20_000, show_default=True, metavar="N",
    help="How many forks all workers make together; the paper has 50000.",
)  # fmt: skip
@click.option(
    "--sizes", type=click.Choice(["paper", "equal", "sweep", "all"]), default="all", show_default=True,
    help="Memory of each channel: the paper's, the same for all, or a row each for loss against size.",
)  # fmt: skip
@click.option(
    "--keep", type=reading.NamedPath(path_type=Path, file_okay=False), metavar="DIR",
    help="Keep the captures there, to count again with verify or DuckDB.",
)  # fmt: skip
@_common
def capture(**options: Any) -> None:
    """Repeat the paper's experiment: a fixed number of forks, recorded through each channel in turn.

    Told are the events that happened by an independent count of the kernel, the share that the capture
    holds, the ordering violations in it, and the channel's memory.
    """
    _measure("capture", **options)


@command.command(short_help="How fast channels are read.")
@_common
def drain(**options: Any) -> None:
    """Measure draining and decoding of full channels, on one core: the sequencer's and the ring buffer's.

    Beside ours stands a reader of the ring buffer in C on libbpf, if gcc and libbpf-dev are installed.
    """
    _measure("drain", **options)


@command.command(short_help="How fast Parquet is written.")
@click.argument("source", required=False, metavar="[CAPTURE]", type=reading.CAPTURE_PATH)
@_common
def write(source: Path | None, **options: Any) -> None:
    """Measure writing CAPTURE, repeated to a million events; without it, a fork storm recorded now."""
    _measure("write", records=source is None, capture=source, **options)


@command.command(short_help="How fast a capture is proven.")
@click.argument("source", required=False, metavar="[CAPTURE]", type=reading.CAPTURE_PATH)
@_common
def verify(source: Path | None, **options: Any) -> None:
    """Measure verifying CAPTURE, repeated to 1 and 5 million events; without it, a storm recorded now."""
    _measure("verify", records=source is None, capture=source, **options)


@command.command(short_help="How long an event takes to its reader.")
@_common
def latency(**options: Any) -> None:
    """Measure the time from event to consumer, by channel and by how the consumer waits."""
    _measure("latency", **options)


@command.command(short_help="What recording costs, beside its peers.")
@click.option(
    "--seconds", type=click.IntRange(2, 3600), default=10, show_default=True, metavar="N",
    help="How long to watch each tracer under the typical load, and half as long idle.",
)  # fmt: skip
@click.option(
    "--peers/--no-peers", default=True, show_default=True,
    help="Also measure the other tracers that are installed.",
)  # fmt: skip
@_common
def overhead(**options: Any) -> None:
    """Measure the recorder's CPU and memory, and what it slows: idle, typical load, fork storm.

    And the same of perf record, bpftrace, forkstat, trace-cmd and strace as far as they are installed, and of
    a loop of ps.
    """
    _measure("overhead", **options)


@command.command(short_help="What huge pages and prefaulting do to the ring.")
@_common
def hugepages(**options: Any) -> None:
    """Look at the ring's mapping with MADV_HUGEPAGE and with prefaulting: page sizes, page faults, speed.

    And count the system calls of draining it.
    """
    _measure("hugepages", **options)


@command.command(short_help="Whether a ring buffer's record can have any size.")
@_common
def dynamic(**options: Any) -> None:
    """Ask this kernel's verifier whether a record's size may be known only at run time."""
    _measure("dynamic", **options)


def _measure(
    what: str, *, runs: int | None, form: str, output: Path | None, records: bool = True, **options: Any
) -> None:
    """Run a measurement and tell its tables, each as soon as it is there."""
    import json

    from linnix_rec.bench import machine, measurements

    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"can't write {output}: its directory is not there")
    if records:
        machine.require_recording()
    tables: list[Table] = []
    told: list[str] = []
    with _tidy_death():
        for table in measurements.measure(what, runs, _progress(), **options):
            if form == "text":
                lines = _lines(table, first=not tables, terminal=output is None)
                told.extend(lines)
                if output is None:
                    reading.write_lines(lines, live=True)
            tables.append(table)
    if form == "json":
        reading.write_lines([json.dumps(measurements.document(what, tables), indent=2)], output)
    elif output is not None:
        reading.write_lines(told, output)


@contextmanager
def _tidy_death() -> Iterator[None]:
    """Die of SIGTERM as of Ctrl-C meanwhile: what was started is ended on the way out."""
    import signal

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _lines(table: Table, *, first: bool, terminal: bool) -> list[str]:
    from linnix_rec.bench.tables import lines
    from linnix_rec.cli.terminal import wants_color

    stream = reading.stdout() if terminal else None
    width = reading.width_for(stream) if stream else None
    drawn = lines(table, width=width, colored=stream is not None and wants_color(stream))
    return [*([] if first else [""]), *drawn]


def _progress() -> Callable[[str], None]:
    """What is being measured, on a terminal that waits for it; a log does not want to know."""
    import sys

    from linnix_rec.cli.terminal import is_terminal

    return reading.say if is_terminal(sys.stderr) else lambda _line: None
