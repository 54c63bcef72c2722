"""The witnesses on a live kernel: what their windows enclose, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from linnix_rec.capture.connector import FILE_NAME
from linnix_rec.capture.document import ConnectorWitness, PerfWitness
from linnix_rec.capture.schema import EXIT, FORK
from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.session import connector_witness, perf_witness
from linnix_rec.session.connector_witness import ConnectorListener
from linnix_rec.session.perf_witness import PerfCounters
from linnix_rec.session.witness import Witnesses
from linnix_rec.sources.cpus import online_cpus

kernel = pytest.mark.kernel


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", {0}), ("0-1\n", {0, 1}), ("0-2,5,7-8\n", {0, 1, 2, 5, 7, 8})]
)
def test_the_kernel_s_list_of_cpus_is_read(text: str, cpus: set[int]) -> None:
    assert online_cpus(text) == cpus


def test_an_unknown_witness_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="there is no witness bystander: take perf or connector"):
        Witnesses(["bystander"])


def test_no_witness_is_none(tmp_path: Path) -> None:
    with Witnesses([]) as witnesses:
        witnesses.after_attach(tmp_path, None)
        witnesses.before_detach()
        assert witnesses.after_detach() == (None, None)
    assert list(tmp_path.iterdir()) == []


def witness_of(folder: Path, *names: str) -> tuple[PerfWitness | None, ConnectorWitness | None]:
    """Two processes before the window, three inside, four behind."""
    with Witnesses(names) as witnesses:
        births(2)
        witnesses.after_attach(folder, None)
        births(3)
        witnesses.before_detach()
        births(4)
        return witnesses.after_detach()


def births(count: int) -> None:
    for _ in range(count):
        subprocess.run(["/bin/true"], check=True)


@kernel
def test_perf_counts_at_least_what_is_inside_and_all_that_is_outside(tmp_path: Path) -> None:
    perf, connector = witness_of(tmp_path, "perf")
    assert connector is None
    assert perf is not None
    assert perf.complete
    assert perf.cpus == len(online_cpus())
    for kind in ("fork", "exec", "exit"):
        assert perf.inner[kind] >= 3
        assert perf.outer[kind] >= perf.inner[kind] + 2 + 4
    assert list(tmp_path.iterdir()) == []


@kernel
def test_the_connector_keeps_what_it_says_from_before_to_behind(tmp_path: Path) -> None:
    perf, connector = witness_of(tmp_path, "connector")
    assert perf is None
    assert connector is not None
    assert (connector.file, connector.lost, connector.overruns) == (FILE_NAME, {}, 0)
    messages = pa.ipc.open_stream((tmp_path / FILE_NAME).read_bytes()).read_all().to_pylist()
    assert len(messages) == connector.rows
    own = [message for message in messages if message["kind"] == FORK and message["tgid"] == os.getpid()]
    children = [message for message in own if message["child_tid"] == message["child_tgid"]]
    inside = [m for m in children if connector.first_boot_ns <= m["boot_ns"] <= connector.end_boot_ns]
    assert (len(inside), len(children)) == (3, 2 + 3 + 4)
    exits = {message["tid"] for message in messages if message["kind"] == EXIT}
    assert exits >= {message["child_tid"] for message in children}


@kernel
def test_both_witnesses_go_together(tmp_path: Path) -> None:
    perf, connector = witness_of(tmp_path, "connector", "perf")
    assert perf is not None
    assert connector is not None
    assert connector.rows >= sum(perf.inner.values())


@kernel
def test_cpus_that_came_or_went_make_the_count_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = PerfCounters()
    counters.after_attach()
    monkeypatch.setattr(perf_witness, "online_cpus", lambda: frozenset({0, 77}))
    counters.before_detach()
    assert not counters.after_detach().complete


@kernel
def test_a_counter_that_stood_still_makes_the_count_incomplete() -> None:
    counters = PerfCounters()
    counters._opened_ns -= 1_000_000_000  # as if a second had passed of which they know nothing
    counters.after_attach()
    counters.before_detach()
    assert not counters.after_detach().complete


@kernel
def test_who_gives_up_leaves_no_file_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with Witnesses(["perf", "connector"]) as witnesses:
        witnesses.after_attach(tmp_path, None)
        births(1)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


@kernel
def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with Witnesses(["connector"]) as witnesses, pytest.raises(RecordingError, match="can't write") as refused:
        witnesses.after_attach(tmp_path / "nowhere", None)
    assert "No such file or directory" in str(refused.value)


@kernel
def test_a_full_disk_ends_the_witness_and_is_told() -> None:
    with Witnesses(["connector"]) as witnesses:
        witnesses._connector._writer = _Full()  # type: ignore[union-attr, assignment]
        births(1)
        witnesses.before_detach()
        with pytest.raises(RecordingError, match="No space left on device"):
            witnesses.after_detach()


class _Full:
    rows = 0

    def write(self, *_: object) -> None:
        raise OSError(28, os.strerror(28))

    def close(self) -> str:
        return ""

    def discard(self) -> None:
        return


@kernel
def test_every_cpu_is_marked_at_the_begin_and_at_the_end(tmp_path: Path) -> None:
    listener = ConnectorListener()
    cpus = set(online_cpus())
    assert set(listener._connector.numbering._last) >= cpus
    before = dict(listener._connector.numbering._last)
    listener.after_attach(tmp_path, None)
    listener.before_detach()
    listener.after_detach()
    after = listener._connector.numbering._last
    assert all(after[cpu] > before[cpu] for cpu in cpus)
    assert listener.remarks == ()


@kernel
def test_a_cpu_that_is_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_witness, "online_cpus", lambda: frozenset({0, 4000}))
    listener = ConnectorListener()
    listener.close()
    assert len(listener.remarks) == 1
    assert listener.remarks[0].startswith("no mark on CPU 4000")


@kernel
def test_the_listening_thread_has_no_capability() -> None:
    listener = ConnectorListener()
    try:
        status = Path(f"/proc/self/task/{listener._thread.native_id}/status").read_text()
    finally:
        listener.close()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert (fields["CapPrm"], fields["NoNewPrivs"]) == ("0" * 16, "1")
    assert fields["Name"] == "connector"


@kernel
def test_a_small_buffer_s_losses_are_told_to_the_last_message(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_witness, "_PAUSE_SECONDS", 0.5)  # it reads too seldom
    listener = ConnectorListener(buffer_bytes=32 << 10)
    listener.after_attach(tmp_path, None)
    subprocess.run([programs / "vfork_storm", "3000"], check=True)
    listener.before_detach()
    witness = listener.after_detach()
    assert witness.overruns >= 1
    assert sum(witness.lost.values()) + witness.rows >= 2 * 3000


@kernel
def test_signals_go_to_others(tmp_path: Path) -> None:
    """The thread waits in poll(2): a signal's handler must run, and nothing be lost."""
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
    try:
        with Witnesses(["connector"]) as witnesses:
            witnesses.after_attach(tmp_path, None)
            os.kill(os.getpid(), signal.SIGUSR1)
            witnesses.before_detach()
            assert witnesses.after_detach()[1] is not None
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught == [signal.SIGUSR1]
