"""How a run of the command line ends: one line on stderr and an exit status. Knows no command's work.

    0        done                       2    wrong usage
    1        refused, or proven wrong   3    not a readable capture
    70       a bug of ours (EX_SOFTWARE of sysexits.h)
    125      this host fails whoever records, arms or dumps (no BTF, no capability, a full disk)
    141      stdout was closed by its reader, as by a death of SIGPIPE

In `record` the statuses belong to the recorded command, so that all of the recorder's own are 125, or 126
and 127 if the command can't be started, as in env(1), nohup(1) and timeout(1).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator

import click
from click.exceptions import NoArgsIsHelpError

from linnix_rec.cli.terminal import Preferences
from linnix_rec.errors import LinnixRecError, RecordingError

STATUS_FAILED = 1
STATUS_USAGE = 2
STATUS_BUG = 70
STATUS_RECORDER_FAILED = 125
STATUS_CLOSED_STDOUT = 128 + 13  # SIGPIPE is 13 on every Linux; Windows has no name for it
STATUS_INTERRUPTED = 128 + int(signal.SIGINT)


def status_of(result: object) -> int:
    """The exit status that a command's return value stands for: an int is one, all else is success."""
    return result if isinstance(result, int) else 0


def conclude(failure: BaseException, *, command: str | None, chosen: Preferences) -> int:
    """Say on stderr what ended `command`, as fully as `chosen`, and return the process's exit status."""
    if isinstance(failure, click.exceptions.Exit):
        return failure.exit_code
    if isinstance(failure, SystemExit):
        return _exit_code(failure)
    if isinstance(failure, KeyboardInterrupt):
        return _die_of_interrupt()
    if chosen.debug:
        traceback.print_exception(failure)
    status = _explain(failure)
    if chosen.verbosity:
        for cause in _causes(failure):
            complain(f"because: {type(cause).__name__}: {cause}")
    if command == "record" and not isinstance(failure, RecordingError):
        return STATUS_RECORDER_FAILED
    return status


def flush_stdout(status: int) -> int:
    """Write out what stdout still buffers; `status`, unless its reader is gone or its disk is full."""
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return status or STATUS_CLOSED_STDOUT
    except OSError as failure:
        _discard_stdout()
        if not status:  # else it was said why
            complain(f"error: can't write to stdout: {failure.strerror or failure}")
        return status or STATUS_FAILED
    return status


def complain(message: str) -> None:
    """Print one `linnix-rec: ...` line on stderr; a closed stderr is no error."""
    with contextlib.suppress(OSError):
        click.echo(f"linnix-rec: {on_one_line(message)}", err=True)


def on_one_line(message: str) -> str:
    """`message` with control characters, newlines and undecodable bytes escaped.

    Paths and command names come from outside: none of them may move the cursor or forge a line.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in message
    )


def _explain(failure: BaseException) -> int:
    """One line about `failure`; its exit status outside of `record`."""
    if isinstance(failure, LinnixRecError):
        complain(f"error: {failure}")
        return failure.exit_status
    if isinstance(failure, NoArgsIsHelpError):
        failure.show()
        return STATUS_USAGE
    if isinstance(failure, click.UsageError):
        complain(f"error: {_sentence(failure.format_message())}{_where_to_read(failure.ctx)}")
        return STATUS_USAGE
    if isinstance(failure, click.ClickException):
        complain(f"error: {_sentence(failure.format_message())}")
        return failure.exit_code
    if isinstance(failure, OSError):
        return _explain_refusal(failure)
    complain(f"internal error: {type(failure).__name__}: {failure} (--debug shows where)")
    return STATUS_BUG


def _explain_refusal(refusal: OSError) -> int:
    """A refusal by the operating system that no room foresaw; of a closed pipe only the status tells."""
    if refusal.errno == errno.EPIPE:
        _discard_stdout()
        return STATUS_CLOSED_STDOUT
    reason = refusal.strerror or str(refusal)
    subject = f"{os.fsdecode(refusal.filename)}: " if isinstance(refusal.filename, (str, bytes)) else ""
    complain(f"error: {subject}{reason} (--debug shows where)")
    return STATUS_FAILED


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """What `failure` was raised for, nearest first."""
    cause = failure.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _sentence(message: str) -> str:
    """click's capitalised sentence as the second half of ours: `No such option.` → `no such option`."""
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _where_to_read(context: click.Context | None) -> str:
    return f" (see '{context.command_path} --help')" if context else ""


def _exit_code(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    complain(str(ending.code))
    return STATUS_FAILED


def _die_of_interrupt() -> int:
    """Die of SIGINT, so that a shell's loop around us stops too; where signals don't kill, its status."""
    flush_stdout(0)
    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return STATUS_INTERRUPTED


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain in our name."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
