"""What a recording keeps of its capabilities, and that nothing else is left to any thread or exec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from linnix_rec.session.privileges import (
    Capability,
    Remaining,
    bypass_needed,
    capabilities_needed_later,
    held_capabilities,
    look_ahead,
)
from tests.conftest import RECORDING_TIMEOUT_SECONDS

CHOWN, OVERRIDE, SEARCH, KILL, SETPCAP, NET_ADMIN, PTRACE, SYS_ADMIN, BPF = Capability
ALL = frozenset(Capability)
NOBODY = 65534


@pytest.mark.parametrize(
    ("remaining", "kept"),
    [
        (Remaining((6, 18)), set()),
        (Remaining((5, 19)), set()),
        (Remaining((5, 18)), {BPF}),
        (Remaining((6, 18), has_command=True), {KILL}),
        (Remaining((6, 18), gives_away=True), {CHOWN, OVERRIDE}),
        (Remaining((6, 18), cgroup2=True), {SEARCH}),
        (Remaining((6, 18), for_directory=OVERRIDE), {OVERRIDE}),
        (Remaining((6, 18), for_modules=SEARCH), {SEARCH}),
        (Remaining((6, 6), connector=True), set()),
        (Remaining((6, 5), connector=True), {NET_ADMIN}),
        (Remaining((6, 18), looks_up_files=True), {PTRACE}),
    ],
)
def test_only_what_is_used_again_is_kept(remaining: Remaining, kept: set[Capability]) -> None:
    needed = capabilities_needed_later(remaining, ALL)
    assert needed.keys() == kept
    assert all(needed.values())


def test_what_is_not_held_is_not_kept() -> None:
    everything = Remaining((5, 15), True, True, True, True, True, OVERRIDE, OVERRIDE)
    assert capabilities_needed_later(everything, {BPF}).keys() == {BPF}
    assert capabilities_needed_later(everything, ()) == {}


def test_before_5_19_cap_sys_admin_stands_in_for_a_cap_bpf_that_is_not_held() -> None:
    assert capabilities_needed_later(Remaining((5, 15)), {SYS_ADMIN, KILL}).keys() == {SYS_ADMIN}


def run(script: str) -> Any:
    """What a script in a process of its own prints, as JSON."""
    prelude = """
        import json, os, subprocess, sys, threading
        from pathlib import Path
        from linnix_rec.session.privileges import *
        def facts(status):
            wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
            lines = dict(line.split(":\\t", 1) for line in status.splitlines() if ":\\t" in line)
            return [int(lines[name], 16) for name in wanted]
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(script)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=RECORDING_TIMEOUT_SECONDS,
    )
    return json.loads(ended.stdout)


@pytest.mark.kernel
def test_no_thread_of_the_libraries_or_of_a_later_one_keeps_a_capability() -> None:
    threads = run("""
        forestall_threads()
        import numpy, pyarrow, pyarrow.compute, pyarrow.parquet
        dropped = drop_privileges([Capability.CAP_KILL])
        assert dropped == Dropped(frozenset([Capability.CAP_KILL]), ()), dropped
        numpy.ones((300, 300)) @ numpy.ones((300, 300))
        pyarrow.parquet.write_table(pyarrow.table({"a": range(100000)}), "/dev/null")
        over = threading.Event()
        later = threading.Thread(target=over.wait)
        later.start()
        found = [facts(path.read_text()) for path in Path("/proc/self/task").glob("*/status")]
        over.set()
        print(json.dumps(found))
    """)
    assert len(threads) >= 2
    kill = 1 << KILL
    assert all(thread == [0, kill, kill, 0, 0, 1] for thread in threads)


@pytest.mark.kernel
def test_a_thread_that_was_started_too_early_is_told() -> None:
    beyond = run("""
        over = threading.Event()
        early = threading.Thread(target=over.wait)
        early.start()
        dropped = drop_privileges(Capability)
        over.set()
        print(json.dumps(dropped.threads_beyond))
    """)
    assert len(beyond) == 1


@pytest.mark.kernel
def test_an_exec_by_root_regains_nothing() -> None:
    after_exec = run("""
        drop_privileges([Capability.CAP_KILL])
        shown = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True).stdout
        print(json.dumps(facts(shown)))
    """)
    assert after_exec == [0, 0, 0, 0, 0, 1]


@pytest.mark.kernel
def test_who_was_forked_before_keeps_everything() -> None:
    before, after = run("""
        before = facts(Path("/proc/self/status").read_text())
        child = subprocess.Popen(["sh", "-c", "read word; cat /proc/self/status"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        drop_privileges([])
        print(json.dumps([before, facts(child.communicate("go\\n")[0])]))
    """)
    assert after == before
    assert after[2] >> SETPCAP & 1


@pytest.mark.kernel
def test_more_can_be_dropped_later_without_cap_setpcap() -> None:
    bounding, left = run("""
        drop_privileges(set(Capability) - {Capability.CAP_SETPCAP})
        bounding = facts(Path("/proc/self/status").read_text())[3]
        dropped = drop_privileges([])
        print(json.dumps([bounding, [list(dropped.kept), held_capabilities() == dropped.kept]]))
    """)
    assert (bounding, left) == (0, [[], True])


@pytest.mark.kernel
def test_the_weakest_capability_that_reaches_a_directory_is_found_by_trying(tmp_path: Path) -> None:
    theirs, ours, gone = tmp_path / "theirs", tmp_path / "ours", tmp_path / "gone"
    theirs.mkdir(mode=0o700)
    ours.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    read, write = os.R_OK | os.X_OK, os.R_OK | os.W_OK | os.X_OK
    held = held_capabilities()
    assert bypass_needed([theirs], write) == OVERRIDE
    assert bypass_needed([ours, theirs], read) == SEARCH
    assert bypass_needed([ours, gone], write) is None
    assert held_capabilities() == held
    (theirs / "file").touch()  # the effective set is as before


@pytest.mark.kernel
def test_a_recording_looks_ahead(tmp_path: Path) -> None:
    capture = tmp_path / "x.lrec"
    capture.mkdir(mode=0o700)
    mine = look_ahead(capture, owner=None, has_command=True, cgroup2=False)
    assert (mine.gives_away, mine.has_command, mine.for_directory) == (False, True, None)
    assert mine.kernel >= (5, 15)
    own = look_ahead(capture, owner=(os.geteuid(), os.getegid()), has_command=False, cgroup2=True)
    assert not own.gives_away
    os.chown(tmp_path, NOBODY, NOBODY)  # there it could not be discarded
    theirs = look_ahead(capture, owner=(NOBODY, NOBODY), has_command=False, cgroup2=True)
    assert (theirs.gives_away, theirs.cgroup2, theirs.for_directory) == (True, True, OVERRIDE)
