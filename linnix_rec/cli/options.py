"""The options that every command takes: -v, --debug, --color, --version. Knows no command.

They may stand before or after the subcommand's name; the later one counts, and `-v`s add up.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import click

from linnix_rec import __version__
from linnix_rec.cli.terminal import COLORS, Preferences, click_color, prefer, preferences


def common_options() -> list[click.Parameter]:
    """Fresh copies of the common options, in the order of `--help`; they pass nothing to the command."""
    return [
        click.Option(
            ["-v", "--verbose"],
            count=True,
            is_eager=True,
            expose_value=False,
            callback=_set_verbose,
            help="Say more on stderr: what each error came from.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set_debug,
            help="Show a traceback with every error.",
        ),
        click.Option(
            ["--color"],
            type=click.Choice(COLORS),
            is_eager=True,
            expose_value=False,
            callback=_set_color,
            help="Colour the output; auto (the default) means on a terminal without NO_COLOR.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ]


def add_common_options(command: click.Command) -> None:
    """Give `command` the common options; once, however often it is asked for."""
    present = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(option for option in common_options() if not present & set(option.opts))


def _set_verbose(context: click.Context, parameter: click.Parameter, count: int) -> None:
    if count:
        chosen = preferences(context)
        _choose(context, replace(chosen, verbosity=chosen.verbosity + count))


def _set_debug(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        _choose(context, replace(preferences(context), debug=True))


def _set_color(context: click.Context, parameter: click.Parameter, color: str | None) -> None:
    if color is not None:
        _choose(context, replace(preferences(context), color=color))
    context.color = context.find_root().color = click_color(preferences(context))


def _choose(context: click.Context, chosen: Preferences) -> None:
    prefer(context, chosen)
    if chosen.verbosity:
        log = logging.getLogger("linnix_rec")
        log.setLevel(logging.DEBUG if chosen.verbosity > 1 else logging.INFO)
        if not log.handlers:
            log.addHandler(_stderr_log())


def _stderr_log() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("linnix-rec: %(message)s"))
    return handler


def _print_version(context: click.Context, parameter: click.Parameter, wanted: Any) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"linnix-rec {__version__}")
        context.exit()
