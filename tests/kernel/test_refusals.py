"""What can't be recorded is said in one line; nothing is overwritten, and no command is started."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.capture.reader import open_capture
from tests.kernel.conftest import Read

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
NOBODY = "65534"


@pytest.mark.parametrize("slots", ["1000", "512", "0", "-4", "1048577"])
def test_a_ring_that_can_t_be_is_refused(record: Any, tmp_path: Path, slots: str) -> None:
    recording = record("touch", tmp_path / "started", options=["--ring-slots", slots])
    assert recording.status == 125
    assert recording.stderr.startswith("linnix-rec: error: ")
    assert "take a power of two from 1024 to 2147483648, such as " in recording.stderr
    assert recording.stderr.count("\n") == 1
    assert not recording.capture.exists()
    assert not (tmp_path / "started").exists()


def test_a_pid_that_isn_t_there_is_refused(record: Any) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    recording = record(options=["-p", str(gone.pid)])
    assert (recording.status, recording.stderr) == (
        125,
        f"linnix-rec: error: no process has the id {gone.pid}\n",
    )
    assert not recording.capture.exists()


def test_the_id_of_a_thread_is_refused_as_a_process(record: Any) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        recording = record(options=["-p", str(thread.native_id)])
    finally:
        over.set()
        thread.join()
    assert recording.status == 125
    assert f"{thread.native_id} is a thread: give --pid the id of its process" in recording.stderr


def test_a_user_that_isn_t_there_is_refused(record: Any) -> None:
    recording = record("/bin/true", options=["-u", "no-such-user"])
    assert recording.status == 125
    assert recording.stderr == "linnix-rec: error: no user 'no-such-user' on this host\n"


def test_an_output_that_exists_is_kept_unless_it_is_a_capture_and_force_is_given(
    linnix_rec: Any, proven: Proven, tmp_path: Path
) -> None:
    capture, folder = tmp_path / "a.lrec", tmp_path / "folder"
    assert linnix_rec("record", "-q", "-o", capture, "--", "/bin/true").returncode == 0
    first = proven(capture).document.capture_id
    refused = linnix_rec("record", "-o", capture, "--", "touch", tmp_path / "started")
    assert refused.returncode == 125
    assert "exists: choose another name with -o, or replace it with --force" in refused.stderr
    assert proven(capture).document.capture_id == first
    assert linnix_rec("record", "-q", "--force", "-o", capture, "--", "/bin/true").returncode == 0
    assert proven(capture).document.capture_id != first
    folder.mkdir()
    (folder / "precious").write_text("data")
    refused = linnix_rec("record", "--force", "-o", folder, "--", "touch", tmp_path / "started")
    assert refused.returncode == 125
    assert (folder / "precious").read_text() == "data"
    assert not (tmp_path / "started").exists()


def test_a_folder_that_isn_t_there_is_no_place_for_a_capture(linnix_rec: Any, tmp_path: Path) -> None:
    refused = linnix_rec("record", "-o", tmp_path / "no" / "x.lrec", "--", "/bin/true")
    assert refused.returncode == 125
    assert refused.stderr.count("\n") == 1
    assert "No such file or directory" in refused.stderr


def test_without_o_the_capture_is_named_after_the_command(linnix_rec: Any, tmp_path: Path) -> None:
    ended = linnix_rec("record", "--", "/bin/true", cwd=tmp_path)
    (capture,) = tmp_path.iterdir()
    assert (ended.returncode, ended.stdout) == (0, "")
    assert capture.name.startswith("true-2")
    assert capture.name.endswith("Z.lrec")
    assert f"linnix-rec replay {capture.name}" in ended.stderr


def test_a_capture_is_its_owner_s_alone(record: Any) -> None:
    capture = record("/bin/true").capture
    assert stat.S_IMODE(capture.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in capture.iterdir()} == {0o600}


def test_through_sudo_the_capture_belongs_to_who_called_it(
    record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "23456")
    capture = record("/bin/true").capture
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in (capture, *capture.iterdir())}
    assert owners == {(12345, 23456)}


def unprivileged(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run linnix-rec without any capability: as nobody if they may execute this interpreter."""
    python = [sys.executable, "-m", "linnix_rec"]
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    run = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    can = subprocess.run([*as_nobody, *python, "--version"], check=False, **run).returncode == 0
    return subprocess.run([*(as_nobody if can else without), *python, *arguments], check=False, **run)


def test_without_privileges_record_says_what_is_missing_and_starts_nothing(open_folder: Path) -> None:
    refused = unprivileged("record", "-o", open_folder / "x.lrec", "--", "touch", open_folder / "started")
    assert refused.returncode == 125
    assert refused.stderr.startswith("linnix-rec: error: ")
    assert refused.stderr.count("\n") == 1
    assert "CAP_BPF" in refused.stderr or "root" in refused.stderr
    assert list(open_folder.iterdir()) == []


@pytest.mark.parametrize("reader", ["show", "verify", "replay"])
def test_without_privileges_captures_are_read(linnix_rec: Any, open_folder: Path, reader: str) -> None:
    capture = open_folder / "x.lrec"
    assert linnix_rec("record", "-q", "-o", capture, "--", "/bin/true").returncode == 0
    for path in (capture, *capture.iterdir()):
        os.chown(path, int(NOBODY), int(NOBODY))
        path.chmod(0o755 if path.is_dir() else 0o644)
    ended = unprivileged(reader, capture)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and write to; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="linnix-rec-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a capture.json and its reserve, and for few events."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_the_recording_and_not_the_command(
    linnix_rec: Any, small_disk: Path, programs: Path, tmp_path: Path
) -> None:
    capture = small_disk / "x.lrec"
    storm = f"{programs / 'thread_storm'} 1500 20 && touch {tmp_path / 'done'}"
    ended = linnix_rec("record", "-o", capture, "--", "sh", "-c", storm)
    assert ended.returncode == 125
    assert (tmp_path / "done").exists()
    assert f"can't write to {capture}: the disk is full; nothing was written" in ended.stderr
    assert "Traceback" not in ended.stderr
    document = open_capture(capture).document
    assert document.stopped is not None
    assert document.stopped.reason == "failure"
    assert "the disk is full" in document.stopped.detail
