"""Cgroup ids to paths, by asking the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from linnix_rec.session.cgroups import CgroupPaths, cgroup2_mount


def ids(*numbers: int | None) -> pa.RecordBatch:
    return pa.record_batch({"cgroup_id": pa.array(numbers, pa.uint64())})


@pytest.mark.kernel
def test_a_cgroup_has_the_path_below_its_mount() -> None:
    mount = cgroup2_mount()
    if mount is None:
        pytest.skip("no cgroup2 hierarchy is mounted here")
    made = Path(mount) / f"linnix-rec-test-{os.getpid()}"
    made.mkdir()
    paths = CgroupPaths()
    try:
        paths.observe(ids(made.stat().st_ino, Path(mount).stat().st_ino, None, 1 << 60))
        assert paths.paths == {str(made.stat().st_ino): f"/{made.name}", str(Path(mount).stat().st_ino): "/"}
    finally:
        paths.close()
        made.rmdir()


@pytest.mark.kernel
def test_a_cgroup_that_is_gone_keeps_the_path_it_had() -> None:
    mount = cgroup2_mount()
    if mount is None:
        pytest.skip("no cgroup2 hierarchy is mounted here")
    made = Path(mount) / f"linnix-rec-test-gone-{os.getpid()}"
    made.mkdir()
    number = made.stat().st_ino
    paths = CgroupPaths()
    paths.observe(ids(number))
    made.rmdir()
    paths.observe(ids(number))
    paths.close()
    assert paths.paths == {str(number): f"/{made.name}"}


def test_without_a_version_2_hierarchy_no_path_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnix_rec.session.cgroups.cgroup2_mount", lambda: None)
    paths = CgroupPaths()
    paths.observe(ids(1, 2))
    paths.close()
    assert paths.paths == {}
