"""CPU time and memory are what the kernel says, of the tool and not of what it traces."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from linnix_rec.bench.usage import Share, cpu_ns, parse_stat, rss_bytes, share, tool_cpu_ns

SMAPS = """\
00400000-00500000 r-xp 00000000 08:02 173521      /usr/bin/python3.11
Rss:                1024 kB
Pss:                 512 kB
7f0000000000-7f0008000000 r--s 00000000 00:0e 1049       anon_inode:bpf-map
Rss:              131072 kB
7f0009000000-7f000a000000 rw-p 00000000 00:00 0
Rss:                 100 kB
"""


def test_a_name_with_parentheses_is_read_whole() -> None:
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    fields = "S 1 77 78 0 -1 4194304 1 2 3 4 5 6 7 9 20 0 1 0 100 0 0"
    stat = parse_stat(f"77 (a) b) ({' '}c) {fields}")
    assert (stat.name, stat.session, stat.reaped_ns) == ("a) b) ( c", 78, 16 * tick_ns)


def test_the_ring_counts_only_if_wanted() -> None:
    assert rss_bytes(SMAPS, with_maps=True) == (1024 + 131072 + 100) << 10
    assert rss_bytes(SMAPS, with_maps=False) == (1024 + 100) << 10


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], Share(0, 0)),
        ([(0, 0)], Share(0, 0)),
        ([(0, 0), (10**9, 10**7), (2 * 10**9, 4 * 10**7)], Share(2.0, 3.0)),
        # A last sample right behind another is no peak.
        ([(0, 0), (10**9, 10**7), (10**9 + 1000, 10**7 + 500)], Share(1.000049, 1.0)),
        ([(0, 0), (1000, 10)], Share(1.0, 1.0)),
    ],
)
def test_a_share_is_of_one_core_s_time(samples: list[tuple[int, int]], expected: Share) -> None:
    found = share(samples)
    assert found.average == pytest.approx(expected.average, abs=1e-6)
    assert found.peak == pytest.approx(expected.peak, abs=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's clocks of other processes")
def test_a_tool_s_time_is_its_own_and_its_namesakes_but_not_its_load_s() -> None:
    # The leader starts a shell that works: another name, so not the tool's.
    code = (
        "import subprocess, sys\n"
        "load = subprocess.Popen(['sh', '-c', 'while :; do :; done'])\n"
        "print(load.pid, flush=True)\n"
        "sys.stdin.read()\nload.kill()\nload.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as tool:  # fmt: skip
        assert tool.stdout is not None
        load = int(tool.stdout.readline())
        while cpu_ns(load) < 50_000_000:
            time.sleep(0.01)
        own, measured = cpu_ns(tool.pid), tool_cpu_ns(tool.pid)
        assert own <= measured < own + cpu_ns(load)
        tool.communicate("")
    assert cpu_ns(tool.pid) == 0
    assert tool_cpu_ns(tool.pid) == 0
