"""Nothing that is not a capture is ever overwritten or removed."""

import os
from pathlib import Path

import pytest

from linnix_rec.capture.directory import discard_capture, prepare_directory
from linnix_rec.errors import UsageError
from tests.story import Story, write_capture


def small_capture(path: Path) -> Path:
    story = Story()
    story.task(1)
    return write_capture(path, story)


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs no directories")
def test_the_name_of_a_new_directory_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    prepare_directory(tmp_path / "a.lrec", force=False)
    assert synced == [tmp_path.stat().st_ino]


def test_a_new_directory_is_made_empty(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a.lrec", force=False)
    assert list((tmp_path / "a.lrec").iterdir()) == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, small_capture])
def test_what_exists_is_refused_without_force(tmp_path: Path, make: object) -> None:
    path = tmp_path / "a.lrec"
    make(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match="exists: choose another name with -o, or replace it with --force"):
        prepare_directory(path, force=False)


def test_force_replaces_a_capture(tmp_path: Path) -> None:
    path = small_capture(tmp_path / "a.lrec")
    (path / "segment-00000000000000000009.parquet.partial").touch()
    (path / "capture.json.reserve").touch()
    (path / "witness-connector.arrow").touch()
    (path / "witness-connector.arrow.partial").touch()
    prepare_directory(path, force=True)
    assert list(path.iterdir()) == []


def test_force_replaces_a_capture_whose_document_is_damaged(tmp_path: Path) -> None:
    path = small_capture(tmp_path / "a.lrec")
    (path / "capture.json").write_text('{"format": "linnix-rec capture", "cut')
    prepare_directory(path, force=True)
    assert list(path.iterdir()) == []


def test_force_replaces_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "a.lrec").mkdir()
    prepare_directory(tmp_path / "a.lrec", force=True)
    assert (tmp_path / "a.lrec").is_dir()


@pytest.mark.parametrize("name", ["notes.txt", "segment-1.parquet.bak", "table.arrow", "zzz"])
def test_force_leaves_a_directory_alone_that_holds_anything_else(tmp_path: Path, name: str) -> None:
    path = small_capture(tmp_path / "a.lrec")
    (path / name).write_text("mine")
    before = sorted(path.iterdir())
    with pytest.raises(UsageError, match=f"holds {name}, which is not of a capture: it is left alone"):
        prepare_directory(path, force=True)
    assert sorted(path.iterdir()) == before


def test_force_leaves_parquet_files_alone_that_have_no_capture_json(tmp_path: Path) -> None:
    path = small_capture(tmp_path / "a.lrec")
    (path / "capture.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has no capture\.json of a capture"):
        prepare_directory(path, force=True)
    assert len(list(path.iterdir())) == 2


def test_force_leaves_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.lrec").write_text("mine")
    with pytest.raises(UsageError, match="is no directory, so no capture: it is left alone"):
        prepare_directory(tmp_path / "a.lrec", force=True)
    assert (tmp_path / "a.lrec").read_text() == "mine"


def test_force_follows_no_symlink(tmp_path: Path) -> None:
    real = small_capture(tmp_path / "real.lrec")
    (tmp_path / "a.lrec").symlink_to(real)
    with pytest.raises(UsageError, match="is left alone"):
        prepare_directory(tmp_path / "a.lrec", force=True)
    assert (real / "capture.json").exists()


def test_a_parent_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't make .*: No such file or directory"):
        prepare_directory(tmp_path / "nowhere" / "a.lrec", force=False)


def test_discarding_removes_a_capture_and_nothing_else(tmp_path: Path) -> None:
    path = small_capture(tmp_path / "a.lrec")
    (path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds notes\.txt"):
        discard_capture(path)
    (path / "notes.txt").unlink()
    discard_capture(path)
    assert not path.exists()
