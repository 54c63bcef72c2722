"""`linnix-rec completion`: the shell code that completes this program. Knows the shells only by name.

The scripts are click's; they ask `linnix-rec` itself at each <TAB>, so that they never go stale.
"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from linnix_rec.cli import reading

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def command(shell: str) -> None:
    """Print the completion script for SHELL to stdout.

    \b
    bash   linnix-rec completion bash > ~/.local/share/bash-completion/completions/linnix-rec
    zsh    linnix-rec completion zsh > ~/.zfunc/_linnix-rec    (with ~/.zfunc in $fpath)
    fish   linnix-rec completion fish > ~/.config/fish/completions/linnix-rec.fish

    Or for the running shell only: eval "$(linnix-rec completion bash)".
    """
    with reading.writing_stdout():
        click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script for `shell`, with a newline at its end."""
    from linnix_rec.cli import COMPLETE_VARIABLE, PROGRAM, main

    # ShellComplete.source() of bash runs a bash to look at its version; the text needs none.
    writer = SHELLS[shell](main, {}, PROGRAM, COMPLETE_VARIABLE)
    return (writer.source_template % writer.source_vars()).rstrip() + "\n"
