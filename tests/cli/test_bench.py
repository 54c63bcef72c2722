"""`linnix-rec bench` passes options on, tells tables as text or JSON, and refuses in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from linnix_rec.bench import machine
from linnix_rec.bench.measurements import DEFAULT_RUNS
from linnix_rec.bench.tables import Figure, Table
from linnix_rec.cli import main
from linnix_rec.errors import RecordingError

Run = Callable[..., Result]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a measurement of one table in the place of every one; gives what it was called with."""
    called: dict[str, Any] = {}

    def measure(runs: int, _tell: Callable[[str], None], **options: Any) -> Iterator[Table]:
        called.update(options, runs=runs)
        values = tuple(float(run) for run in range(1, runs + 1))
        yield Table("one", "One thing", ("what", "how much"), (("it", Figure(values, "ns")),))

    monkeypatch.setattr(machine, "require_recording", lambda: None)
    for what in DEFAULT_RUNS:
        monkeypatch.setitem(sys.modules, f"linnix_rec.bench.{what}", SimpleNamespace(measure=measure))
    return called


@pytest.mark.parametrize("what", DEFAULT_RUNS)
def test_every_measurement_is_a_command_and_takes_the_common_options(run: Run, what: str) -> None:
    shown = run("bench", what, "--help").stdout
    for option in ("--runs", "--format", "--output", "--verbose", "--debug", "--color"):
        assert option in shown


def test_the_group_lists_the_measurements_in_the_order_of_an_event_s_way(run: Run) -> None:
    listed = run("bench", "--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == list(DEFAULT_RUNS)


def test_text_is_the_table_s_lines(run: Run, measured: dict[str, Any]) -> None:
    result = run("bench", "publish", "--runs", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == "One thing"
    assert "it     2 ns (1 to 3)" in result.stdout


def test_json_names_the_measurement_and_the_machine(run: Run, measured: dict[str, Any]) -> None:
    told = json.loads(run("bench", "drain", "--format", "json").stdout)
    assert told["bench"] == "drain"
    assert told["machine"]["cpus"] == os.cpu_count()
    (table,) = told["tables"]
    assert table["rows"][0]["how much"]["runs"] == DEFAULT_RUNS["drain"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_holds_what_stdout_would(
    run: Run, measured: dict[str, Any], tmp_path: Path, form: str
) -> None:
    result = run("bench", "publish", "--format", form, "-o", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "One thing" in (tmp_path / "out").read_text()


def test_capture_s_options_arrive(run: Run, measured: dict[str, Any], tmp_path: Path) -> None:
    result = run("bench", "capture", "--workers", "1,64", "--forks", "7", "--keep", str(tmp_path))
    assert result.exit_code == 0
    assert measured == {"workers": (1, 64), "forks": 7, "sizes": "all", "keep": tmp_path, "runs": 3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("capture", "--workers", "2,many"), "'2,many' is no list of numbers: try 2,8,32"),
        (("capture", "--workers", "0"), "each must be from 1 to 4096"),
        (("capture", "--forks", "0"), "0 is not in the range"),
        (("publish", "--runs", "0"), "0 is not in the range"),
        (("publish", "-o", "no/such/file"), "its directory is not there"),
        (("sing",), "no such command 'sing'"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run("bench", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


def test_a_host_that_can_t_record_is_said_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RecordingError("no CAP_BPF; run it as root")

    monkeypatch.setattr(machine, "require_recording", refuse)
    result = run("bench", "capture")
    assert (result.exit_code, result.stdout) == (125, "")
    assert result.stderr == "linnix-rec: error: no CAP_BPF; run it as root\n"


def test_writing_of_a_given_capture_needs_no_right_to_record(
    run: Run, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RecordingError("so")

    monkeypatch.setattr(machine, "require_recording", refuse)
    assert run("bench", "write", "some.lrec").exit_code == 0
    assert measured["capture"] == Path("some.lrec")


def test_help_of_a_measurement_imports_no_measurement() -> None:
    code = (
        "import sys\nfrom linnix_rec.cli import main\n"
        "try:\n    main(['bench', 'capture', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pyarrow', 'rich', 'linnix_rec.bench'} & set(sys.modules)\n"
        "print(heavy, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == "set()"


def test_bench_without_a_name_shows_its_help_as_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["bench"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: linnix-rec bench" in result.stderr
