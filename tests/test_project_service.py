"""The systemd unit starts a command line that exists, with no more power than it says, and ships."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from linnix_rec.cli import main

REPOSITORY = Path(__file__).parents[1]
UNIT = REPOSITORY / "systemd" / "linnix-rec.service"


@pytest.fixture(scope="module")
def service() -> dict[str, str]:
    """The unit's [Service] section."""
    unit = ConfigParser(interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    unit.read(UNIT)
    return dict(unit["Service"])


def test_its_command_line_is_one_that_record_takes(service: dict[str, str]) -> None:
    program, name, *arguments = shlex.split(service["ExecStart"])
    assert (program, name) == ("linnix-rec", "record")
    record = main.get_command(click.Context(main), "record")
    assert record is not None
    context = record.make_context("record", arguments)
    assert context.params["whole_host"] is True
    assert context.params["pin"] == "host"
    assert context.params["segment_seconds"] == 60
    assert context.params["keep_bytes"] == 10 << 30
    assert context.params["keep_seconds"] == 24 * 3600
    assert context.params["argv"] == ()


def test_it_has_three_capabilities(service: dict[str, str]) -> None:
    assert service["CapabilityBoundingSet"].split() == ["CAP_BPF", "CAP_PERFMON", "CAP_DAC_READ_SEARCH"]
    assert service["NoNewPrivileges"] == "yes"


def test_it_is_started_again_within_a_lap_and_told_from_one_that_hangs(service: dict[str, str]) -> None:
    assert (service["Type"], service["Restart"], service["RestartSec"]) == ("notify", "on-failure", "1s")
    assert service["WatchdogSec"] == "60s"


@pytest.mark.parametrize(
    "line",
    [
        '"systemd/linnix-rec.service" = "lib/systemd/system/linnix-rec.service"',
        '"man/linnix-rec.service.8" = "share/man/man8/linnix-rec.service.8"',
        '    "/systemd",',
    ],
)
def test_it_ships_with_its_page(line: str) -> None:
    assert line in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say_against_it(tmp_path: Path) -> None:
    unit = UNIT.read_text(encoding="utf-8").replace("ExecStart=linnix-rec ", "ExecStart=/bin/true ")
    (tmp_path / UNIT.name).write_text(unit)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_its_page_renders_without_a_warning() -> None:
    page = REPOSITORY / "man" / "linnix-rec.service.8"
    rendered = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", page], capture_output=True, text=True, check=False
    )
    assert (rendered.returncode, rendered.stderr) == (0, "")
    for heading in ("EXAMPLES", "OVERHEAD", "FILES", "SECURITY"):
        assert f"\n{heading}\n" in rendered.stdout
