"""A plugin for pytest in a guest: writes each failure to /run/lab/failures as it happens.

A guest may be killed, or die, hours after the failure that matters and before pytest comes to its end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FAILURES = Path("/run/lab/failures")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        with FAILURES.open("a") as file:
            file.write(
                f"==== {report.nodeid} ({report.when}, {report.duration:.0f} s)\n{report.longreprtext}\n"
            )
            for name, text in report.sections:
                file.write(f"---- {name}\n{text}\n")
