"""`linnix-rec doctor`: prints what this host has and lacks for recording. Decides nothing by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from linnix_rec.bpf.host import Requirement

_NAME_COLUMNS = 20
_MARKS = {  # by (required, met)
    (True, True): ("ok", "green"),
    (False, True): ("ok", "green"),
    (True, False): ("FAIL", "red"),
    (False, False): ("note", "yellow"),
}
_MARK_COLUMNS = 6


@click.command("doctor", short_help="Say what this host has and lacks for recording.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines to read, or one JSON document.",
)
def command(output_format: str) -> int:
    """Say what this host has and lacks for recording, one line a requirement.

    `FAIL` is something without which recording can't work; `note` something that it can do without. What
    to do stands below. As root, the BPF programs are also put before the kernel's verifier, and let go.

    Where BPF can't work, the process connector may: `record --source connector` records without BPF, if it
    is asked to. The line of that name says whether it can.

    Reading captures (show, verify, replay) needs none of this.

    Exit status: 0 if recording with BPF can work here, 1 if not.
    """
    found = examine()
    can_record = all(line.met for line in found if line.required)
    if output_format == "json":
        document = {"can_record": can_record, "requirements": [asdict(line) for line in found]}
        click.echo(json.dumps(document, indent=2))
    else:
        _print(found, can_record)
    return 0 if can_record else 1


def examine() -> tuple[Requirement, ...]:
    """All requirements, judged for this host; real ones are tried only if the rest would let them work."""
    if sys.platform != "linux":
        from linnix_rec.bpf.host import Requirement

        advice = "record on Linux; captures can be read here"
        return (Requirement("kernel", required=True, met=False, found=sys.platform, advice=advice),)
    from linnix_rec.bpf.btf import read_vmlinux
    from linnix_rec.bpf.host import read_host, requirements
    from linnix_rec.errors import RecordingError
    from linnix_rec.sources.connector_offer import connector_line

    try:
        kernel_btf, problem = read_vmlinux(), ""
    except RecordingError as error:
        kernel_btf, problem = None, str(error)
    lines = requirements(read_host(kernel_btf, problem))
    lines = (*lines, connector_line(lines))
    if kernel_btf is None or not all(line.met for line in lines if line.required):
        return lines
    from linnix_rec.bpf.definitions import read_object_spec
    from linnix_rec.bpf.object import read_object
    from linnix_rec.bpf.probe import probe
    from linnix_rec.sources.bpf_source import exit_program
    from linnix_rec.sources.sequencer import OBJECT_NAME

    spec = read_object_spec(read_object(OBJECT_NAME), OBJECT_NAME)
    exits = {name for name, program in spec.programs.items() if program.target == "sched_process_exit"}
    programs = (spec.programs.keys() - exits) | {exit_program(kernel_btf)}
    return (*lines, probe(spec, sorted(programs), kernel_btf))


def _print(found: Sequence[Requirement], can_record: bool) -> None:
    for line in found:
        mark, color = _MARKS[line.required, line.met]
        click.echo(
            f"{click.style(mark.ljust(_MARK_COLUMNS), fg=color)}{line.name:<{_NAME_COLUMNS}}{line.found}"
        )
        if not line.met and line.advice:
            click.echo(f"{'':<{_MARK_COLUMNS + _NAME_COLUMNS}}to do: {line.advice}")
    verdict = "recording can work here" if can_record else "recording with BPF can't work here"
    click.echo(f"\n{verdict}; captures can be read on any system")
    if not can_record:
        from linnix_rec.sources.connector_offer import offer

        offered = offer(found)
        if offered:
            click.echo(offered)
