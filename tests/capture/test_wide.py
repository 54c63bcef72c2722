"""Captures with syscalls and failed execs have columns of their own, and others do not."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from linnix_rec.capture.document import DOCUMENT_NAME, Filter
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.schema import EVENT_SCHEMA, SYSCALL_COLUMNS, WIDE_SCHEMA
from linnix_rec.proof import verify_capture
from linnix_rec.replay.lineage import lineage_of
from tests.story import Story, write_capture

NAMES = [field.name for field in SYSCALL_COLUMNS]


def a_story(*, wide: bool = True) -> Story:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    if wide:
        story.failed_exec(child, "/bin/no", 2, slots=1)
        story.syscall(child, "read", 0, ret=-11, arg2=(1 << 64) - 1)
    story.exec(child, "/bin/true", ["true"])
    if wide:
        story.syscall(shell, "openat", 257, ret=3)
    story.exit(child)
    return story


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    wanted = Filter("all", events=("process", "syscall", "failed-exec"))
    return write_capture(tmp_path / "wide.lrec", a_story(), filter=wanted)


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "narrow.lrec", a_story(wide=False))


def columns_of(capture: Path) -> list[str]:
    (segment,) = capture.glob("*.parquet")
    return pq.read_schema(segment).names


def versions_of(capture: Path) -> tuple[int, bytes]:
    (segment,) = capture.glob("*.parquet")
    document = json.loads((capture / DOCUMENT_NAME).read_text())
    return document["format_version"], pq.read_metadata(segment).metadata[b"linnix_rec.schema_version"]


def test_only_who_asked_pays(wide: Path, narrow: Path) -> None:
    assert columns_of(wide) == [*EVENT_SCHEMA.names, *NAMES]
    assert columns_of(narrow) == EVENT_SCHEMA.names


def test_a_reader_that_would_not_know_of_shed_syscalls_refuses_them(wide: Path, narrow: Path) -> None:
    assert versions_of(wide) == (2, b"2")
    assert versions_of(narrow) == (1, b"1")


def test_all_of_it_comes_back(wide: Path, narrow: Path) -> None:
    (batch,) = open_capture(wide).batches()
    assert batch.schema.equals(WIDE_SCHEMA, check_metadata=True)
    assert batch.to_pylist() == a_story().batch().to_pylist()
    (batch,) = open_capture(narrow).batches()
    assert batch.schema.equals(EVENT_SCHEMA, check_metadata=True)
    assert batch.to_pylist() == a_story(wide=False).batch().to_pylist()


def test_what_a_capture_has_no_column_for_is_null(narrow: Path) -> None:
    for names in (["seq", "syscall", "arg0"], ["errno"]):
        (batch,) = open_capture(narrow).batches(names, kinds=["fork", "exit"])
        assert batch.schema.names == names
        assert batch.schema.field(names[-1]).type == WIDE_SCHEMA.field(names[-1]).type
        assert batch.column(names[-1]).null_count == batch.num_rows == 2


def test_rows_of_one_kind_are_found(wide: Path) -> None:
    (batch,) = open_capture(wide).batches(["syscall", "ret"], kinds=["syscall"])
    assert batch.to_pylist() == [{"syscall": "read", "ret": -11}, {"syscall": "openat", "ret": 3}]


def test_the_proof_counts_them_and_who_started_whom_is_as_without(wide: Path, narrow: Path) -> None:
    verdict = verify_capture(open_capture(wide))
    assert verdict.proven
    assert (verdict.events["syscall"], verdict.events["failed-exec"]) == (2, 1)
    assert "syscall" not in verify_capture(open_capture(narrow)).events
    with_calls, without = (lineage_of(open_capture(path).batches()) for path in (wide, narrow))
    assert len(with_calls) == len(without) == 2
