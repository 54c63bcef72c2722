"""A disk that is full, or fails: what was recorded is kept, and pinned, what comes is not lost either.

The disks are real ones: a small tmpfs; an ext4 on a loop device that shrinks, so that the kernel gives EIO to
whoever writes behind its end: to write(2) where it is mounted with `sync`, else to fsync(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from linnix_rec.capture.reader import open_capture
from linnix_rec.proof.verify import verify_capture
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import document_of, is_pinned
from tests.kernel.conftest import Read, has_begun, wait_until

pytestmark = pytest.mark.kernel

Process = subprocess.Popen[str]
Proven = Callable[[Path], Read]

STRUCK = str(Path(__file__).parent / "struck.py")
#: Rounds of a storm of threads, as many as it is told; 0 ends it.
SHELL = "while read rounds && [ $rounds != 0 ]; do {storm} $rounds 20; echo; done"
STORM_THREADS = 20


@dataclass(frozen=True)
class Disk:
    """A mounted disk that can be broken and mended; broken, it has writers told `complaint`."""

    path: Path
    complaint: str
    break_: Callable[[], None]
    mend: Callable[[], None]


@pytest.fixture(params=["full", "sync", "async"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    with full_disk(path) if request.param == "full" else failing_disk(path, request.param) as disk:
        yield disk


@contextmanager
def full_disk(path: Path) -> Iterator[Disk]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=True)
    filler = path / "filler"
    try:
        yield Disk(path, "the disk is full", lambda: fill(filler), filler.unlink)
    finally:
        subprocess.run(["umount", path], check=True)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextmanager
def failing_disk(path: Path, how: str) -> Iterator[Disk]:
    image = path.with_name("image")
    with image.open("wb") as file:
        file.truncate(8 << 20)  # one block group: all that is no file's content lies at its beginning
    # No journal, which would make it read-only at once.
    features = "-O^has_journal,^resize_inode,extent"
    subprocess.run(["mkfs.ext4", "-qF", "-b1024", "-N128", features, image], check=True)
    losetup = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, stdout=subprocess.PIPE, text=True
    )
    device = losetup.stdout.strip()
    mount = ["mount", "-o", f"{how},errors=continue", device, path]

    def mend() -> None:
        """As one does: what the kernel still has in memory of a disk that failed is not trusted."""
        limit_size(device, 0)
        subprocess.run(["umount", path], check=True)
        subprocess.run(["e2fsck", "-fy", device], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(mount, check=True)

    try:
        subprocess.run(mount, check=True)
        yield Disk(path, "Input/output error", lambda: limit_size(device, 128 << 10), mend)
    finally:
        limit_size(device, 0)
        subprocess.run(["umount", path], check=False)
        subprocess.run(["losetup", "-d", device], check=True)


def limit_size(device: str, size_bytes: int) -> None:
    """Let a loop device end after so many bytes, 0 for all (include/uapi/linux/loop.h: lo_sizelimit)."""
    get_status, set_status, offset_of_limit = 0x4C05, 0x4C04, 32
    status = bytearray(232)
    with open(device, "rb") as file:
        fcntl.ioctl(file, get_status, status)
        status[offset_of_limit : offset_of_limit + 8] = size_bytes.to_bytes(8, "little")
        fcntl.ioctl(file, set_status, status)


@dataclass
class Storm:
    """A shell that makes as many rounds of threads as it is told, and says when they are over."""

    process: subprocess.Popen[bytes]
    rounds = 0

    def rage(self, rounds: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{rounds}\n".encode())
        if rounds:
            assert self.process.stdout.readline() == b"\n"
        self.rounds += rounds

    @property
    def followed(self) -> tuple[str, str]:
        return "--pid", str(self.process.pid)


@pytest.fixture
def storm(start_process: Callable[..., subprocess.Popen[bytes]], programs: Path) -> Storm:
    return Storm(start_process("/bin/sh", "-c", SHELL.format(storm=programs / "thread_storm")))


@dataclass
class Recording:
    """A recording on that disk, that has something durable already."""

    capture: Path
    recorder: Process

    def end(self) -> str:
        """The recorder's last words, as it fails."""
        _, complaint = self.recorder.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
        assert self.recorder.returncode == 125, complaint
        return complaint


@pytest.fixture
def begin(start_linnix_rec: Callable[..., Process], disk: Disk, storm: Storm) -> Callable[..., Recording]:
    capture = disk.path / "a.lrec"

    def start(*options: str) -> Recording:
        recorder = start_linnix_rec(
            "record", "--ring-slots", "65536", *storm.followed, *options, "-o", capture
        )
        wait_until(lambda: has_begun(capture), "for the recording to begin")
        storm.rage(100)
        return Recording(capture, recorder)

    return start


def assert_whole(read: Read, storm: Storm) -> None:
    threads = [row for row in read.of("fork") if row["child_tid"] != row["child_tgid"]]
    assert len(threads) == storm.rounds * STORM_THREADS
    born = {(row["child_tid"], row["child_start_ns"]) for row in threads}
    assert len(born & {(row["tid"], row["start_ns"]) for row in read.of("exit")}) == len(born)


def rage_until_it_fails(storm: Storm, recording: Recording) -> str:
    def failed() -> bool:
        storm.rage(10)
        return recording.recorder.poll() is not None

    wait_until(failed, "for the recorder to fail")
    return recording.end()


def wait_for_durable(recording: Recording) -> None:
    wait_until(lambda: document_of(recording.capture).durable_seq > 0, "for something to be durable")


def test_a_pinned_recording_loses_nothing_to_a_disk_that_fails(
    begin: Callable[..., Recording],
    start_linnix_rec: Callable[..., Process],
    pin_name: Callable[[], str],
    proven: Proven,
    storm: Storm,
    disk: Disk,
) -> None:
    pin = pin_name()
    recording = begin("--pin", pin, "--segment", "0.2s")
    wait_for_durable(recording)
    disk.break_()
    complaint = rage_until_it_fails(storm, recording)
    assert f"error: can't write to {recording.capture}: {disk.complaint}; " in complaint
    assert f"what it lacks is in the ring of 65,536 slots, pinned as {pin!r}" in complaint
    assert f"go on with linnix-rec record --resume {recording.capture}" in complaint
    storm.rage(10)  # while nobody reads
    disk.mend()
    resumed = start_linnix_rec("record", "--resume", recording.capture)
    storm.rage(10)
    storm.rage(0)
    _, complaint = resumed.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    assert resumed.returncode == 0, complaint
    assert_whole(proven(recording.capture), storm)
    assert not is_pinned(pin)


@pytest.mark.parametrize("disk", ["sync", "async"], indirect=True)
def test_a_disk_that_fails_as_a_pinned_recording_ends_leaves_the_rest_in_the_ring(
    begin: Callable[..., Recording],
    start_linnix_rec: Callable[..., Process],
    pin_name: Callable[[], str],
    proven: Proven,
    storm: Storm,
    disk: Disk,
) -> None:
    pin = pin_name()
    recording = begin("--pin", pin, "--segment", "1h")
    wait_for_durable(recording)
    storm.rage(20)
    disk.break_()
    storm.rage(0)  # the next segment would be closed two seconds after the first
    complaint = recording.end()
    assert f"error: can't write to {recording.capture}: {disk.complaint}; " in complaint
    assert f"go on with linnix-rec record --resume {recording.capture}" in complaint
    disk.mend()
    resumed = start_linnix_rec("record", "--resume", recording.capture)
    _, complaint = resumed.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    assert resumed.returncode == 0, complaint
    assert_whole(proven(recording.capture), storm)
    assert not is_pinned(pin)


def test_a_last_segment_that_fails_leaves_its_rows_in_the_ring(
    start_linnix_rec: Callable[..., Process],
    pin_name: Callable[[], str],
    proven: Proven,
    storm: Storm,
    tmp_path: Path,
) -> None:
    """Also if capture.json could be written still: then it must not say that the capture is finished."""
    pin, capture = pin_name(), tmp_path / "a.lrec"
    options = ("--pin", pin, *storm.followed, "-o", capture)
    publish = "linnix_rec.capture.segment:OpenSegment.publish"
    recorder = start_linnix_rec("ENOSPC", publish, "1", "record", *options, by=[STRUCK])
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    storm.rage(2)
    storm.rage(0)
    _, complaint = recorder.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    assert recorder.returncode == 125, complaint
    assert "the disk is full" in complaint
    resumed = start_linnix_rec("record", "--resume", capture)
    _, complaint = resumed.communicate(timeout=RECORDING_TIMEOUT_SECONDS)
    assert resumed.returncode == 0, complaint
    assert_whole(proven(capture), storm)
    assert not is_pinned(pin)


def test_a_recording_on_a_disk_that_fails_keeps_what_was_durable(
    begin: Callable[..., Recording], storm: Storm, disk: Disk
) -> None:
    recording = begin("--segment", "0.2s")
    wait_for_durable(recording)
    disk.break_()
    complaint = rage_until_it_fails(storm, recording)
    assert f"error: can't write to {recording.capture}: {disk.complaint}; " in complaint
    disk.mend()
    capture = open_capture(recording.capture)
    verdict = verify_capture(capture)
    assert [rule.name for rule in verdict.rules if not rule.holds] == []
    assert not verdict.proven
    tickets = sum(row["slots"] for batch in capture.batches() for row in batch.to_pylist())
    assert tickets == capture.document.durable_seq > 0
    assert f"the recording stops before seq {tickets}" in complaint
