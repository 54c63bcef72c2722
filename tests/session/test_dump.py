"""What `dump` writes is redacted by the recorder's pattern and by its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.session import armed, dump
from linnix_rec.session.image_capture import Written


@pytest.mark.parametrize(
    ("recorder", "own", "left"),
    [
        (None, None, ["secret", "other"]),
        ("secret", None, ["[redacted]", "other"]),
        (None, "other", ["secret", "[redacted]"]),
        ("secret", "other", ["[redacted]", "[redacted]"]),
    ],
)
def test_a_dump_s_own_pattern_does_not_undo_the_recorder_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorder: str | None, own: str | None, left: list[str]
) -> None:
    row = {"seq": 0, "slots": 2, "kind": "exec", "argv": ["secret", "other"], "argv_truncated": False}
    seen: list[list[str]] = []

    def write(*_: Any, redact: Any, **__: Any) -> Written:
        batch = pa.RecordBatch.from_pylist([row], EVENT_SCHEMA)
        seen.extend((batch if redact is None else redact(batch)).column("argv").to_pylist())
        return Written(1, 0, 1, 0)

    copied = SimpleNamespace(image=None, document=None, redact=recorder, object=b"")
    monkeypatch.setattr(armed, "copy_armed", lambda _: copied)
    monkeypatch.setattr(dump, "write_image", write)
    dump.dump("host", tmp_path / "a.lrec", force=False, redact=own)
    assert seen == [left]
