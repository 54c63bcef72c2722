"""`record --source`: the same capture through any channel, and what each can't promise is said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from linnix_rec.capture.document import CaptureDocument
from tests.conftest import RECORDING_TIMEOUT_SECONDS
from tests.kernel.conftest import Read

pytestmark = pytest.mark.kernel

BPF_SOURCES = ("sequencer", "ringbuf", "perf")
SOURCES = (*BPF_SOURCES, "connector")

# Started in turn, so that each source has the same to tell.
SCRIPT = "/bin/true; /bin/sh -c 'exit 7'; sleep 0.01 & wait"


def linnix_rec(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linnix_rec", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=RECORDING_TIMEOUT_SECONDS,
    )


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_tells_the_same_lives(
    source: str, tmp_path: Path, read_back: Callable[[Path], Read]
) -> None:
    capture = tmp_path / "x.lrec"
    ended = linnix_rec("record", "--source", source, "-o", capture, "--", "/bin/sh", "-c", SCRIPT)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert "nothing lost" in ended.stderr
    read = read_back(capture)
    assert (read.document.source, read.document.ordered) == (source, source == "sequencer")
    shell = read.of("exec")[0]["tid"]
    children = [row["child_tid"] for row in read.of("fork") if row["tid"] == shell]
    assert len(children) == 3
    exits = {row["tid"]: row["exit_code"] for row in read.of("exit")}
    assert [exits[child] for child in children] == [0, 7, 0]
    assert {row["tid"] for row in read.of("exec")} == {shell, *children}


@pytest.mark.parametrize("source", BPF_SOURCES)
def test_long_arguments_come_whole_through_each_bpf_channel(
    source: str, tmp_path: Path, read_back: Callable[[Path], Read]
) -> None:
    capture = tmp_path / "x.lrec"
    words = [f"word-{number:03}" for number in range(150)]
    linnix_rec("record", "--source", source, "-o", capture, "--", "/bin/true", *words)
    (row,) = read_back(capture).of("exec")
    assert row["argv"] == ["/bin/true", *words]
    assert not row["argv_truncated"]


@pytest.mark.parametrize("source", ["ringbuf", "perf"])
def test_verify_calls_it_causal_and_complete_by_count(source: str, tmp_path: Path) -> None:
    capture = tmp_path / "x.lrec"
    linnix_rec("record", "--source", source, "-o", capture, "--", "/bin/true")
    ended = linnix_rec("verify", capture)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == (
        "causal; complete by the kernel's counts, order not proven: 3 events"
    )


@pytest.mark.parametrize("source", ["ringbuf", "perf"])
def test_what_finds_no_room_is_counted_and_told(
    source: str, tmp_path: Path, programs: Path, read_back: Callable[[Path], Read]
) -> None:
    """A buffer of some 30 records, and a reader that looks once a second."""
    capture = tmp_path / "x.lrec"
    options = ["--source", source, "--size", "4096", "--wakeup", "none", "--poll", "1000"]
    ended = linnix_rec("record", *options, "-o", capture, "--", programs / "vfork_storm", "2000")
    assert ended.returncode == 0
    assert "try a larger --size, or --source sequencer" in ended.stderr
    read = read_back(capture)
    assert read.document.accounts is not None
    assert read.document.accounts.abandoned == sum(row["lost"] or 0 for row in read.rows) > 1000
    assert {row["reason"] for row in read.of("gap")} == {"dropped"}
    assert linnix_rec("verify", capture).returncode == 1
    assert linnix_rec("verify", "--allow-loss", capture).returncode == 0


def test_perf_as_read_is_misordered_and_verify_names_it(tmp_path: Path, programs: Path) -> None:
    """Children that end on another CPU than they were forked on, read buffer after buffer."""
    capture = tmp_path / "x.lrec"
    options = ["--source", "perf", "--merge", "none", "--size", "4M", "--poll", "300"]
    script = 'for i in 0 1 2 3 4 5 6 7 8 9; do "$0" 200 & done; wait'
    linnix_rec("record", *options, "-o", capture, "--", "/bin/sh", "-c", script, programs / "vfork_storm")
    ended = linnix_rec("verify", capture)
    assert ended.returncode == 1
    assert "before its fork" in ended.stdout
    assert "order not proven" not in ended.stdout.splitlines()[-2]


def test_a_shadow_records_the_same_through_another_channel(tmp_path: Path, programs: Path) -> None:
    capture, shadow = tmp_path / "x.lrec", tmp_path / "x.shadow.lrec"
    options = ["--shadow", "ringbuf,size=8M,poll=10", "-o", capture]
    ended = linnix_rec("record", *options, "--", programs / "vfork_storm", "2000")
    assert ended.returncode == 0, ended.stderr
    assert "compare the two: linnix-rec reconcile" in ended.stderr
    document = CaptureDocument.load(shadow / "capture.json")
    assert document.channel is not None
    assert (document.source, document.channel.bytes, document.channel.poll) == ("ringbuf", 8 << 20, "10")
    compared = linnix_rec("reconcile", capture, shadow)
    assert compared.returncode == 0, compared.stdout


def test_a_shadow_that_can_t_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = linnix_rec(
        "record", "--shadow", "ringbuf,size=5000", "-o", tmp_path / "x.lrec", "--", "/bin/true"
    )
    assert ended.returncode == 125
    assert ended.stderr.count("\n") == 1
    assert "the shadow recorder could not begin" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--source", "ringbuf", "--size", "5000"], "power of two"),
        (["--source", "perf", "--size", "5000"], "power of two"),
        (["--source", "perf", "--ring-slots", "1024"], "--ring-slots is the sequencer's"),
        (["--source", "ringbuf", "--pin", "x"], "--pin is the sequencer's"),
        (["--source", "ringbuf", "--merge", "time"], "--merge means nothing to the ringbuf"),
        (["--source", "connector", "--wakeup", "none"], "--wakeup means nothing to the connector"),
        (["--source", "connector", "--prove"], "--source connector has none"),
        (["--poll", "epoll"], "the sequencer wakes nobody"),
        (["--poll", "often"], "'often' is no way to wait"),
        (["--wakeup", "every:0"], "'every:0' is no way to wake"),
        (["--shadow", "pipe"], "'pipe' is no source"),
        (["--shadow", "perf,pages=8"], "take size, wakeup, poll, merge"),
    ],
)
def test_a_request_that_can_t_be_is_refused_in_a_line(tmp_path: Path, options: list[str], said: str) -> None:
    ended = linnix_rec("record", *options, "-o", tmp_path / "x.lrec", "--", "/bin/true")
    assert (ended.returncode, ended.stdout) == (125, "")
    assert ended.stderr.count("\n") == 1
    assert said in ended.stderr
    assert list(tmp_path.iterdir()) == []
