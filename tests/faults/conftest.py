"""What the fault tests share with the acceptance tests; and which of them wait for `make faults`."""

from __future__ import annotations

import os

import pytest

from tests.kernel.conftest import (
    pin_name,
    proven,
    read_back,
    start_linnix_rec,
    start_process,
    start_recorder,
)

__all__ = ["pin_name", "proven", "read_back", "start_linnix_rec", "start_process", "start_recorder"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "disrupts: meddles with the whole machine; only with LINNIX_REC_FAULTS=1"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, as not selected, what would surprise whoever else works on this machine."""
    if os.environ.get("LINNIX_REC_FAULTS") == "1":
        return
    disrupting = [item for item in items if item.get_closest_marker("disrupts")]
    if disrupting:
        config.hook.pytest_deselected(items=disrupting)
        items[:] = [item for item in items if item not in disrupting]
