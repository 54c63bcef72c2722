"""The command line's group: finds a subcommand, runs it, ends the process. Knows no subcommand's work.

Each subcommand is a module of this package with a click command named `command`; it is imported only
when it is asked for, so that `linnix-rec --help` needs neither numpy nor pyarrow, and the readers run
where the recorder can't. What a command returns is its exit status (`None` is 0).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import shell_complete

from linnix_rec.cli.ending import conclude, flush_stdout, status_of
from linnix_rec.cli.options import add_common_options, common_options
from linnix_rec.cli.terminal import preferences

PROGRAM = "linnix-rec"
COMPLETE_VARIABLE = "_LINNIX_REC_COMPLETE"

# In the order in which a newcomer meets them, which is also the order of `--help`.
COMMANDS = (
    *("record", "show", "verify", "replay", "reconcile"),
    *("arm", "armed", "dump", "import", "disarm"),
    *("doctor", "bench", "completion"),
)
_MODULES = {"import": "import_image"}  # as Python has another use for the word

HELP = """A flight recorder for Linux processes.

It gives every fork, exec and exit one number from one atomic counter in the kernel, writes them in
that order to a capture (a directory of Parquet files), and can prove later, anywhere, that nothing is
missing and that the order is causal.

\b
Begin with:
  sudo linnix-rec record -o build.lrec -- make   record what a command really ran
  linnix-rec verify build.lrec                   prove that the capture is whole
  linnix-rec replay build.lrec                   see who started whom

Recording needs Linux 5.15 or newer with BTF, and root or CAP_BPF and CAP_PERFMON; 'linnix-rec doctor'
says what this host lacks. Reading a capture needs none of it.
"""


class CommandLine(click.Group):
    """The group `linnix-rec`: lazy subcommands, and one place where every run ends."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"linnix_rec.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        add_common_options(command)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and end the process with its status; never returns when standalone.

        The program is `linnix-rec` however it was started (script, `python -m`), so that completion,
        usage lines and man pages agree.
        """
        if not standalone_mode:
            return super().main(
                args=args, prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, standalone_mode=False, **extra
            )
        instruction = os.environ.get(COMPLETE_VARIABLE)
        if instruction:
            sys.exit(shell_complete(self, {}, PROGRAM, COMPLETE_VARIABLE, instruction))
        status = self._run(list(sys.argv[1:] if args is None else args), extra)
        sys.exit(flush_stdout(status))

    def _run(self, arguments: list[str], extra: dict[str, Any]) -> int:
        context: click.Context | None = None
        try:
            with self.make_context(PROGRAM, arguments, **extra) as context:
                return status_of(self.invoke(context))
        except BaseException as failure:
            command = context.invoked_subcommand if context else None
            return conclude(failure, command=command, chosen=preferences(context))


main = CommandLine(
    PROGRAM,
    help=HELP,
    params=common_options(),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
