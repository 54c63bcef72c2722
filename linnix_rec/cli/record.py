"""`linnix-rec record`: options in, exit status out. Knows no recording; `linnix_rec.session` does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_DURATION_UNITS_S = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)([KMG])?(?:i?B)?", re.IGNORECASE)
_SIZE_SHIFTS = {None: 0, "K": 10, "M": 20, "G": 30}


_ALSO_WITH_RESUME = frozenset(
    {
        "resume",
        "duration_s",
        "wait",
        "strict",
        "buffer_bytes",
        "segment_seconds",
        "keep_bytes",
        "keep_seconds",
        "quiet",
    }
)

SOURCES = ("sequencer", "ringbuf", "perf", "connector")

PID_MAX = 1 << 22  # PID_MAX_LIMIT of the kernel


def wakeup(text: str) -> str:
    """`adaptive`, `none`, `force`, `every:100`."""
    if text not in ("adaptive", "none", "force") and not re.fullmatch(r"every:[1-9]\d{0,8}", text):
        raise click.BadParameter(f"{text!r} is no way to wake: take adaptive, none, force or every:N")
    return text


def poll(text: str) -> str:
    """`epoll`, `busy`, `10`."""
    if text not in ("epoll", "busy") and not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise click.BadParameter(f"{text!r} is no way to wait: take epoll, busy, or milliseconds such as 10")
    return text


class RecordCommand(click.Command):
    """Refuses a `--` with nothing behind it: the whole host was not asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ends_options = args[-1:] == ["--"]
        rest = super().parse_args(ctx, args)
        if ends_options and not ctx.params.get("argv") and not ctx.resilient_parsing:
            raise click.UsageError("no COMMAND after --", ctx)
        return rest


def duration_s(text: str) -> float:
    """`10`, `10s`, `1.5m`, `2h`, `500ms` -> seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no duration: try 10s, 1.5m, 2h or 500ms")
    return float(match[1]) * _DURATION_UNITS_S[match[2]]


def size_bytes(text: str) -> int:
    """`65536`, `64K`, `64MiB`, `1G` -> bytes; units are powers of 1,024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no size: try 64M or 1G")
    return int(match[1]) << _SIZE_SHIFTS[match[2] and match[2].upper()]


@click.command(
    cls=RecordCommand,
    short_help="Record every fork, exec and exit.",
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Exit status:
  COMMAND's own, and if COMMAND died of a signal, so does the recorder.
  0    without COMMAND: ended by -d, Ctrl-C, SIGTERM, or the end of --pid
  125  the recorder itself failed, or its options are wrong; with --strict also loss
  126  COMMAND can't be executed        127  COMMAND is not there

\b
Examples:
  sudo linnix-rec record -- make -j4           what did the build really run?
  sudo linnix-rec record -a -d 60s             the whole host, for a minute
  sudo linnix-rec record -u alice -- ./job.sh  COMMAND runs as alice, the recorder as root
  sudo linnix-rec record -p 1234 -o web.lrec   a service that runs already, and all it starts
  sudo linnix-rec record -a --pin host -o host.lrec       survives its own death: after a crash,
  sudo linnix-rec record --resume host.lrec               this goes on where the first one was
  sudo linnix-rec record -a --pin host --take-up          begins, or goes on: one line for a service
  sudo linnix-rec record --prove --witness perf -- make   with independent counts to check against
  sudo linnix-rec record --events process,syscall:openat,failed-exec -- make    and these, in the same order
  sudo linnix-rec record --source perf -- make -j8        through perf buffers: see what they lose
  sudo linnix-rec record --shadow ringbuf -a -d 60s       two channels over the same events, to compare
""",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the capture goes.  [default: ./COMMAND-<UTC time>.lrec]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace DIR if it is a capture; nothing else is ever replaced.")
@click.option(
    "-d", "--duration", "duration_s", type=duration_s, metavar="TIME",
    help="Stop recording after this long, such as 10s or 1.5m; COMMAND goes on.",
)  # fmt: skip
@click.option(
    "-a", "--all", "whole_host", is_flag=True,
    help="Record the whole host, not only COMMAND's or PID's tree.",
)  # fmt: skip
@click.option(
    "-p", "--pid", type=click.IntRange(1, PID_MAX), metavar="PID",
    help="Record the tree of this process, until it ends.",
)  # fmt: skip
@click.option("-u", "--user", metavar="USER", help="Run COMMAND as this user, with their groups and HOME.")
@click.option(
    "--wait", is_flag=True,
    help="Record until the last descendant has ended, not only COMMAND or PID.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="If tickets were lost, end with 125 where it would be 0.")
@click.option(
    "--ring-slots", type=int, default=1 << 20, show_default=True, metavar="N",
    help="Slots of the ring, a power of two from 1024 up; 128 bytes each.",
)  # fmt: skip
@click.option(
    "--buffer", "buffer_bytes", type=size_bytes, default="64M", show_default=True, metavar="SIZE",
    help="Events that may wait for the disk, in memory beside the ring.",
)  # fmt: skip
@click.option(
    "--pin", metavar="NAME",
    help="Keep programs and ring under NAME in bpffs: the kernel goes on recording if the recorder dies.",
)  # fmt: skip
@click.option(
    "--take-up", is_flag=True,
    help="If NAME is pinned already, by a recorder that died, go on with its capture: for services.",
)  # fmt: skip
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="CAPTURE",
    help="Go on with CAPTURE, recorded with --pin by a recorder that has died.",
)  # fmt: skip
@click.option(
    "--prove", is_flag=True,
    help="Have the kernel count the programs' runs, for verify to compare; needs CAP_SYS_ADMIN.",
)  # fmt: skip
@click.option(
    "--witness", "witnesses", type=click.Choice(["perf", "connector"]), multiple=True,
    help="Also count by perf counters, or by the process connector, for verify to compare.",
)  # fmt: skip
@click.option("--no-argv", "no_argv", is_flag=True, help="Record no arguments.")
@click.option(
    "--redact", metavar="REGEX",
    help="Replace what matches in arguments (joined by blanks), filenames and names by [redacted].",
)  # fmt: skip
@click.option(
    "--segment", "segment_seconds", type=duration_s, default="10s", show_default=True, metavar="TIME",
    help="Close a segment, and so make it durable, after this long; SIGUSR1 does it at once.",
)  # fmt: skip
@click.option(
    "--max-bytes", "keep_bytes", type=size_bytes, metavar="SIZE",
    help="Remove the oldest segments beyond this size, such as 10G.",
)  # fmt: skip
@click.option(
    "--keep", "keep_seconds", type=duration_s, metavar="TIME",
    help="Remove segments closed longer ago than this, such as 24h.",
)  # fmt: skip
@click.option(
    "--events", default="process", show_default=True, metavar="KIND,...",
    help="Also syscall, syscall:NAME,... and failed-exec, in the same order; syscalls give way under load.",
)  # fmt: skip
@click.option(
    "--source", type=click.Choice(SOURCES), default="sequencer", show_default=True,
    help="Where events come from; all but the sequencer can neither number nor prove what they lose.",
)  # fmt: skip
@click.option(
    "--size", "size_bytes", type=size_bytes, metavar="SIZE",
    help="ringbuf: of its buffer [16M]; perf: of each CPU's [1M]; connector: of its socket's [64M].",
)  # fmt: skip
@click.option(
    "--wakeup", type=wakeup, metavar="WHEN",
    help="ringbuf, perf: wake the reader adaptive, none (it looks by itself), force (each event) or every:N.",
)  # fmt: skip
@click.option(
    "--poll", type=poll, metavar="HOW",
    help="How the reader waits: epoll, busy, or for so many ms. The sequencer wakes nobody: by itself.",
)  # fmt: skip
@click.option(
    "--merge", type=click.Choice(["time", "none"]),
    help="perf: put its buffers together by timestamp, or as they are read.  [default: time]",
)  # fmt: skip
@click.option(
    "--shadow", metavar="SOURCE[,OPTION=VALUE...]",
    help="Record a second capture beside, by another source, to compare by 'reconcile': ringbuf,size=1M.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors and losses.")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[[--] COMMAND [ARG...]]")
def command(argv: tuple[str, ...], **options: Any) -> int:
    """Record every fork, exec and exit into a capture.

    With COMMAND, run it and record its process tree until it ends. Its terminal, stdin, environment and
    signals are its own. Without, record the whole host until Ctrl-C or -d. The capture is a directory of
    Parquet files, and proves itself: see 'linnix-rec verify'.
    """
    from linnix_rec.session.record import record
    from linnix_rec.session.request import ChannelOptions, Request
    from linnix_rec.sources.syscalls import parse_events

    if argv and options["pid"] is not None:
        raise click.UsageError("--pid and COMMAND exclude each other")
    if options["user"] and not argv:
        raise click.UsageError("--user needs a COMMAND to run")
    if options["take_up"] and (argv or options["pin"] is None):
        raise click.UsageError("--take-up goes with --pin NAME, and with no COMMAND")
    if options["wait"] and not argv and options["pid"] is None and options["resume"] is None:
        raise click.UsageError("--wait needs a COMMAND or --pid: it waits for the last of their tree")
    _check_evidence(options)
    if options["resume"] is not None:
        _check_resume(argv)
    _check_source(options)
    options["events"] = parse_events(options["events"])
    channel = ChannelOptions(**{name: options.pop(name) for name in _CHANNEL_OPTIONS})
    options["shadow"], shadow_channel = _shadow(options["shadow"])
    return record(
        Request(
            command=argv,
            argv=not options.pop("no_argv"),
            channel=channel,
            shadow_channel=shadow_channel,
            **options,
        )
    )


def _check_source(options: dict[str, Any]) -> None:
    """What only the sequencer can do is refused to the others, and what it does not need is its own fault."""
    from linnix_rec.session.opening import check_options
    from linnix_rec.session.request import ChannelOptions

    source = options["source"]
    check_options(source, ChannelOptions(**{name: options[name] for name in _CHANNEL_OPTIONS}))
    if source == "sequencer":
        return
    ring = click.get_current_context().get_parameter_source("ring_slots") == ParameterSource.COMMANDLINE
    for option, given in (
        ("--pin", options["pin"]),
        ("--ring-slots", ring),
        ("--events", options["events"] != "process"),
    ):
        if given:
            raise click.UsageError(f"{option} is the sequencer's: --source {source} can't do it")
    if source == "connector" and (options["prove"] or options["witnesses"]):
        raise click.UsageError(
            "--prove and --witness count what BPF programs see: --source connector has none"
        )


def _shadow(text: str | None) -> tuple[str | None, Any]:
    """`ringbuf,size=1M,poll=busy` -> the source and its options."""
    from linnix_rec.session.opening import check_options
    from linnix_rec.session.request import ChannelOptions

    if text is None:
        return None, ChannelOptions()
    source, *words = text.split(",")
    if source not in SOURCES:
        raise click.BadParameter(f"--shadow {source!r} is no source: take one of {', '.join(SOURCES)}")
    given: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _SHADOW_OPTIONS:
            raise click.BadParameter(
                f"--shadow {word!r}: take {', '.join(_SHADOW_OPTIONS)}, each with =VALUE"
            )
        given["size_bytes" if name == "size" else name] = _SHADOW_OPTIONS[name](value)
    options = ChannelOptions(**given)
    check_options(source, options)
    return source, options


def _merge(text: str) -> str:
    if text not in ("time", "none"):
        raise click.BadParameter(f"{text!r} is no way to merge: take time or none")
    return text


_CHANNEL_OPTIONS = ("size_bytes", "wakeup", "poll", "merge")
_SHADOW_OPTIONS = {"size": size_bytes, "wakeup": wakeup, "poll": poll, "merge": _merge}


def _check_evidence(options: dict[str, Any]) -> None:
    counted = ["--prove"] * options["prove"] + [f"--witness {name}" for name in options["witnesses"]]
    if counted and options["pin"] is not None:
        raise click.UsageError(
            f"{counted[0]} and --pin exclude each other: what it counts ends with the recorder"
        )


def _check_resume(argv: tuple[str, ...]) -> None:
    """What was asked of the first recorder stands; only how to go on may be said anew."""
    context = click.get_current_context()
    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name not in _ALSO_WITH_RESUME
        and context.get_parameter_source(parameter.name or "") == ParameterSource.COMMANDLINE
    ]
    if argv or given:
        what = "COMMAND" if argv else given[0]
        raise click.UsageError(f"--resume goes on as CAPTURE was begun: {what} can't be given with it")
