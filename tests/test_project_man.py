"""The man pages are what the commands say, and roff that a man has nothing to say against."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

MAN = Path(__file__).parents[1] / "man"
COMMANDS = ("record", "show", "verify", "replay", "reconcile", "doctor", "bench")
PAGES = ("linnix-rec", *(f"linnix-rec-{name}" for name in COMMANDS))
SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    specification = importlib.util.spec_from_file_location("man_generate", MAN / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_pages_are_in_step_with_the_commands(hash_seed: str) -> None:
    # In a process of its own: click commands remember how they were first called.
    ended = subprocess.run(
        [sys.executable, MAN / "generate.py", "--check"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(MAN.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES)
def test_page_has_its_sections_in_order(page: str) -> None:
    found = re.findall(r"^\.SH (.+)$", (MAN / f"{page}.1").read_text(), re.MULTILINE)
    assert [section for section in found if section in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize("page", ["linnix-rec-record"])
def test_recorder_s_page_says_its_cost_and_limits(page: str) -> None:
    assert {".SH OVERHEAD", ".SH LIMITATIONS", ".SH FILES", ".SH SIGNALS"} <= set(
        (MAN / f"{page}.1").read_text().splitlines()
    )


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_page_renders_without_a_warning(page: str) -> None:
    rendered = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", MAN / f"{page}.1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert "SEE ALSO" in rendered.stdout


@pytest.mark.parametrize(
    ("source", "roff"),
    [
        ("a - b ~ ^ ' \" ` \\x", "a \\- b \\(ti \\(ha \\(aq \\(dq \\(ga \\ex"),
        (".TH is no control line", "\\&.TH is no control line"),
        ("a ⇒ b", "a \\[u21D2] b"),
        ("'quoted", "\\(aqquoted"),
        ("`-o` and *DIR*", "\\fB\\%\\-o\\fR and \\fIDIR\\fR"),
    ],
)
def test_text_is_printed_as_it_is(generate: ModuleType, source: str, roff: str) -> None:
    assert generate._inline(source) == roff
