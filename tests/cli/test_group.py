"""The group's claims: what a stranger reads, how every run ends, and what `--help` never imports."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from linnix_rec import __version__
from linnix_rec.cli import COMMANDS, main
from linnix_rec.cli.ending import on_one_line
from linnix_rec.cli.terminal import Preferences, preferences, wants_color
from linnix_rec.errors import RecordingError, UnreadableCaptureError, UsageError

Run = Callable[..., Result]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def call_main(*arguments: str) -> str:
    """Code that runs the command line, with `sys` imported and its ending swallowed."""
    return (
        "import sys\nfrom linnix_rec.cli import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
    )


@pytest.fixture
def run_as(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `linnix-rec NAME` with `work` in the place of that subcommand's own."""

    def run(name: str, work: Callable[[], object], *arguments: str, before: tuple[str, ...] = ()) -> Result:
        command = click.Command(name, callback=work)
        monkeypatch.setitem(sys.modules, f"linnix_rec.cli.{name}", SimpleNamespace(command=command))
        return CliRunner().invoke(main, [*before, name, *arguments])

    return run


def failing(failure: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise failure

    return work


def test_help_tells_a_stranger_how_to_begin() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "flight recorder" in result.stdout
    for begin in ("linnix-rec record -o", "linnix-rec verify", "linnix-rec replay"):
        assert begin in result.stdout
    listed = [line.split()[0] for line in result.stdout.partition("Commands:\n")[2].splitlines()]
    assert listed == list(COMMANDS)


def test_every_command_is_summed_up_in_one_line() -> None:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert 10 < len(command.get_short_help_str(limit=200)) < 80, name


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in COMMANDS)])
def test_help_imports_no_heavy_library(arguments: tuple[str, ...]) -> None:
    ended = python(
        call_main(*arguments)
        + "heavy = {'numpy', 'pyarrow', 'rich', 'elftools'} & set(sys.modules)\nprint(heavy, file=sys.stderr)"
    )
    assert "Usage: linnix-rec" in ended.stdout
    assert ended.stderr.strip() == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"]).stdout
    for option in ("--verbose", "--debug", "--color", "--version"):
        assert shown.count(f"{option} ") + shown.count(f"{option}\n") >= 1, option


def test_version_is_the_package_s() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"linnix-rec {__version__}\n"


def test_module_runs_under_the_program_s_own_name() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "linnix_rec", "no-such"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == "linnix-rec: error: no such command 'no-such' (see 'linnix-rec --help')\n"


def test_without_arguments_help_goes_to_stderr_as_wrong_usage() -> None:
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: linnix-rec" in result.stderr


@pytest.mark.parametrize(
    ("failure", "status"),
    [(UsageError("so"), 2), (UnreadableCaptureError("so"), 3), (RecordingError("so"), 125)],
)
def test_foreseen_failure_is_one_line_and_its_own_status(
    run_as: Run, failure: Exception, status: int
) -> None:
    result = run_as("show", failing(failure))
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", "linnix-rec: error: so\n")


@pytest.mark.parametrize(
    "failure",
    [
        UsageError("so"),
        UnreadableCaptureError("so"),
        click.UsageError("so"),
        KeyError("so"),
        PermissionError(errno.EACCES, "no"),
    ],
)
def test_every_failure_of_the_recorder_is_125(run_as: Run, failure: Exception) -> None:
    result = run_as("record", failing(failure))
    assert result.exit_code == 125
    assert len(result.stderr.splitlines()) == 1


def test_wrong_option_is_2_and_125_for_record(run_as: Run) -> None:
    assert run_as("show", lambda: 0, "--no-such").exit_code == 2
    result = run_as("record", lambda: 0, "--no-such")
    assert result.exit_code == 125
    assert result.stderr.startswith("linnix-rec: error: no such option")
    assert "--no-such" in result.stderr
    assert result.stderr.endswith(" (see 'linnix-rec record --help')\n")


def test_bug_is_one_line_that_names_debug(run_as: Run) -> None:
    result = run_as("show", failing(KeyError("so")))
    assert result.exit_code == 70
    assert result.stderr == "linnix-rec: internal error: KeyError: 'so' (--debug shows where)\n"


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(run_as: Run, place: str) -> None:
    options = {"before": ("--debug",)} if place == "before" else {}
    result = run_as("show", failing(KeyError("so")), *(["--debug"] if place == "after" else []), **options)
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("linnix-rec: internal error")


@pytest.mark.parametrize(("options", "said"), [((), 1), (("-v",), 2)])
def test_verbose_tells_what_an_error_came_from(run_as: Run, options: tuple[str, ...], said: int) -> None:
    failure = UnreadableCaptureError("so")
    failure.__cause__ = EOFError("cut\nshort")
    lines = ["linnix-rec: error: so", "linnix-rec: because: EOFError: cut\\nshort"]
    assert run_as("show", failing(failure), *options).stderr.splitlines() == lines[:said]


def test_refusal_by_the_system_names_the_file(run_as: Run) -> None:
    result = run_as("show", failing(PermissionError(errno.EACCES, "Permission denied", "/a\nb")))
    assert result.exit_code == 1
    assert result.stderr == "linnix-rec: error: /a\\nb: Permission denied (--debug shows where)\n"


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (7, 7)])
def test_what_a_command_returns_is_the_status(run_as: Run, returned: object, status: int) -> None:
    assert run_as("show", lambda: returned).exit_code == status


@pytest.mark.parametrize("way_out", [SystemExit(7), click.exceptions.Exit(7)])
def test_a_command_may_leave_with_a_status(run_as: Run, way_out: BaseException) -> None:
    assert run_as("record", failing(way_out)).exit_code == 7


def test_common_options_stand_before_or_after_the_command(run_as: Run) -> None:
    seen: list[Preferences] = []
    before = ("-v", "--color=always")
    run_as("show", lambda: seen.append(preferences()), "-v", "--color", "never", before=before)
    assert seen == [Preferences(verbosity=2, debug=False, color="never")]


@pytest.mark.parametrize(
    ("color", "no_color", "expected"),
    [("always", "1", True), ("never", "", False), ("auto", "", False), ("auto", "1", False)],
)
def test_color_of_a_pipe_is_only_what_was_asked_for(
    run_as: Run, monkeypatch: pytest.MonkeyPatch, color: str, no_color: str, expected: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    seen: list[bool] = []
    result = run_as(
        "show", lambda: (seen.append(wants_color(sys.stdout)), click.secho("red", fg="red")), "--color", color
    )
    assert seen == [expected]
    assert ("\x1b[31m" in result.stdout) is expected


def test_error_line_can_t_be_forged() -> None:
    assert on_one_line("a\nb\x1b[2J\udcff\u202e\\") == "a\\nb\\x1b[2J\\udcff\\u202e\\"


def test_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "linnix_rec", "completion", "bash"],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_full_disk_behind_stdout_is_said() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "linnix_rec", "completion", "bash"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == b"linnix-rec: error: can't write to stdout: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_interrupt_is_death_by_sigint_without_a_word() -> None:
    ended = python(
        "import sys, types, click\n"
        "def work(): raise KeyboardInterrupt\n"
        "command = click.Command('show', callback=work)\n"
        "sys.modules['linnix_rec.cli.show'] = types.SimpleNamespace(command=command)\n" + call_main("show")
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_completion_completes_commands_in_bash() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "linnix_rec"],
        env={
            **os.environ,
            "_LINNIX_REC_COMPLETE": "bash_complete",
            "COMP_WORDS": "linnix-rec re",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == ["plain,record", "plain,replay", "plain,reconcile"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_this_program(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_LINNIX_REC_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_shipped_completion_completes_at_the_first_tab(tmp_path: Path) -> None:
    program = tmp_path / "linnix-rec"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m linnix_rec "$@"\n')
    program.chmod(0o755)
    shipped = Path(__file__).parents[2] / "completions" / "linnix-rec.bash"
    press_tab = (
        f"source {shipped}; COMP_WORDS=(linnix-rec completion z); COMP_CWORD=2\n"
        '_linnix_rec_completion linnix-rec z completion; echo "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(
        ["bash", "-c", press_tab],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "zsh\n", ended.stderr
