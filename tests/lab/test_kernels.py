"""Which of Debian's kernels is meant by a series."""

from __future__ import annotations

from pathlib import Path

from tests.lab.kernels import fetch_kernel, newest_package

NAMES = [
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-56-amd64",
    "linux-image-6.1.0-56-amd64-unsigned",
    "linux-image-6.1.0-56-amd64-dbg",
    "linux-image-6.1.0-57-cloud-amd64",
    "linux-image-6.1.0-57-rt-amd64",
    "linux-image-6.10.11+bpo-amd64",
    "linux-image-6.12-amd64",
    "linux-image-6.12.9+deb12-amd64",
    "linux-image-6.12.117+deb12-amd64",
    "linux-image-6.12.117+deb12-rt-amd64",
    "linux-image-amd64",
]


def test_the_newest_generic_kernel_of_a_series_is_meant() -> None:
    assert newest_package("6.1", NAMES) == "linux-image-6.1.0-56-amd64"
    assert newest_package("6.12", NAMES) == "linux-image-6.12.117+deb12-amd64"
    assert newest_package("6.10", NAMES) == "linux-image-6.10.11+bpo-amd64"


def test_a_series_without_a_generic_kernel_has_none() -> None:
    assert newest_package("5.15", NAMES) is None
    assert newest_package("6", NAMES) is None


def test_an_unpacked_kernel_is_taken_from_the_cache(tmp_path: Path) -> None:
    room = tmp_path / "linux-6.1"
    modules = room / "usr" / "lib" / "modules" / "6.1.0-56-amd64"
    modules.mkdir(parents=True)
    (room / "boot").mkdir()
    (room / "boot" / "vmlinuz-6.1.0-56-amd64").touch()
    (room / "complete").touch()
    kernel = fetch_kernel("6.1", tmp_path)
    assert (kernel.release, kernel.modules) == ("6.1.0-56-amd64", modules)
    assert kernel.image == room / "boot" / "vmlinuz-6.1.0-56-amd64"
