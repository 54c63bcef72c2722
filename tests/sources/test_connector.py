"""The process connector for real: beside pyroute2's own socket, in a storm, with odd names, with no room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.errors import RecordingError
from linnix_rec.sources.connector import ProcessConnector
from linnix_rec.sources.connector_messages import KEPT, Heard, Rows, cn_proc
from tests.kernel.conftest import wait_until

pytestmark = pytest.mark.kernel

Spoken = tuple[int, int, int]

# pyroute2's own socket, in a process of its own as it leaves its event loop open: listens until the process
# whose number it is told has ended, and tells all that it heard.
ORACLE = """
import json, sys
from pyroute2.netlink.connector import cn_proc
socket = cn_proc.ProcEventSocket()
socket.setsockopt(1, 33, 64 << 20)  # SOL_SOCKET, SO_RCVBUFFORCE: the host may be busy
socket.bind()
socket.control(listen=True)
print("listening", flush=True)
last, told = int(sys.stdin.readline()), []
wanted = ("what", "parent_pid", "child_pid", "child_tgid", "process_pid", "process_tgid", "exit_code")
while not any(m["what"] == cn_proc.PROC_EVENT_EXIT and m["process_pid"] == last for m in told):
    told += [{name: m[name] for name in wanted if name in m} for m in map(dict, socket.get())]
print(json.dumps(told), flush=True)
"""


def rows_of(heard: list[Heard]) -> Rows:
    return np.concatenate([np.zeros(0, KEPT), *(some.events for some in heard)])


def spoken(rows: Rows) -> Counter[Spoken]:
    """(kind, tid, tgid) of whom each message is about."""
    is_fork = rows["kind"] == FORK
    tids = np.where(is_fork, rows["child_tid"], rows["tid"])
    tgids = np.where(is_fork, rows["child_tgid"], rows["tgid"])
    return Counter(zip(rows["kind"].tolist(), tids.tolist(), tgids.tolist(), strict=True))


def oracle_of(messages: list[dict[str, int]]) -> Counter[Spoken]:
    """The same of messages as pyroute2 decodes them."""
    constants = cn_proc()
    kinds = {
        constants.PROC_EVENT_FORK: FORK,
        constants.PROC_EVENT_EXEC: EXEC,
        constants.PROC_EVENT_EXIT: EXIT,
    }
    found: Counter[Spoken] = Counter()
    for told in messages:
        kind = kinds.get(told["what"])
        if kind is not None:
            who = "child" if kind == FORK else "process"
            found[kind, told[f"{who}_pid"], told[f"{who}_tgid"]] += 1
    return found


def test_what_pyroute2_hears_is_heard() -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/sh -c '/bin/true; exit 3'; done"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ORACLE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as oracle:
        assert oracle.stdin is not None
        assert oracle.stdout is not None
        assert oracle.stdout.readline() == "listening\n"
        with ProcessConnector() as ours:
            heard = ours.listen()
            with subprocess.Popen(["/bin/sh", "-c", script]) as load:
                oracle.stdin.write(f"{load.pid}\n")
                oracle.stdin.close()
            told: list[dict[str, int]] = json.loads(oracle.stdout.readline())
            heard += list(ours.receive())
            assert (ours.overruns, ours.numbering.lost, ours.refused) == (0, {}, 0)
    mine, theirs = spoken(rows_of(heard)), oracle_of(told)
    # Others of the host may have come or gone before the one began to listen, or after the other had ended.
    tree = {load.pid}
    for message in (message for message in told if message["what"] == cn_proc().PROC_EVENT_FORK):
        if message["parent_pid"] in tree:
            tree.add(message["child_pid"])
    assert len(tree) == 1 + 10 * 2

    def of_tree(found: Counter[Spoken]) -> Counter[Spoken]:
        return Counter({key: count for key, count in found.items() if key[1] in tree})

    assert of_tree(mine) == of_tree(theirs)
    assert sum(of_tree(mine).values()) == 3 * len(tree)
    statuses = {message["exit_code"] for message in told if message["what"] == cn_proc().PROC_EVENT_EXIT}
    assert statuses >= {0, 3 << 8}
    rows = rows_of(heard)
    exits = rows[(rows["kind"] == EXIT) & np.isin(rows["tid"], list(tree))]
    assert Counter(exits["exit_status"].tolist()) == {0: 10, 3 << 8: 11}


def test_a_storm_is_heard_whole(programs: Path) -> None:
    with ProcessConnector() as ours:
        heard = ours.listen()
        with subprocess.Popen([programs / "vfork_storm", "20000"]) as storm:
            while storm.poll() is None:
                ours.wait(0.05)
                heard += list(ours.receive())
        heard += list(ours.receive())
        assert (ours.overruns, ours.numbering.lost, ours.refused) == (0, {}, 0)
    rows = rows_of(heard)
    children = rows[(rows["kind"] == FORK) & (rows["tid"] == storm.pid)]["child_tid"]
    assert len(children) == 20000
    exits = Counter(rows[rows["kind"] == EXIT]["tid"].tolist())
    assert sum(exits[child] for child in set(children.tolist())) >= 20000


def test_a_full_buffer_is_told_as_the_connector_s_loss(programs: Path) -> None:
    with ProcessConnector(buffer_bytes=64 << 10) as ours:
        heard = ours.listen()
        for _ in range(2):  # nobody reads meanwhile
            subprocess.run([programs / "vfork_storm", "2000"], check=True)
            heard += list(ours.receive())

        def all_is_told() -> bool:
            for cpu in os.sched_getaffinity(0):  # a hole is seen when that CPU's next message is heard
                subprocess.run(["taskset", "--cpu-list", str(cpu), "/bin/true"], check=True)
                heard.extend(ours.receive())
            # Fork and exit of each child.
            return sum(ours.numbering.lost.values()) + len(rows_of(heard)) >= 2 * 2 * 2000

        wait_until(all_is_told, "for every loss to be told")
        assert ours.overruns >= 2
    assert len(rows_of(heard)) >= 100


def test_a_name_that_is_no_text_does_no_harm() -> None:
    rename = (
        "import ctypes; ctypes.CDLL(None).prctl(15, b'\\xff\\xfe', 0, 0, 0);"
        "open('/proc/self/comm', 'wb').write(b'\\xff\\xfe\\x1b[31m')"
    )
    with ProcessConnector() as ours:
        heard = ours.listen()
        child = subprocess.Popen([sys.executable, "-c", rename])
        child.wait()
        heard += list(ours.receive())
        assert (ours.refused, ours.numbering.lost) == (0, {})
    assert any(tid == child.pid for some in heard for _, tid in some.renamed)
    assert spoken(rows_of(heard))[EXIT, child.pid, child.pid] == 1


def test_a_kernel_that_does_not_answer_is_told() -> None:
    script = (
        "from linnix_rec.sources import connector; connector._ANSWER_SECONDS = 0.5;"
        "connector.ProcessConnector().listen()"
    )
    ended = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "RecordingError: the kernel's process connector does not answer" in ended.stderr


def test_another_network_namespace_is_told() -> None:
    script = "from linnix_rec.sources import connector; connector.ProcessConnector().listen()"
    ended = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "RecordingError: the kernel refused to let us listen" in ended.stderr
    assert "network namespace" in ended.stderr


def test_a_stranger_can_not_listen_before_he_may() -> None:
    """Without CAP_NET_ADMIN: refused before Linux 6.6, and from then on with a smaller buffer."""
    script = (
        "from linnix_rec.sources.connector import ProcessConnector\n"
        "with ProcessConnector() as ours:\n ours.listen(); print(ours.remark)"
    )
    ended = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        assert "CAP_NET_ADMIN" in ended.stderr
    else:
        assert "receive buffer is" in ended.stdout
        assert "net.core.rmem_max" in ended.stdout


def test_an_unknown_error_is_one_line() -> None:
    with ProcessConnector() as ours:
        ours.listen()
        ours.close()
        with pytest.raises(RecordingError, match="reading the process connector failed"):
            list(ours.receive())
