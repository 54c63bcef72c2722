"""What is pinned has one name, one recorder, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.errors import UsageError
from linnix_rec.sources.pinned import ROOM, pin_directory
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.faults.pinned import is_pinned
from tests.kernel.conftest import Read, has_begun, wait_until

pytestmark = pytest.mark.kernel

Process = subprocess.Popen[str]
Start = Callable[..., Process]
PinName = Callable[[], str]
STRUCK = str(Path(__file__).parent.parent / "faults" / "struck.py")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "a b", "n" * 65, "\u00e9", "a\n", "a~"])
def test_what_can_t_be_a_name_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="can't be a pin's name: take up to 64 letters, digits, - and _"):
        pin_directory(name)


@pytest.mark.parametrize("command", ["arm", "record", "dump", "disarm"])
def test_every_command_refuses_what_can_t_be_a_name(linnix_rec: Any, command: str, tmp_path: Path) -> None:
    arguments = ("-a", "--pin", "../a", "-o", tmp_path / "a.lrec") if command == "record" else ("../a",)
    refused = linnix_rec(command, *arguments)
    assert refused.returncode == (125 if command == "record" else 2)
    assert refused.stderr == (
        "linnix-rec: error: '../a' can't be a pin's name: take up to 64 letters, digits, - and _\n"
    )
    assert not (tmp_path / "a.lrec").exists()


def test_a_name_is_pinned_once(
    start_linnix_rec: Start,
    linnix_rec: Any,
    pin_name: PinName,
    proven: Callable[[Path], Read],
    tmp_path: Path,
) -> None:
    pin, capture = pin_name(), tmp_path / "a.lrec"
    recorder = start_linnix_rec("record", "-a", "--pin", pin, "--ring-slots", "65536", "-o", capture)
    wait_until(lambda: has_begun(capture), "for the recording to begin")
    recorded_again = ("record", "-a", "--pin", pin, "-o", tmp_path / "b.lrec")
    for arguments, status in ((recorded_again, 125), (("arm", pin), 2)):
        refused = linnix_rec(*arguments)
        assert refused.returncode == status
        assert f"'{pin}' is pinned already: `linnix-rec armed` shows what it is" in refused.stderr
    assert not (tmp_path / "b.lrec").exists()
    refused = linnix_rec("record", "--resume", capture)
    assert (refused.returncode, "is being recorded: stop that recorder" in refused.stderr) == (125, True)
    refused = linnix_rec("record", "-a", "--pin", pin, "--take-up", "-o", tmp_path / "c.lrec")
    assert (refused.returncode, "is being recorded: stop that recorder" in refused.stderr) == (125, True)
    recorder.send_signal(signal.SIGINT)
    assert recorder.wait(60) == 0
    proven(capture)
    assert not is_pinned(pin)


def test_only_root_sees_what_is_pinned(linnix_rec: Any, pin_name: PinName) -> None:
    pin = pin_name()
    assert linnix_rec("arm", pin, "--ring-slots", "1024").returncode == 0
    assert [path.stat().st_mode & 0o777 for path in (ROOM, pin_directory(pin))] == [0o700, 0o700]
    assert linnix_rec("disarm", pin).returncode == 0


def test_a_recorder_killed_as_it_pins_leaves_nothing_that_stands_in_the_way(
    start_linnix_rec: Start, linnix_rec: Any, pin_name: PinName, tmp_path: Path
) -> None:
    pin, capture = pin_name(), tmp_path / "a.lrec"
    struck = ("KILL", "linnix_rec.bpf.pins:_rename_new", "1", "record", "-a", "--pin", pin, "-o", capture)
    dying = start_linnix_rec(*struck, "--ring-slots", "1024", by=[STRUCK])
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    staged = pin_directory(pin).with_name(f"{pin}~")
    assert (staged.exists(), is_pinned(pin)) == (True, False)
    listed = linnix_rec("armed")
    assert (listed.returncode, f"'{pin}' is half pinned" in listed.stdout) == (1, True)
    refused = linnix_rec("record", "--resume", capture)
    assert (refused.returncode, f"'{pin}' is half pinned" in refused.stderr) == (125, True)
    again = linnix_rec(
        "record", "-a", "-d0.1s", "--pin", pin, "--force", "-o", capture, "--ring-slots", "1024"
    )
    assert again.returncode == 0
    assert not staged.exists()


def test_what_is_half_pinned_is_disarmed(linnix_rec: Any, pin_name: PinName) -> None:
    pin = pin_name()
    assert linnix_rec("arm", pin, "--ring-slots", "1024").returncode == 0
    pin_directory(pin).rename(pin_directory(pin).with_name(f"{pin}~"))
    assert linnix_rec("disarm", pin).returncode == 0
    assert not pin_directory(pin).with_name(f"{pin}~").exists()


def test_a_recorder_that_can_t_begin_leaves_no_pins(
    linnix_rec: Any, start_linnix_rec: Start, pin_name: PinName, tmp_path: Path
) -> None:
    """It fails between pinning and the listing of the tasks."""
    pin, capture = pin_name(), tmp_path / "a.lrec"
    listing = "linnix_rec.sources.sequencer:SequencerSource.list_tasks"
    failing = start_linnix_rec(
        *("EIO", listing, "1", "record", "--pin", pin, "-o", capture, "--", "touch", tmp_path / "started"),
        by=[STRUCK],
    )
    failing.communicate()
    assert failing.returncode == 125
    assert not is_pinned(pin)
    assert not capture.exists()
    assert not (tmp_path / "started").exists()


# ---- Where bpffs is not mounted, in a mount namespace of its own ----------------------------------------


def without_bpffs(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a shell's script, with `$0` for the interpreter."""
    unshare = ("unshare", "-m", "--propagation", "private", "/bin/sh", "-c")
    return subprocess.run(
        [*unshare, f"umount -a -t bpf && {script}", sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=RECORDING_TIMEOUT_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_bpffs_is_mounted_where_it_is_missing(pin_name: PinName) -> None:
    arm = '"$0" -m linnix_rec arm "$1" --ring-slots 1024'
    look = 'stat -f -c %T /sys/fs/bpf && stat -c %a /sys/fs/bpf /sys/fs/bpf/linnix-rec/"$1"'
    ended = without_bpffs(f"{arm} && {look}", pin_name())
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["bpf_fs", "1700", "700"]


@pytest.mark.parametrize("command", ["dump", "disarm"])
def test_without_bpffs_nothing_is_pinned(command: str) -> None:
    ended = without_bpffs('exec "$0" -m linnix_rec "$1" nobody', command)
    assert ended.returncode == 2
    assert ended.stderr == (
        "linnix-rec: error: nothing is pinned under 'nobody': `linnix-rec armed` lists what is\n"
    )


def test_without_bpffs_armed_lists_nothing() -> None:
    ended = without_bpffs('exec "$0" -m linnix_rec armed')
    assert (ended.returncode, ended.stderr) == (0, "linnix-rec: nothing is armed, and nothing pinned\n")


def test_a_recorder_that_may_not_mount_bpffs_says_so(pin_name: PinName, tmp_path: Path) -> None:
    """Without CAP_SYS_ADMIN, that is; the rest of recording would work."""
    capture = tmp_path / "a.lrec"
    lowered = "setpriv --bounding-set $2 --inh-caps $2"
    capabilities = "-all,+bpf,+perfmon,+dac_override,+dac_read_search"
    script = f'exec {lowered} "$0" -m linnix_rec record -a --pin "$1" -o "$3"'
    ended = without_bpffs(script, pin_name(), capabilities, capture)
    assert ended.returncode == 125
    assert ended.stderr == (
        "linnix-rec: error: /sys/fs/bpf is not mounted, and can't be: Operation not permitted;"
        " ask root for `mount -t bpf bpf /sys/fs/bpf`\n"
    )
    assert not capture.exists()
