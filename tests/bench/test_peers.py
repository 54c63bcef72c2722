"""Of each tracer's output, the storm's events are counted, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnix_rec.bench import peers
from linnix_rec.bench.peers import OURS, Peer, Told, all_peers, births_seen_by_ps, size_bytes
from linnix_rec.bench.typical import PROGRAMS, available
from tests.story import Story, write_capture

STRACE = """\
100   execve("/usr/bin/python3", ["python3"], 0x7f) = 0
100   clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 101
101   clone(child_stack=0x5, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>
102   exit_group(0)                     = ?
102   +++ exited with 0 +++
101   <... clone resumed>)              = 102
101   --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=102} ---
101   wait4(102, NULL, 0, NULL)         = 102
101   clone3({flags=CLONE_VM}, 88)      = -1 EAGAIN (Resource temporarily unavailable)
101   +++ killed by SIGKILL +++
"""
FORKSTAT = """\
Time     Event   PID Info   Duration Process
17:56:32 fork     90 parent          python
17:56:32 fork   1926 child           linnix-storm
17:56:32 exit   1926      0   0.000s linnix-storm
17:56:32 fork   1927 child           <unknown>
17:56:33 exec   1928                 ls
"""
BPFTRACE = """\
Attaching 3 probes...
fork 10 linnix-storm
exit 11 linnix-storm
exec 12 ls
exit 12 ls
"""
PS = """\
1c1
< root           1  0.0  0.0   1000   100 ?        Ss   10:00   0:01 /sbin/init
---
> root           1  0.0  0.0   1000   100 ?        Ss   10:00   0:02 /sbin/init
> root        2001  0.0  0.0   1000   100 ?        R    10:00   0:00 python -m linnix_rec.bench.storm
> root        2002  0.0  0.0   1000   100 ?        R    10:00   0:00 find /etc -maxdepth 1
> root        2003  0.0  0.0   1000   100 ?        R    10:00   0:00 ps aux
> root        2004  0.0  0.0   1000   100 ?        S    10:00   0:00 sleep 1
"""


def peer(name: str) -> Peer:
    return next(each for each in all_peers() if each.name.startswith(name))


@pytest.mark.parametrize(
    ("name", "output", "told"),
    [
        ("strace", STRACE, Told(4, 5)),
        ("forkstat", FORKSTAT, Told(3, 4)),
        ("bpftrace", BPFTRACE, Told(2, 4)),
    ],
)
def test_births_and_deaths_of_the_storm_are_counted(
    tmp_path: Path, name: str, output: str, told: Told
) -> None:
    (tmp_path / "out").write_text(output)
    assert peer(name).told(tmp_path / "out") == told
    assert peer(name).told(tmp_path / "none") == Told(0, 0)


def test_a_capture_is_read_like_the_others(tmp_path: Path) -> None:
    story = Story()
    storm = story.task(100)
    storm.comm = "linnix-storm"
    story.exit(story.fork(storm, 101))
    story.exec(story.fork(storm, 102), "/bin/ls", ["ls"])
    assert peer(OURS).told(write_capture(tmp_path / "a.lrec", story)) == Told(3, 5)


def test_perf_s_and_trace_cmd_s_listings_name_who_forked() -> None:
    perf = ("  linnix-storm sched:sched_process_fork: ", "   python sched:sched_process_fork: ")
    assert peers._told(perf, peers._PERF) == Told(1, 2)
    trace = (
        "    linnix-storm-77    [001]  1.2: sched_process_exit:  comm=linnix-storm pid=77 prio=120",
        "              ls-78    [001]  1.2: sched_process_exit:  comm=ls pid=78 prio=120",
        "    linnix-storm-77    [001]  1.2: sched_process_exec:  filename=/bin/ls",
    )
    assert peers._told(trace, peers._TRACE_CMD) == Told(1, 3)


def test_ps_sees_a_process_s_life_at_most_once_and_not_the_loop_s_own(tmp_path: Path) -> None:
    (tmp_path / "changes").write_text(PS * 2)
    assert peer("ps").told(tmp_path) == Told(2, 6)
    assert births_seen_by_ps(tmp_path) == 3  # init, whose line has changed, the storm and find


def test_an_output_s_size_is_its_files_s(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"4567")
    assert size_bytes(tmp_path) == 7
    assert size_bytes(tmp_path / "a") == 3
    assert size_bytes(tmp_path / "none") == 0


def test_a_tracer_that_is_not_there_is_not_installed() -> None:
    absent = Peer("absent", "no-such-tracer", lambda _output: (), lambda _output: Told(0, 0))
    assert not absent.installed
    assert peer(OURS).installed


def test_the_usual_load_is_made_of_what_is_installed() -> None:
    assert {Path(path).name for path, *_ in available()} <= {name for name, *_ in PROGRAMS}
