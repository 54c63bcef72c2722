"""Where a raw image may go: to a new file or, with --force, in place of another image; never elsewhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnix_rec.bpf.object import read_object
from linnix_rec.capture.document import ClockSample
from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.ring.image import RingImage
from linnix_rec.ring.raw import MAGIC, MINIMUM_SLOTS
from linnix_rec.session.raw import check_raw_target, read_raw_image, write_raw_image
from linnix_rec.sources.image import slot_layout
from tests.story import document


def a_link(path: Path) -> None:
    image = path.with_name("image")
    image.write_bytes(MAGIC)
    path.symlink_to(image)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


NO_IMAGES: dict[str, Callable[[Path], object]] = {
    "a symbolic link": a_link,
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
    "no raw image": lambda path: path.write_bytes(MAGIC[:-1]),
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_left_alone(tmp_path: Path, kind: str, force: bool) -> None:
    path = tmp_path / "a"
    NO_IMAGES[kind](path)
    before = path.lstat()
    with pytest.raises(UsageError) as refused:
        check_raw_target(path, force=force)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert str(refused.value).startswith(
        f"{path} {'exists' if kind == 'no raw image' and not force else 'is ' + kind}"
    )
    assert "another name with --raw" in str(refused.value)


def test_a_link_to_nothing_is_no_free_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.symlink_to("nothing")
    with pytest.raises(UsageError, match="is a symbolic link"):
        check_raw_target(path, force=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this root may make no device nodes")
    with pytest.raises(UsageError, match="is a character device"):
        check_raw_target(path, force=True)


def test_an_image_is_replaced_with_force_only(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(MAGIC + b"rest")
    check_raw_target(path, force=True)
    with pytest.raises(UsageError, match="replace it with --force"):
        check_raw_target(path, force=False)


def test_the_file_that_is_written_first_is_looked_at_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.partial")
    with pytest.raises(UsageError, match=r"a\.partial is a FIFO"):
        check_raw_target(tmp_path / "a", force=False)


@pytest.mark.parametrize("name", ["missing/a", "file/a", 300 * "a"])
def test_a_target_that_can_t_be_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't write"):
        check_raw_target(tmp_path / name, force=False)


def test_an_image_of_no_possible_time_is_refused(tmp_path: Path) -> None:
    late = replace(document(), clock=(ClockSample(boot_ns=1, realtime_ns=1 << 63),))
    slots = np.zeros(MINIMUM_SLOTS, slot_layout())
    image = RingImage(slots, np.zeros(64, np.uint64), first_seq=0, end_seq=0)
    write_raw_image(image, late, read_object("sequencer"), tmp_path / "a", force=False)
    with pytest.raises(UnreadableCaptureError, match="it says no time, or none that can be"):
        read_raw_image(tmp_path / "a", MINIMUM_SLOTS)
