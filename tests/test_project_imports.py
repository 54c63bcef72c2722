"""Reading needs no Linux: what reads a capture imports and works where the recorder's rooms can't exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.story import Story, write_capture

RECORDER_ONLY = (
    "linnix_rec.bpf",
    "linnix_rec.ring",
    "linnix_rec.sources",
    "linnix_rec.session",
    # modules of the standard library that Windows lacks
    "fcntl",
    "pwd",
    "resource",
    "termios",
    "grp",
)
READERS = (
    "linnix_rec",
    "linnix_rec.api",
    "linnix_rec.capture",
    "linnix_rec.proof",
    "linnix_rec.replay",
    "linnix_rec.report",
    "linnix_rec.cli",
    "linnix_rec.cli.show",
    "linnix_rec.cli.verify",
    "linnix_rec.cli.replay",
    "linnix_rec.cli.reconcile",
)

# A name that stands for None in sys.modules can't be imported, nor can anything below it.
BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({RECORDER_ONLY!r}))\n"

IMPORT_ALL_BELOW = """
import importlib, pkgutil
room = importlib.import_module({name!r})
for found in pkgutil.walk_packages(getattr(room, '__path__', []), {name!r} + '.'):
    if {name!r} not in ('linnix_rec', 'linnix_rec.cli'):
        importlib.import_module(found.name)
"""


def run_without_recorder(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small capture that holds together: a shell that runs /bin/true."""
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", ["true"])
    story.exit(child)
    story.exit(shell)
    return write_capture(tmp_path_factory.mktemp("captures") / "a.lrec", story)


@pytest.mark.parametrize("name", RECORDER_ONLY)
def test_block_holds(name: str) -> None:
    assert "ModuleNotFoundError" in run_without_recorder(f"import {name}").stderr


@pytest.mark.parametrize("name", READERS)
def test_reader_imports_without_the_recorder(name: str) -> None:
    ended = run_without_recorder(IMPORT_ALL_BELOW.format(name=name))
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (("show",), "/bin/true"),
        (("show", "--format", "jsonl"), '"/bin/true"'),
        (("verify",), "birth"),
        (("replay", "--tree"), "true"),
        (("replay", "--chains"), "true"),
    ],
)
def test_reader_works_without_the_recorder(command: tuple[str, ...], seen: str, capture: Path) -> None:
    name, *options = command
    ended = run_without_recorder("from linnix_rec.cli import main; main()", name, *options, str(capture))
    assert ended.returncode == 0, ended.stderr
    assert seen in ended.stdout


def test_api_works_without_the_recorder(capture: Path) -> None:
    ended = run_without_recorder(
        "import linnix_rec\n"
        "capture = linnix_rec.open_capture(sys.argv[1])\n"
        "print(capture.verify().proven, len(list(capture.processes())))",
        str(capture),
    )
    assert ended.stdout == "True 2\n", ended.stderr


def test_package_imports_nothing_heavy_until_asked() -> None:
    ended = run_without_recorder("import linnix_rec\nprint({'numpy', 'pyarrow'} & set(sys.modules))")
    assert ended.stdout == "set()\n"
