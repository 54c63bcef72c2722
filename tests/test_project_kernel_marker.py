"""Kernel tests are never skipped where they are required: a skip there would be a green lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"
KERNEL_TEST = "import pytest\n@pytest.mark.kernel\ndef test_of_the_kernel():\n    pass\n"


@pytest.mark.parametrize(("required", "outcome"), [("1", "1 error"), ("", "1 skipped"), ("0", "1 skipped")])
def test_kernel_test_without_root(tmp_path: Path, required: str, outcome: str) -> None:
    conftest = CONFTEST.read_text().replace("from __future__ import annotations", "")
    (tmp_path / "conftest.py").write_text(f"import os\nos.geteuid = lambda: 1000\n{conftest}")
    (tmp_path / "test_it.py").write_text(KERNEL_TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = kernel\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", tmp_path],
        env={**os.environ, "LINNIX_REC_REQUIRE_KERNEL": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in ended.stdout
    assert (ended.returncode == 0) is (outcome == "1 skipped")
    assert "this is not root" in ended.stdout
