"""A storm is as large as was asked for, and counted by the kernel."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from linnix_rec.bench.storm import Storm, Workers, parse, shares


def test_shares_are_even_and_make_all_forks() -> None:
    assert shares(10, 4) == [3, 3, 2, 2]
    assert shares(3, 5) == [1, 1, 1, 0, 0]
    assert sum(shares(50_000, 32)) == 50_000


def test_a_storm_s_events_are_of_all_kinds_and_its_time_is_in_seconds() -> None:
    storm = parse(
        '{"made": {"fork": 5, "exec": 1, "exit": 4}, "complete": true,'
        ' "begin_boot_ns": 1000000000, "end_boot_ns": 3500000000}'
    )
    assert storm == Storm({"fork": 5, "exec": 1, "exit": 4}, True, 1_000_000_000, 3_500_000_000)
    assert (storm.events, storm.seconds) == (10, 2.5)


@pytest.mark.parametrize("text", ["", "[1]", '{"made": {}}', "so"])
def test_what_is_no_storm_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


@pytest.mark.kernel
def test_the_kernel_counts_each_fork_and_exit_of_the_workers() -> None:
    ended = run("--workers", "3", "--forks", "200")
    assert ended.stderr == ""
    storm = parse(ended.stdout)
    assert storm.complete
    # The workers themselves end in the storm, too; others may be busy on this host.
    assert storm.made["fork"] >= 200
    assert storm.made["exit"] >= 203
    assert storm.end_boot_ns > storm.begin_boot_ns


@pytest.mark.kernel
def test_any_command_may_be_the_load_and_its_failure_is_said() -> None:
    assert parse(run("true").stdout).made["exec"] >= 1
    failed = run("false")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "error: the load failed: false ended with status 1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="processes of Linux")
def test_workers_that_nobody_lets_go_end_without_a_fork() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        status = 1
        try:
            Workers(2, 1000)  # each holds the pipe's end
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    assert os.waitpid(parent, 0)[1] == 0
    assert os.read(reading, 1) == b""
    os.close(reading)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "linnix_rec.bench.storm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
