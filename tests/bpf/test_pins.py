"""Pins as names: what is a whole set of them, what is left of one, and in which order they go.

bpffs is not needed for that: any directory has names. What is pinned for real, tests/kernel/test_pin.py sees.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from linnix_rec.bpf.pins import is_half_removed, pinned_names, remove_pins

PINS = ("link-a", "link-b", "map-bss", "map-ring", "note", "program-a")


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    directory = tmp_path / "host"
    directory.mkdir()
    for name in PINS:
        (directory / name).touch()
    return directory


def test_links_go_first_then_the_note(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    unlink = Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        gone.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    remove_pins(pinned)
    assert gone == ["link-a", "link-b", "note", "map-bss", "map-ring", "program-a"]
    assert not pinned.exists()


def test_a_removal_that_was_cut_short_anywhere_can_be_told_and_finished(pinned: Path) -> None:
    order = ["link-a", "link-b", "note", "map-bss", "map-ring", "program-a"]
    told = []
    for name in order:
        (pinned / name).unlink()
        told.append(is_half_removed(pinned))
    # Without its links only it is a recording that was detached, and its ring may hold what nobody has read.
    assert told == [False, False, True, True, True, True]
    remove_pins(pinned)
    assert not pinned.exists()


def test_only_links_go_when_a_recording_is_detached(pinned: Path) -> None:
    remove_pins(pinned, links_only=True)
    assert sorted(path.name for path in pinned.iterdir()) == ["map-bss", "map-ring", "note", "program-a"]


def test_what_is_not_there_needs_no_removal(tmp_path: Path) -> None:
    remove_pins(tmp_path / "nothing")
    assert not is_half_removed(tmp_path / "nothing")
    assert list(pinned_names(tmp_path / "nothing")) == []


def test_what_is_half_pinned_has_its_name_already(pinned: Path) -> None:
    (pinned.parent / "web~").mkdir()
    (pinned.parent / "a").mkdir()
    (pinned.parent / "file").touch()
    assert pinned_names(pinned.parent) == ["a", "host", "web"]
