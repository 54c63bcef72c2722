"""What was to stay out of a capture is in none of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Read

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
HIDDEN = "hunter2"


def texts(capture: Read) -> str:
    """All that the capture says."""
    return f"{capture.document} {capture.rows}"


def test_what_matches_is_in_no_argument_name_or_command(record: Any, proven: Proven, tmp_path: Path) -> None:
    named = tmp_path / f"tool-{HIDDEN}"
    named.symlink_to("/bin/true")
    script = f"{named} --password {HIDDEN} --verbose; : {HIDDEN}"
    options = ["--redact", rf"--password\s+\S+|{HIDDEN}"]
    capture = proven(record("/bin/sh", "-c", script, options=options).capture)
    shell, tool = capture.of("exec")
    assert shell["argv"] == [
        "/bin/sh",
        "-c",
        script.replace(f"--password {HIDDEN}", "[redacted]").replace(HIDDEN, "[redacted]"),
    ]
    assert tool["argv"] == [f"{tmp_path}/tool-[redacted]", "[redacted]", "[redacted]", "--verbose"]
    assert (tool["filename"], tool["comm"]) == (f"{tmp_path}/tool-[redacted]", "tool-[redacted]")
    assert capture.document.filter.redacted
    assert HIDDEN not in texts(capture)


def test_half_of_a_secret_does_not_stay_where_arguments_are_cut(record: Any, proven: Proven) -> None:
    token = "t" * 2000
    capture = proven(record("/bin/true", token, options=["--redact", "t{1000}t{1000}"]).capture)
    (only,) = capture.of("exec")
    assert (only["argv"], only["argv_truncated"]) == (["/bin/true", "[redacted]"], True)
    assert "tttt" not in texts(capture)


def test_without_arguments_only_the_command_s_name_is_kept(record: Any, proven: Proven) -> None:
    capture = proven(record("/bin/sh", "-c", f": {HIDDEN}; /bin/true", options=["--no-argv"]).capture)
    assert [(row["filename"], row["argv"]) for row in capture.of("exec")] == [
        ("/bin/sh", None),
        ("/bin/true", None),
    ]
    assert capture.document.filter.command == ("/bin/sh",)
    assert not capture.document.filter.argv
    assert HIDDEN not in texts(capture)


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(a", "missing ): (a"), ("a*", "matches the empty text too")]
)
def test_a_pattern_that_can_t_be_starts_nothing(
    record: Any, tmp_path: Path, pattern: str, reason: str
) -> None:
    refused = record("touch", tmp_path / "started", options=["--redact", pattern])
    assert refused.status == 125
    assert reason in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not refused.capture.exists()
    assert not (tmp_path / "started").exists()
