"""What `dump` writes is redacted by the recorder's pattern and by its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.errors import LinnixRecError, RecordingError, UsageError
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


def test_an_import_on_a_full_disk_is_no_failed_recorder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fill_up(*_: Any, **__: Any) -> Written:
        raise RecordingError("the disk is full; nothing was written")

    monkeypatch.setattr(dump, "read_raw_image", lambda *_: (None, None))
    monkeypatch.setattr(dump, "write_image", fill_up)
    with pytest.raises(LinnixRecError, match=r"^the disk is full; nothing was written$") as refused:
        dump.import_raw(tmp_path / "a.ring", None, force=False, redact=None, maximum_slots=1024)
    assert refused.value.exit_status == 1


def test_a_raw_image_s_place_is_looked_at_before_the_ring_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(armed, "copy_armed", pytest.fail)
    with pytest.raises(UsageError, match="there is no directory"):
        dump.dump_raw("host", tmp_path / "missing" / "a.ring", force=True)
