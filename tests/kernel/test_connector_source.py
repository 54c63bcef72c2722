"""The process connector as a source, on the live kernel: lives, trees, storms, losses, and odd execs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from linnix_rec.capture.reader import open_capture
from linnix_rec.proof.causality import CausalCheck
from linnix_rec.proof.inversions import ArrivalCheck
from linnix_rec.sources.connector_source import ConnectorSource
from linnix_rec.sources.redact import Redactor
from tests.conftest import Record
from tests.kernel.conftest import PATIENCE_SECONDS

pytestmark = pytest.mark.kernel

Row = dict[str, Any]
READ = 1 << 14


class Recorded:
    """A source that records one command, by what it gave until the command had ended."""

    def __init__(self, command: Sequence[str | Path], **options: Any) -> None:
        self.batches: list[pa.RecordBatch] = []
        gate_reader, gate = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(gate)
            os.read(gate_reader, 1)
            with contextlib.suppress(OSError):
                os.execv(command[0], [os.fspath(word) for word in command])
            os._exit(127)
        self.pid = child
        pidfd = os.pidfd_open(child)
        try:
            with ConnectorSource(
                time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME), **options
            ) as source:
                self.source = source
                source.attach()
                source.mark(pidfd)
                self.first_listing = source.list_tasks()
                os.close(gate)
                self.read_until_readable(pidfd)
                os.waitpid(child, 0)
                self.live = source.live_tasks()
                self.last_listing = source.list_tasks()
                source.detach()
                while source.lag:
                    self.batches += source.read(READ, final=True)
                assert source.attached == 0
        finally:
            os.close(gate_reader)
            os.close(pidfd)

    def read_until_readable(self, pidfd: int) -> None:
        poll = select.poll()
        for descriptor in (*self.source.descriptors, pidfd):
            poll.register(descriptor, select.POLLIN)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not any(descriptor == pidfd for descriptor, _ in poll.poll(1000)):
            assert time.monotonic() < give_up
            self.batches += self.source.read(READ)

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in batch.to_pylist()]

    def of(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row["kind"] == kind]

    def broken_rules(self) -> list[Any]:
        check = CausalCheck(self.source.attached_boot_ns)
        for batch in self.batches:
            check.feed(batch)
        return [rule for rule in check.results() if rule.violated]


def test_a_process_s_life_is_told_with_its_text() -> None:
    # The exec'd program waits, so that it can be looked at.
    script = 'echo 1 | { read line; exec /bin/sleep "0.2"; }'
    recorded = Recorded(["/bin/sh", "-c", script, "an argument"], tree_only=True)
    assert recorded.broken_rules() == []
    first, *_ = recorded.of("exec")
    assert (first["tid"], first["old_tid"]) == (recorded.pid, recorded.pid)
    last = recorded.of("exec")[-1]
    assert (last["filename"], last["argv"]) == (str(Path("/bin/sleep").resolve()), ["/bin/sleep", "0.2"])
    assert (last["argv_truncated"], last["comm"]) == (False, "sleep")
    end = recorded.rows[-1]
    assert (end["kind"], end["tid"], end["exit_code"], end["last_thread"]) == ("exit", recorded.pid, 0, True)
    assert (end["parent_tid"], end["uid"]) == (os.getpid(), os.getuid())
    starts = {row["start_ns"] for row in recorded.rows if row["tid"] == recorded.pid}
    assert len(starts) == 1
    assert recorded.source.accounts() is None


def test_a_tree_is_followed_and_its_rows_are_numbered_as_they_came() -> None:
    script = "for i in 1 2 3; do (exec /bin/true) & done; wait; (exit 3); exit 4"
    recorded = Recorded(["/bin/sh", "-c", script], tree_only=True)
    assert recorded.broken_rules() == []
    assert Counter(row["kind"] for row in recorded.rows) == {"task": 1, "fork": 4, "exec": 4, "exit": 5}
    assert [row["seq"] for row in recorded.rows] == list(range(len(recorded.rows)))
    assert {row["slots"] for row in recorded.rows} == {1}
    assert sorted(row["exit_code"] for row in recorded.of("exit")) == [0, 0, 0, 3, 4]
    assert {row["tid"] for row in recorded.of("fork")} == {recorded.pid}
    source = recorded.source
    assert (source.events, source.seq, source.issued) == (len(recorded.rows),) * 3
    assert (source.lost, recorded.live, source.strangers) == (0, 0, 0)
    assert recorded.first_listing.end_seq == recorded.first_listing.first_seq + 1


PROGRAMS = {
    "takeover": {"fork": 1, "exec": 2, "exit": 2},
    "takeover_fails": {"fork": 2, "exec": 1, "exit": 3},
    "leader_first": {"fork": 1, "exec": 1, "exit": 2},
    "clone_parent": {"fork": 2, "exec": 1, "exit": 3},
    "vforker": {},
    "posix_spawner": {},
    "odd_names": {"fork": 12, "exec": 13, "exit": 13},
    "pid_reuse": {},
    "thread_storm": {},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_odd_lives_break_no_rule(programs: Path, program: str) -> None:
    recorded = Recorded([programs / program], tree_only=True)
    assert recorded.broken_rules() == []
    counts = Counter(row["kind"] for row in recorded.rows if row["kind"] != "task")
    assert counts == (PROGRAMS[program] or counts)
    assert recorded.source.lost == 0
    assert all(row["start_ns"] for row in recorded.rows if row["kind"] in {"exec", "exit"})
    assert recorded.live == 0


def test_a_takeover_names_the_thread_that_took_over(programs: Path) -> None:
    recorded = Recorded([programs / "takeover"], tree_only=True)
    (fork,) = recorded.of("fork")
    taken = recorded.of("exec")[-1]
    # The leader's exit may be told by the other's id: then it is no takeover by the messages.
    assert taken["old_tid"] in {fork["child_tid"], taken["tid"]}
    assert taken["tid"] == recorded.pid


LIFE = (
    "kind",
    "tid",
    "tgid",
    "parent_tid",
    "parent_tgid",
    "uid",
    "gid",
    "child_tid",
    "child_tgid",
    "old_tid",
)
END = ("exit_code", "exit_signal", "core_dumped", "last_thread")


def test_its_lives_are_those_that_the_sequencer_tells(record: Record, programs: Path, tmp_path: Path) -> None:
    names = ("leader_first", "posix_spawner", "vforker", "odd_names")
    script = "; ".join(
        [*(str(programs / name) for name in names), "(exit 3)", "/bin/sh -c 'kill -9 $$'", ":"]
    )
    inner = tmp_path / "inner.lrec"
    connector = (sys.executable, "-m", "linnix_rec", "record", "--source", "connector", "-o", inner, "--")
    outer = record(*connector, "/bin/sh", "-c", script)
    assert outer.status == 0, outer.stderr
    ours, theirs = (open_capture(path).batches((*LIFE, *END)) for path in (inner, outer.capture))
    mine = [row for batch in ours for row in batch.to_pylist() if row["kind"] != "task"]
    tree = {row["tgid"] for row in mine}
    sequenced = [row for batch in theirs for row in batch.to_pylist() if row["kind"] != "task"]
    beneath = [row for row in sequenced if row["tgid"] in tree]
    assert Counter(map(told, mine)) == Counter(map(told, beneath))


def told(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in (*LIFE, *END))


def test_a_storm_is_recorded_whole_and_in_causal_order(programs: Path) -> None:
    recorded = Recorded([programs / "vfork_storm", "5000"])
    assert recorded.source.lost == 0
    assert recorded.broken_rules() == []
    forks = [row for row in recorded.of("fork") if row["tid"] == recorded.pid]
    assert len(forks) == 5000
    exits = {(row["tid"], row["start_ns"]) for row in recorded.of("exit")}
    assert {(row["child_tid"], row["child_start_ns"]) for row in forks} <= exits


def test_what_found_no_room_is_a_gap_and_blames_nobody(programs: Path) -> None:
    with ConnectorSource(buffer_bytes=64 << 10) as source:
        source.attach()
        source.list_tasks()
        batches: list[pa.RecordBatch] = []
        for _ in range(2):  # nobody reads meanwhile
            subprocess.run([programs / "vfork_storm", "1000"], check=True)
            batches += source.read(READ)
        source.detach()
        while source.lag:
            batches += source.read(READ, final=True)
        assert source.overruns >= 1
        assert source.lost >= 1000
        assert source.looks_again >= 1
        assert source.seq == source.issued
    check = ArrivalCheck(source.attached_boot_ns)
    for batch in batches:
        check.feed(batch)
    assert [rule for rule in check.results() if rule.violated] == []
    gaps = [row for batch in batches for row in batch.to_pylist() if row["kind"] == "gap"]
    assert gaps
    assert {(row["reason"], row["slots"]) for row in gaps} == {("dropped", 0)}
    assert {row["cpu"] for row in gaps} <= set(range(os.cpu_count() or 1))


def test_a_tree_is_found_again_behind_a_loss(programs: Path) -> None:
    """The child that nobody heard of is a member, as /proc says whose it is."""
    storm = f"{programs / 'vfork_storm'} 1000; /bin/sleep 60 & echo; wait"
    with subprocess.Popen(
        ["/bin/sh", "-c", f"read line; {storm}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        try:
            with ConnectorSource(tree_only=True, buffer_bytes=64 << 10) as source:
                source.attach()
                with pidfd_of(shell.pid) as pidfd:
                    source.mark(pidfd)
                source.adopt()
                assert shell.stdin is not None
                assert shell.stdout is not None
                shell.stdin.write(b"\n")
                shell.stdin.close()
                shell.stdout.readline()
                while source.lag:
                    list(source.read(READ))
                assert source.lost > 0
                assert source.live_tasks() == 2
        finally:
            for name in os.listdir(f"/proc/{shell.pid}/task"):
                children = Path(f"/proc/{shell.pid}/task/{name}/children").read_text().split()
                for child in children:
                    os.kill(int(child), signal.SIGKILL)
            shell.kill()


@contextlib.contextmanager
def pidfd_of(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def test_who_was_there_before_is_listed_and_keeps_its_identity() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as elder, ConnectorSource() as source:
        source.attach()
        source.list_tasks()
        rows = [row for batch in source.read(READ) for row in batch.to_pylist()]
        assert elder.stdin is not None
        elder.stdin.close()
        elder.wait()
        source.list_tasks()
        source.detach()
        while source.lag:
            rows += [row for batch in source.read(READ, final=True) for row in batch.to_pylist()]
    told = [row for row in rows if row["tid"] == elder.pid and row["kind"] != "fork"]
    assert [row["kind"] for row in told] == ["task", "exit"]
    assert len({row["start_ns"] for row in told}) == 1
    assert told[0]["start_ns"] < source.attached_boot_ns
    assert (told[0]["comm"], told[0]["parent_tid"], told[0]["exit_state"]) == ("cat", os.getpid(), 0)
    kernel_threads = [row for row in rows if row["kind"] == "task" and (row["task_flags"] or 0) & 0x200000]
    assert 2 in {row["tid"] for row in kernel_threads}  # kthreadd


def test_secrets_are_redacted_and_arguments_left_out() -> None:
    script = "exec /bin/sleep 0.21"
    redacted = Recorded(["/bin/sh", "-c", script], tree_only=True, redact=Redactor(r"0\.21").batch)
    assert all("0.21" not in str(row) for row in redacted.rows)
    assert any("[redacted]" in str(row["argv"]) for row in redacted.of("exec"))
    bare = Recorded(["/bin/sh", "-c", script], tree_only=True, with_argv=False)
    assert {row["argv"] for row in bare.of("exec")} == {None}
    assert bare.of("exec")[-1]["filename"] == str(Path("/bin/sleep").resolve())


def test_its_channel_says_how_large_it_is() -> None:
    with ConnectorSource(buffer_bytes=1 << 20) as source:
        assert source.channel is not None
        assert (source.channel.buffers, source.channel.bytes) == (1, 2 << 20)
        assert (source.name, source.ordered, source.lag, source.seq) == ("connector", False, 0, 0)


def test_another_network_namespace_is_one_clear_line() -> None:
    script = (
        "from linnix_rec.sources.connector_source import ConnectorSource\n"
        "with ConnectorSource() as source: source.attach()"
    )
    ended = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "RecordingError: the kernel refused to let us listen" in ended.stderr
    assert "--witness" not in ended.stderr
