"""import's command line: what is no raw image is told in one line, with status 3, and makes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnix_rec.session import dump


def test_options_are_asked_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def imported(
        path: Path, output: Path | None, *, force: bool, redact: str | None, maximum_slots: int
    ) -> str:
        asked.append((path, output, force, redact, maximum_slots))
        return "5 events"

    monkeypatch.setattr(dump, "import_raw", imported)
    assert run("import", "a.ring").exit_code == 0
    options = ("-o", "b.lrec", "--force", "--redact", "x", "--max-slots", "4096")
    assert run("import", "a.ring", *options).exit_code == 0
    assert asked == [
        (Path("a.ring"), None, False, None, 1 << 20),
        (Path("a.ring"), Path("b.lrec"), True, "x", 4096),
    ]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"LNXRING1\x02\x00\x00\x00{}"])
def test_what_is_no_image_makes_no_capture(run: Any, tmp_path: Path, content: bytes) -> None:
    path, capture = tmp_path / "a.ring", tmp_path / "a.lrec"
    path.write_bytes(content)
    ended = run("import", str(path), "-o", str(capture))
    assert ended.exit_code == 3
    assert ended.stderr.startswith(f"linnix-rec: error: {path} is ")
    assert ended.stderr.count("\n") == 1
    assert not capture.exists()


def test_a_file_that_is_not_there_is_told(run: Any, tmp_path: Path) -> None:
    ended = run("import", str(tmp_path / "a.ring"), "-o", str(tmp_path / "a.lrec"))
    assert ended.exit_code == 3
    assert ended.stderr == f"linnix-rec: error: can't read {tmp_path / 'a.ring'}: No such file or directory\n"
