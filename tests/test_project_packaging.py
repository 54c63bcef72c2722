"""What is built here also ships: objects, man pages and completions are named in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linnix_rec import __version__

REPOSITORY = Path(__file__).parents[1]
OBJECTS = sorted(REPOSITORY.glob("bpf_obj/*.bpf.o"))
SHIPPED = [*OBJECTS, *sorted(REPOSITORY.glob("man/*.1")), *sorted(REPOSITORY.glob("completions/*"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_file_is_in_the_wheel(path: Path) -> None:
    named = f'"{path.relative_to(REPOSITORY)}" = "'
    assert named in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_every_source_has_its_object() -> None:
    sources = {path.name.removesuffix(".c") for path in REPOSITORY.glob("bpf_obj/*.bpf.c")}
    assert sources == {path.name.removesuffix(".o") for path in OBJECTS}


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_object_names_no_directory_of_the_machine_that_built_it(path: Path) -> None:
    sources = re.findall(rb"\0([^\0]*\.[ch])\0", path.read_bytes())
    assert sources
    assert all(source.startswith(b"./bpf_obj/") for source in sources), sources


def test_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", __version__)
