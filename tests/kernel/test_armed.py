"""A ring that nobody reads: dumped at any moment, again and again, here or through a raw image elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.sources.pinned import pin_directory
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import Tickets, is_pinned
from tests.kernel.conftest import Read, Row, has_begun, wait_until

pytestmark = pytest.mark.kernel

LinnixRec = Callable[..., "subprocess.CompletedProcess[str]"]
ReadBack = Callable[[Path], Read]
SLOTS = 4096
NOBODY = 65534


@dataclass(frozen=True)
class Armed:
    """A ring, and the shell that it is about: a word makes so many rounds of twenty threads."""

    name: str
    tickets: Tickets
    shell: subprocess.Popen[bytes]

    def rage(self, rounds: int) -> None:
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{rounds}\n".encode())
        assert self.shell.stdout.readline() == b"\n"


@pytest.fixture
def armed(
    pin_name: Callable[[], str],
    start_process: Callable[..., subprocess.Popen[bytes]],
    linnix_rec: LinnixRec,
    programs: Path,
) -> Armed:
    name = pin_name()
    storm = f"while read rounds; do {programs / 'thread_storm'} $rounds 20; echo; done"
    shell = start_process("/bin/sh", "-c", storm)
    ended = linnix_rec("arm", name, "-p", str(shell.pid), "--ring-slots", str(SLOTS))
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == f"linnix-rec: armed: the last 4,096 slots can be had by `linnix-rec dump {name}`\n"
    return Armed(name, Tickets(name), shell)


def last_lap(read: Read) -> tuple[int, int]:
    """First ticket, and one past the last; without a gap in between."""
    seq = read.rows[0]["seq"]
    for row in read.rows:
        assert row["seq"] == seq
        assert row["kind"] != "gap"
        seq += row["slots"]
    return read.rows[0]["seq"], seq


def test_a_dump_is_the_last_lap_again_and_again(
    armed: Armed, linnix_rec: LinnixRec, read_back: ReadBack, tmp_path: Path
) -> None:
    for number in range(3):
        armed.rage(320)  # three laps
        dumped = linnix_rec("dump", armed.name, "-o", tmp_path / f"{number}.lrec")
        assert dumped.returncode == 0, dumped.stderr
        read = read_back(tmp_path / f"{number}.lrec")
        begin, end = last_lap(read)
        assert end == armed.tickets.issued  # nothing has happened since
        assert end - SLOTS <= begin < end - SLOTS + 16
        assert read.document.started.first_seq == begin
        assert read.document.stopped is not None
        assert read.document.stopped.reason == "dump"
        assert read.verdict.proven
        assert f"{len(read.rows):,} events from seq {begin} on in " in dumped.stderr
        assert ", nothing lost; " in dumped.stderr
    assert armed.tickets.issued > 9 * SLOTS


def test_a_ring_that_was_not_lapped_is_dumped_from_its_beginning(
    armed: Armed, linnix_rec: LinnixRec, read_back: ReadBack, tmp_path: Path
) -> None:
    armed.rage(2)
    assert linnix_rec("dump", armed.name, "-o", tmp_path / "a.lrec").returncode == 0
    read = read_back(tmp_path / "a.lrec")
    assert last_lap(read) == (0, armed.tickets.issued)
    assert read.verdict.proven
    assert len([row for row in read.of("fork") if row["child_tid"] != row["child_tgid"]]) == 40


def test_a_storm_that_goes_on_meanwhile_does_not_spoil_a_dump(
    armed: Armed, linnix_rec: LinnixRec, read_back: ReadBack, tmp_path: Path
) -> None:
    assert armed.shell.stdin is not None
    armed.shell.stdin.write(b"20000\n")
    wait_until(lambda: armed.tickets.issued > SLOTS, "for the first lap")
    for number in range(3):
        before = armed.tickets.issued
        assert linnix_rec("dump", armed.name, "-o", tmp_path / f"{number}.lrec").returncode == 0
        after = armed.tickets.issued
        assert after > before
        read = read_back(tmp_path / f"{number}.lrec")
        begin, end = last_lap(read)
        assert before < end <= after
        assert end - begin <= SLOTS


def test_a_raw_image_is_the_same_lap(
    armed: Armed, linnix_rec: LinnixRec, read_back: ReadBack, tmp_path: Path
) -> None:
    armed.rage(200)
    raw, imported, dumped = tmp_path / "a.ring", tmp_path / "imported.lrec", tmp_path / "dumped.lrec"
    said = linnix_rec("dump", armed.name, "--raw", raw)
    assert said.returncode == 0, said.stderr
    assert f"make a capture of it, here or elsewhere: linnix-rec import {raw}" in said.stderr
    assert raw.stat().st_mode & 0o777 == 0o600
    taken = armed.tickets.issued
    assert linnix_rec("dump", armed.name, "-o", dumped).returncode == 0
    assert linnix_rec("import", raw, "-o", imported).returncode == 0
    first, second = read_back(imported), read_back(dumped)
    assert last_lap(first)[1] == taken
    # The second dump listed the tasks again; up to there, and from its first ticket on, they are the same.
    begin = last_lap(second)[0]
    common = [timeless(row) for row in second.rows if row["seq"] < taken]
    assert [timeless(row) for row in first.rows if row["seq"] >= begin] == common
    assert len(common) > 3000
    assert first.document.host == second.document.host


def timeless(row: Row) -> Row:
    """Without `time`, which is `boot_ns` by the clock of the moment of the dump."""
    return {name: value for name, value in row.items() if name != "time"}


@pytest.fixture
def raw(armed: Armed, linnix_rec: LinnixRec, tmp_path: Path) -> Path:
    armed.rage(5)
    assert linnix_rec("dump", armed.name, "--raw", tmp_path / "a.ring").returncode == 0
    return tmp_path / "a.ring"


def test_nobody_can_import_without_bpf(raw: Path, read_back: ReadBack, tmp_path: Path) -> None:
    """As an ordinary user, of whom bpf(2) is refused."""
    os.chown(raw, NOBODY, NOBODY)
    room = tmp_path / "room"
    room.mkdir()
    os.chown(room, NOBODY, NOBODY)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    setpriv = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
    ended = subprocess.run(
        [*setpriv, sys.executable, "-m", "linnix_rec", "import", raw, "-o", room / "a.lrec"],
        capture_output=True, text=True, timeout=RECORDING_TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert read_back(room / "a.lrec").verdict.proven
    assert (room / "a.lrec").stat().st_uid == NOBODY


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def damaged(path: Path) -> Iterator[tuple[str, str]]:
    """Ways to spoil an image, and what is said of each."""
    content = path.read_bytes()
    yield "whole", ""
    path.write_bytes(content[:-100])
    yield "cut short", "is damaged or cut short: "
    path.write_bytes(content[: len(content) // 2])
    yield "cut in the middle", "is damaged or cut short: "
    path.write_bytes(content[:20])
    yield "cut in its head", "is damaged or cut short: its head is not what was written"
    path.write_bytes(content)
    flip(path, len(content) - 2)
    yield "a bit of its checksum", "is damaged or cut short: "
    path.write_bytes(content)
    flip(path, len(content) // 2)
    yield "a bit of its slots", "is damaged"
    path.write_bytes(b"PAR1" + content[4:])
    yield "another magic", "is no raw image of a ring: `dump --raw` writes those"
    path.write_bytes(b"")
    yield "empty", "is no raw image of a ring: `dump --raw` writes those"


def test_an_image_that_was_spoilt_is_refused_in_one_line(
    raw: Path, linnix_rec: LinnixRec, tmp_path: Path
) -> None:
    for what, complaint in damaged(raw):
        capture = tmp_path / f"{what}.lrec"
        ended = linnix_rec("import", raw, "-o", capture)
        assert (ended.returncode, capture.exists()) == ((3, False) if complaint else (0, True)), what
        if complaint:
            assert complaint in ended.stderr, what
            assert ended.stderr.startswith(f"linnix-rec: error: {raw} is "), what
            assert ended.stderr.count("\n") == 1, what


WITHOUT_ZSTANDARD = """
import sys
sys.modules["zstandard"] = None
from linnix_rec.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["dump", "import"])
def test_without_zstandard_it_says_what_to_install(
    raw: Path, armed: Armed, tmp_path: Path, command: str
) -> None:
    made = tmp_path / ("b.ring" if command == "dump" else "b.lrec")
    arguments = (armed.name, "--raw", made) if command == "dump" else (raw, "-o", made)
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_ZSTANDARD, command, *arguments],
        capture_output=True, text=True, timeout=RECORDING_TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert ended.stderr == (
        "linnix-rec: error: raw images need python-zstandard: pip install 'linnix-rec[raw]'\n"
    )
    assert not made.exists()
    assert list(tmp_path.glob("*.partial")) == []


def test_nothing_is_replaced_without_force(armed: Armed, linnix_rec: LinnixRec, tmp_path: Path) -> None:
    for arguments in (("-o", tmp_path / "a.lrec"), ("--raw", tmp_path / "a.ring")):
        assert linnix_rec("dump", armed.name, *arguments).returncode == 0
        refused = linnix_rec("dump", armed.name, *arguments)
        assert (refused.returncode, "exists: choose another name" in refused.stderr) == (2, True)
        assert linnix_rec("dump", armed.name, *arguments, "--force").returncode == 0


def listed(linnix_rec: LinnixRec, name: str) -> dict[str, Any]:
    found = json.loads(linnix_rec("armed", "--format", "json").stdout)["armed"]
    (entry,) = (entry for entry in found if entry["name"] == name)
    return dict(entry)


def line_of(linnix_rec: LinnixRec, name: str) -> str:
    (line,) = (line for line in linnix_rec("armed").stdout.splitlines() if line.startswith(f"{name} "))
    return line


def test_armed_says_what_is_pinned_until_it_is_disarmed(armed: Armed, linnix_rec: LinnixRec) -> None:
    armed.rage(150)
    issued = armed.tickets.issued
    entry = listed(linnix_rec, armed.name)
    assert (entry["issued"], entry["ring_slots"], entry["mode"]) == (issued, SLOTS, "pid")
    assert (entry["attached"], entry["capture"], entry["recorded"]) == (3, None, False)
    line = line_of(linnix_rec, armed.name)
    assert line.split()[2:] == ["pid", "4,096", f"{issued:,}", f"{issued // SLOTS}", "armed"]
    ended = linnix_rec("disarm", armed.name)
    assert ended.returncode == 0
    assert f"disarmed {armed.name}: it had given {issued:,} tickets since " in ended.stderr
    assert not is_pinned(armed.name)
    again = linnix_rec("disarm", armed.name)
    assert again.returncode == 2
    assert f"nothing is pinned under '{armed.name}': `linnix-rec armed` lists what is" in again.stderr


def test_a_live_recorder_s_pins_are_not_disarmed_a_dead_one_s_only_when_nothing_is_lost(
    start_linnix_rec: Callable[..., subprocess.Popen[str]],
    start_process: Callable[..., subprocess.Popen[bytes]],
    pin_name: Callable[[], str],
    linnix_rec: LinnixRec,
    read_back: ReadBack,
    tmp_path: Path,
) -> None:
    shell = start_process("/bin/sh", "-c", "while read go; do /bin/true; echo; done")
    assert shell.stdin is not None
    assert shell.stdout is not None
    pin, capture = pin_name(), tmp_path / "a.lrec"
    options = ("--pin", pin, "-p", str(shell.pid), "--ring-slots", "4096", "--segment", "0.05s")
    recorder = start_linnix_rec("record", *options, "-o", capture)
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    for force in ((), ("--force",)):
        refused = linnix_rec("disarm", pin, *force)
        assert refused.returncode == 2
        assert f"'{pin}' is being recorded to {capture}: stop that recorder" in refused.stderr
    assert f"being recorded to {capture}" in line_of(linnix_rec, pin)
    recorder.kill()
    recorder.wait()
    shell.stdin.write(b"go\n")
    shell.stdout.readline()
    entry = listed(linnix_rec, pin)
    unread = entry["unread"]
    assert (entry["recorded"], unread >= 4) == (False, True)  # fork, exec of two, exit
    assert f"its recorder has died: `record --resume {capture}`, {unread} tickets to" in line_of(
        linnix_rec, pin
    )
    refused = linnix_rec("disarm", pin)
    assert refused.returncode == 2
    assert f"{capture} lacks {unread} tickets of '{pin}'" in refused.stderr
    assert linnix_rec("record", "--resume", capture, "-d", "0s").returncode == 0  # as it was advised
    assert read_back(capture).verdict.proven
    assert not is_pinned(pin)


def test_a_dead_recorder_s_pins_are_disarmed_by_force(
    start_linnix_rec: Callable[..., subprocess.Popen[str]],
    pin_name: Callable[[], str],
    linnix_rec: LinnixRec,
    tmp_path: Path,
) -> None:
    pin, capture = pin_name(), tmp_path / "a.lrec"
    recorder = start_linnix_rec("record", "-a", "--pin", pin, "--ring-slots", "4096", "-o", capture)
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    recorder.kill()
    recorder.wait()
    subprocess.run(["/bin/true"], check=True)
    assert linnix_rec("disarm", pin, "--force").returncode == 0
    assert not is_pinned(pin)
    gone = linnix_rec("record", "--resume", capture)
    assert gone.returncode == 125
    assert f"nothing is pinned under '{pin}' any more (disarmed, or the host was booted anew)" in gone.stderr


@pytest.mark.parametrize("missing", ["map-ring", "map-bss", "note"])
def test_pins_that_somebody_tampered_with_are_told_and_can_be_removed(
    armed: Armed, linnix_rec: LinnixRec, tmp_path: Path, missing: str
) -> None:
    (pin_directory(armed.name) / missing).unlink()
    listed = linnix_rec("armed")
    assert (listed.returncode, armed.name in listed.stdout) == (1, True)
    dumped = linnix_rec("dump", armed.name, "-o", tmp_path / "a.lrec")
    assert dumped.returncode != 0
    assert dumped.stderr.startswith("linnix-rec: error: ")
    assert dumped.stderr.count("\n") == 1
    assert not (tmp_path / "a.lrec").exists()
    assert linnix_rec("disarm", armed.name, "--force").returncode == 0
    assert not is_pinned(armed.name)
