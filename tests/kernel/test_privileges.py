"""A recorder keeps of its capabilities what it uses again, its command all; two are enough to record."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import linnix_rec
from linnix_rec.bpf.host import kernel_version
from linnix_rec.session.cgroups import cgroup2_mount
from linnix_rec.session.privileges import Remaining, capabilities_needed_later, held_capabilities
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.kernel.conftest import Read, Recorder, some_events, wait_until
from tests.kernel.test_refusals import open_folder

__all__ = ["open_folder"]

pytestmark = pytest.mark.kernel

Proven = Callable[[Path], Read]
NOBODY = 65534
LEAST = "+bpf,+perfmon"

# Only `$1` on the way to the paths up to `--` keeps others out: in a mount namespace of its own, it does not.
OPENED = """
blocked=$1 behind=$(mktemp -d); shift
mount --rbind "$blocked" "$behind"
mount -t tmpfs -o mode=755 tmpfs "$blocked"
while [ "$1" != -- ]; do
    mkdir -p "$1"
    mount --bind "$behind${1#"$blocked"}" "$1"
    shift
done
umount -l "$behind"
rmdir "$behind"
shift
exec "$@"
"""


def blocked_for_others(path: Path) -> Path | None:
    """The folder on the way to `path`, or itself, that others may not enter."""
    way = [*reversed(path.parents), path]
    return next((folder for folder in way if not folder.stat().st_mode & stat.S_IXOTH), None)


def nobody(capabilities: str, *arguments: str | Path) -> list[str | Path]:
    """The command line that runs linnix-rec as nobody, with these capabilities and no others."""
    project = Path(linnix_rec.__file__).parents[1]
    needed = dict.fromkeys(Path(path).resolve() for path in (sys.base_prefix, sys.prefix, project))
    blocked = {folder: blocked_for_others(folder) for folder in needed}
    opened: list[str | Path] = []
    for obstacle in sorted({obstacle for obstacle in blocked.values() if obstacle is not None}):
        behind = [folder for folder in needed if blocked[folder] == obstacle]
        opened += ["unshare", "--mount", "sh", "-ec", OPENED, "sh", obstacle, *behind, "--"]
    sets = [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *sets]
    return [*opened, *as_nobody, "--", sys.executable, "-m", "linnix_rec", *arguments]


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=RECORDING_TIMEOUT_SECONDS,
    )


def privileges(status: Path) -> tuple[int, int, int, int]:
    """Permitted, bounding and ambient set, and no_new_privs, of a /proc/PID/status."""
    fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
    permitted, bounding, ambient = (int(fields[name], 16) for name in ("CapPrm", "CapBnd", "CapAmb"))
    return permitted, bounding, ambient, int(fields["NoNewPrivs"])


def kept_by(recorder: Recorder) -> set[tuple[int, int, int, int]]:
    """The privileges of its threads."""
    return {privileges(path) for path in Path(f"/proc/{recorder.process.pid}/task").glob("*/status")}


def used_again(*, has_command: bool = False, connector: bool = False) -> int:
    """A mask of what such a recording of root's, in a folder of root's, uses on this kernel."""
    version = kernel_version(platform.release()) or (0, 0)
    later = Remaining(
        version, has_command=has_command, connector=connector, cgroup2=cgroup2_mount() is not None
    )
    return sum(1 << capability for capability in capabilities_needed_later(later, held_capabilities()))


@pytest.mark.parametrize(
    "options", [[], ["--prove", "--witness", "perf"], ["--witness", "connector"]], ids=" ".join
)
def test_no_thread_of_a_recorder_keeps_more_than_it_uses(
    start_recorder: Callable[..., Recorder], proven: Proven, options: list[str]
) -> None:
    recorder = start_recorder("-a", *options)
    recorder.wait_for_recording()
    threads = Path(f"/proc/{recorder.process.pid}/task")
    wait_until(lambda: len(list(threads.iterdir())) > 1, "for the writer's thread")
    kept, connector = kept_by(recorder), "connector" in options
    connector_s = {(0, 0, 0, 1)} if connector else set()
    assert kept == {(used_again(connector=connector), 0, 0, 1)} | connector_s
    recorder.process.send_signal(signal.SIGTERM)
    status, complaint = recorder.end()
    assert (status, "capabilit" in complaint) == (0, False), complaint
    proven(recorder.capture)


def test_a_command_keeps_what_its_recorder_drops(
    start_recorder: Callable[..., Recorder], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = f"cat /proc/self/status > {seen}.part; mv {seen}.part {seen}; exec sleep 60"
    recorder = start_recorder("--", "sh", "-c", script)
    wait_until(seen.exists, "for the command to look at itself")
    assert privileges(seen) == privileges(Path("/proc/self/status"))
    assert kept_by(recorder) == {(used_again(has_command=True), 0, 0, 1)}
    recorder.process.send_signal(signal.SIGTERM)
    assert recorder.end()[0] == -signal.SIGTERM


def test_signals_reach_a_command_of_another_user(start_recorder: Callable[..., Recorder]) -> None:
    recorder = start_recorder("-u", str(NOBODY), "--", "sleep", "60")
    recorder.wait_for_recording()
    wait_until(lambda: "sleep" in children_of(recorder), "for the command to run")
    recorder.process.send_signal(signal.SIGTERM)
    assert recorder.end()[0] == -signal.SIGTERM


def children_of(recorder: Recorder) -> list[str]:
    pid = recorder.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in children]


def test_each_segment_is_given_to_whom_the_capture_belongs(
    start_recorder: Callable[..., Recorder], proven: Proven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that is theirs alone, and for segments that were begun long after the privileges went."""
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))
    os.chown(tmp_path, NOBODY, NOBODY)
    recorder = start_recorder("-a", "--segment", "0.2s")
    recorder.wait_for_recording()
    closed = recorder.capture.glob
    wait_until(lambda: len(list(closed("*.parquet"))) >= 2, "for a second segment", meanwhile=some_events)
    recorder.process.send_signal(signal.SIGTERM)
    assert recorder.end()[0] == 0
    proven(recorder.capture)
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in recorder.capture.iterdir()}
    assert owners == {(NOBODY, NOBODY)}


def test_cap_bpf_and_cap_perfmon_are_enough_for_a_command_s_tree(open_folder: Path, proven: Proven) -> None:
    capture = open_folder / "x.lrec"
    ended = run(nobody(LEAST, "record", "-o", capture, "--", "sh", "-c", "id -u; /bin/true"))
    assert (ended.returncode, ended.stdout) == (0, f"{NOBODY}\n"), ended.stderr
    assert {row["uid"] for row in proven(capture).of("exec")} == {NOBODY}
    assert capture.stat().st_uid == NOBODY


def test_cap_bpf_and_cap_perfmon_are_enough_for_the_whole_host(open_folder: Path, proven: Proven) -> None:
    capture = open_folder / "x.lrec"
    ended = run(nobody(LEAST, "record", "-a", "-o", capture, "--", "/bin/true"))
    assert ended.returncode == 0, ended.stderr
    assert {row["uid"] for row in proven(capture).of("task")} >= {0}


@pytest.mark.parametrize("one", ["+bpf", "+perfmon"])
def test_one_of_the_two_is_not_enough(open_folder: Path, one: str) -> None:
    refused = run(nobody(one, "record", "-o", open_folder / "x.lrec", "--", "/bin/true"))
    assert refused.returncode == 125
    assert refused.stderr.count("\n") == 1
    assert "CAP_BPF and CAP_PERFMON" in refused.stderr
    assert list(open_folder.iterdir()) == []


def test_a_set_user_id_program_works_in_a_recorded_command(open_folder: Path) -> None:
    program = open_folder / "id"
    shutil.copy(shutil.which("id") or "/usr/bin/id", program)
    program.chmod(0o4755)
    ended = run(nobody(LEAST, "record", "-q", "-o", open_folder / "x.lrec", "--", program, "-u"))
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A new control group of the version 2 hierarchy."""
    mount = cgroup2_mount()
    if mount is None:
        pytest.skip("no cgroup2 file system is mounted")
    group = Path(mount) / f"linnix-rec-test-{os.getpid()}"
    group.mkdir()
    yield group
    group.rmdir()


def test_a_cgroup_is_still_found_by_its_id(record: Any, proven: Proven, cgroup: Path) -> None:
    capture = proven(record("/bin/sh", "-c", f"echo $$ > {cgroup}/cgroup.procs; /bin/true").capture)
    ids = {row["cgroup_id"] for row in capture.of("exec") if row["filename"] == "/bin/true"}
    assert [capture.document.cgroups[str(cgroup_id)] for cgroup_id in ids] == [f"/{cgroup.name}"]


def test_a_capture_of_nothing_is_discarded_from_another_user_s_folder(record: Any, tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    tmp_path.chmod(0o700)
    refused = record("/etc/passwd")
    assert (refused.status, refused.capture.exists()) == (126, False)
    assert "can't run '/etc/passwd': Permission denied" in refused.stderr


@pytest.mark.parametrize(
    ("option", "missing"), [(["--prove"], "CAP_SYS_ADMIN"), (["--witness", "perf"], "tracefs")]
)
def test_an_option_that_needs_more_says_what(open_folder: Path, option: list[str], missing: str) -> None:
    refused = run(nobody(LEAST, "record", *option, "-o", open_folder / "x.lrec", "--", "/bin/true"))
    assert (refused.returncode, refused.stderr.count("\n")) == (125, 1)
    assert missing in refused.stderr
    assert list(open_folder.iterdir()) == []


def test_to_pin_a_folder_of_one_s_own_in_bpffs_is_enough(open_folder: Path, proven: Proven) -> None:
    """And at the end, when nothing else is held, the pins are taken away again."""
    pins, left = "/sys/fs/bpf/linnix-rec", open_folder / "left"
    own = f"mount -t bpf bpf /sys/fs/bpf; mkdir {pins}; chown {NOBODY} {pins}; chmod 711 /sys/fs/bpf"
    capture = open_folder / "x.lrec"
    record = nobody(LEAST, "record", "-q", "--pin", "test", "-o", capture, "--", "/bin/true")
    ended = run(["unshare", "--mount", "sh", "-ec", f'{own}; "$@"; ls {pins} > {left}', "sh", *record])
    assert ended.returncode == 0, ended.stderr
    assert left.read_text() == ""
    assert proven(capture).document.pin == "test"
