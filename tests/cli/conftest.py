"""What tests of command lines share: one way to run one in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from linnix_rec.cli import main


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run `linnix-rec` with these arguments; `stdout` and `stderr` apart."""
    return lambda *arguments: CliRunner().invoke(main, list(arguments))
