"""What is read of /proc: a stat file with any name in it, who is there, and what runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from linnix_rec.capture.text import decode_bytes
from linnix_rec.sources import connector_proc
from linnix_rec.sources.connector_lives import NO_ID, Entry
from linnix_rec.sources.connector_proc import TICK_NS, Usage, arguments_of, task_of
from linnix_rec.sources.cpus import online_cpus

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")

#: proc_pid_stat(5): 52 fields; the third is the state.
REST = "7 8 9 0 -1 {flags} 11 12 13 14 15 16 17 18 20 0 1 0 2500 0 0"


def wait_for_line(child: subprocess.Popen[bytes]) -> None:
    """Its exec has gone all the way then."""
    assert child.stdout is not None
    assert child.stdout.readline() == b"\n"


def stat(name: bytes, state: str = "S", flags: int = 0) -> bytes:
    return b"42 (" + name + b") " + f"{state} {REST.format(flags=flags)}\n".encode()


def test_a_task_is_read_from_its_stat() -> None:
    found = task_of(stat(b"bash", flags=0x400004), 42, 41, 1000, 100)
    assert found.entry == Entry(42, 41, 2500 * TICK_NS, 7, 1000, 100, "bash", is_dead=False)
    assert found.usage == Usage(0, 4, 15 * TICK_NS, 16 * TICK_NS, 11, 13)


@pytest.mark.parametrize("name", [b") R 1 2 (", b"", b"a\nb", b"\xff\xfe", b"((", b"))"])
def test_a_name_may_hold_anything(name: bytes) -> None:
    found = task_of(stat(name), 42, 42, 0, 0)
    assert found.entry.comm == decode_bytes(name)
    assert found.entry.parent_tgid == 7


@pytest.mark.parametrize(("state", "exit_state"), [("Z", 32), ("X", 16)])
def test_a_zombie_is_dead(state: str, exit_state: int) -> None:
    found = task_of(stat(b"gone", state), 42, 42, 0, 0)
    assert (found.entry.is_dead, found.usage.exit_state) == (True, exit_state)


def test_arguments_end_with_nul_but_the_last_of_those_cut() -> None:
    assert arguments_of(b"a\0\0b c\0") == ["a", "", "b c"]
    assert arguments_of(b"a\0cut her") == ["a", "cut her"]
    assert arguments_of(b"\0") == [""]


def test_cpus_are_listed_by_stretches() -> None:
    assert online_cpus("0-2,5,7-8\n") == {0, 1, 2, 5, 7, 8}


@linux_only
def test_this_process_is_found_with_who_owns_it() -> None:
    mine = [found.entry for found in connector_proc.walk() if found.entry.tid == os.getpid()]
    assert [(entry.tgid, entry.parent_tgid, entry.uid, entry.gid) for entry in mine] == [
        (os.getpid(), os.getppid(), os.getuid(), os.getgid())
    ]
    assert connector_proc.is_there(os.getpid())


@linux_only
def test_what_runs_is_the_file_itself_with_its_arguments(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho\nread line\n")
    script.chmod(0o755)
    with subprocess.Popen([script, "an argument"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        wait_for_line(child)
        text = connector_proc.read_exec(child.pid, with_argv=True)
        bare = connector_proc.read_exec(child.pid, with_argv=False)
        child.communicate(b"\n")
    assert text is not None
    assert text.filename == str(Path("/bin/sh").resolve())
    assert text.argv == ["/bin/sh", str(script), "an argument"]
    assert (text.cut, text.comm) == (False, "script")
    assert bare is not None
    assert (bare.filename, bare.argv, bare.cut) == (text.filename, None, False)


@linux_only
def test_long_arguments_are_cut() -> None:
    command = ["/bin/sh", "-c", "echo; read line", "x" * 5000]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        wait_for_line(child)
        text = connector_proc.read_exec(child.pid, with_argv=True)
        child.communicate(b"\n")
    assert text is not None
    assert text.argv is not None
    assert text.cut
    assert len("\0".join(text.argv)) == connector_proc.ARGV_BYTES


@linux_only
def test_who_is_gone_is_not_read() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert connector_proc.read_exec(child.pid, with_argv=True) is None
    assert not connector_proc.is_there(child.pid)


@linux_only
def test_a_pidfd_names_its_process() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        assert connector_proc.pid_of(pidfd) == os.getpid()
    finally:
        os.close(pidfd)
    assert connector_proc.pid_of(pidfd) == -1


def test_a_process_without_status_has_no_known_user() -> None:
    assert connector_proc._real_id(None, b"\nUid:") == NO_ID
    assert connector_proc._real_id(b"Name:\tx\nUid:\t7\t8\t9\t10\nGid:\t1\t2\t3\t4\n", b"\nUid:") == 7
