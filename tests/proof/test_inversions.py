"""Rows as they arrived: inversions are counted as plain SQL counts them, and nobody innocent is blamed."""

import sqlite3
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.capture.reader import open_capture
from linnix_rec.proof import RuleResult
from linnix_rec.proof.inversions import ArrivalCheck, count_inversions
from linnix_rec.proof.verdict import Inversions
from tests.proof.histories import ATTACHED_BOOT_NS, Kernel, damaged, with_gaps
from tests.story import CLONE_THREAD, Row, Story, Task, arrived, rows_to_batch, write_capture

BIRTHS = """
    select count(*) from {events} act
    join (select child_tid tid, child_start_ns start_ns, min(seq) seq from {events}
          where kind = 'fork' group by 1, 2) birth using (tid, start_ns)
    where act.kind in ('fork', 'exec', 'exit') and act.seq < birth.seq
"""
LATE = """
    select count(*) from {events} act
    join (select tid, start_ns, max(seq) seq from {events}
          where kind = 'exit' and (tid <> tgid or last_thread) group by 1, 2) death using (tid, start_ns)
    where act.kind = '{kind}' and act.seq > death.seq
"""
QUERIES = (BIRTHS, LATE.replace("{kind}", "exec"), LATE.replace("{kind}", "fork"))
COLUMNS = ("seq", "kind", "tid", "tgid", "start_ns", "child_tid", "child_start_ns", "last_thread")


def check(rows: list[Row], *, attached_boot_ns: int = ATTACHED_BOOT_NS, lossy: bool = False) -> ArrivalCheck:
    judged = ArrivalCheck(attached_boot_ns, lossy=lossy)
    for first in range(0, len(rows), 7):
        judged.feed(rows_to_batch(rows[first : first + 7]))
    return judged


def judge(story: Story, rows: list[Row], *, lossy: bool = False) -> dict[str, RuleResult]:
    results = check(rows, attached_boot_ns=story.attached_boot_ns, lossy=lossy).results()
    return {rule.name: rule for rule in results}


def outcomes(results: dict[str, RuleResult]) -> dict[str, tuple[int, int]]:
    """Give (violated, unknown) of each rule that has either."""
    return {
        name: (rule.violated, rule.unknown) for name, rule in results.items() if rule.violated or rule.unknown
    }


def by_sqlite(rows: list[Row]) -> Inversions:
    with sqlite3.connect(":memory:") as database:
        database.execute(f"create table events ({', '.join(COLUMNS)})")
        marks = ", ".join("?" * len(COLUMNS))
        told = [[row.get(name) for name in COLUMNS] for row in rows]
        database.executemany(f"insert into events values ({marks})", told)  # noqa: S608 - our own names
        counts = [database.execute(query.format(events="events")).fetchone()[0] for query in QUERIES]
    database.close()
    return Inversions(*counts)


def family() -> tuple[Story, Task]:
    """Rows: 0 shell, 1 its fork of the child, 2 its exec, 3 its own fork, 4 that one's exit, 5 its exit."""
    story = Story()
    child = story.fork(story.task(100), 101)
    story.exec(child, "/bin/make")
    grandchild = story.fork(child, 102)
    story.exit(grandchild)
    story.exit(child)
    return story, child


# ---- what arrives in order -------------------------------------------------------------------------------


@given(st.integers(0, 1 << 32), st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_nobody_is_blamed_where_all_arrived_in_order(seed: int, steps: int) -> None:
    rows = Kernel(Random(seed)).run(steps)  # noqa: S311 - no secret
    judged = check(rows)
    assert outcomes({rule.name: rule for rule in judged.results()}) == {}
    assert judged.inversions().total == 0


@given(st.integers(0, 1 << 32), st.integers(1, 120), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_nobody_is_blamed_for_what_a_gap_may_hide(seed: int, steps: int, gaps: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    rows = with_gaps(random, Kernel(random).run(steps), gaps)
    judged = check(rows)
    assert all(rule.holds for rule in judged.results())
    assert judged.inversions().total == 0


# ---- what does not ---------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 32), st.integers(1, 120), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_inversions_are_those_that_sql_finds(seed: int, steps: int, faults: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    rows = damaged(random, Kernel(random).run(steps), faults)
    assert check(rows).inversions() == by_sqlite(rows)


def crowd(random: Random) -> list[Row]:
    """Rows of some hosts, each with tids of its own, one host after the other."""
    rows: list[Row] = []
    for host in range(20):
        tids = dict.fromkeys(("tid", "tgid", "child_tid", "child_tgid", "old_tid"), 1000 * host)
        for row in Kernel(random, tids=400).run(200):
            rows.append({**row, **{name: row[name] + more for name, more in tids.items() if name in row}})
    return rows


def test_duckdb_finds_the_same_in_the_segments(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    random = Random(4)  # noqa: S311 - no secret
    rows = damaged(random, crowd(random), 300)
    path = write_capture(tmp_path / "a.lrec", rows, rows_per_segment=500, source="perf", ordered=False)
    assert len(list(path.glob("*.parquet"))) > 2
    segments = f"'{path}/*.parquet'"
    found = [duckdb.sql(query.format(events=segments)).fetchall()[0][0] for query in QUERIES]
    assert count_inversions(open_capture(path)) == Inversions(*found)
    assert min(found) > 0


def test_acts_before_their_fork_are_births_violated_each() -> None:
    story, _ = family()
    rows = arrived(story, 2, 3, 0, 1)
    results = judge(story, rows)
    assert outcomes(results) == {"birth": (2, 0)}
    assert [(offence.seq, offence.message) for offence in results["birth"].first] == [
        (0, "exec of task 101 before its fork (seq 3)"),
        (1, "fork of task 101 before its fork (seq 3)"),
    ]
    assert check(rows).inversions() == Inversions(births=2, deaths=0, parents=0)
    assert results["birth"].checked == 4


def test_execs_and_forks_after_the_exit_break_death_and_parent() -> None:
    story, _ = family()
    rows = arrived(story, 0, 1, 5)
    results = judge(story, rows)
    assert outcomes(results) == {"death": (1, 0), "parent": (1, 0)}
    assert results["death"].first[0].message == "exec of task 101 after it exited (seq 2)"
    assert results["parent"].first[0].message == "fork of task 101 after it exited (seq 2)"
    assert check(rows).inversions() == Inversions(births=0, deaths=1, parents=1)


def test_an_act_without_any_fork_is_unknown_only_if_something_was_lost() -> None:
    story, _ = family()
    rows = arrived(story)
    del rows[1]
    results = judge(story, rows)
    assert outcomes(results) == {"birth": (3, 0)}
    assert results["birth"].first[0].message == "exec of task 101, whose fork is nowhere"
    assert outcomes(judge(story, rows, lossy=True)) == {"birth": (0, 3)}
    story.gap(1, "dropped")
    assert outcomes(judge(story, [*rows, story.rows[-1]])) == {"birth": (0, 3)}
    assert check(rows).inversions().total == 0


def test_a_gap_excuses_no_inversion() -> None:
    story, _ = family()
    story.gap(40, "dropped")
    assert outcomes(judge(story, arrived(story, 2, 0, 1))) == {"birth": (1, 0)}


def test_elders_need_no_fork() -> None:
    story = Story()
    shell = story.task(100)
    story.exec(shell, "/bin/sh")
    story.exit(shell)
    assert outcomes(judge(story, arrived(story, 2))) == {"death": (1, 0)}
    assert judge(story, arrived(story))["birth"].checked == 0


# ---- takeovers -------------------------------------------------------------------------------------------


def taken_over() -> Story:
    """Rows: 0 parent, 1 fork, 2 thread, 3 the leader's exit, 4 the takeover, 5 another exec, 6 the end."""
    story = Story()
    leader = story.fork(story.task(100), 101)
    story.fork(leader, 102, CLONE_THREAD)
    story.exit(leader, last=False)
    story.exec(leader, "/bin/new", old_tid=102)
    story.exec(leader, "/bin/newer")
    story.exit(leader)
    return story


def test_a_leader_s_exit_is_not_its_end_if_a_thread_takes_over() -> None:
    story = taken_over()
    assert outcomes(judge(story, arrived(story))) == {}
    assert outcomes(judge(story, arrived(story)[:-1])) == {}


def test_the_last_exit_of_one_who_was_taken_over_is_its_end() -> None:
    story = taken_over()
    results = judge(story, arrived(story, 0, 1, 2, 3, 4, 6))
    assert outcomes(results) == {"death": (1, 0)}
    assert results["death"].first[0].message == "exec of task 101 after it exited (seq 5)"


def test_a_takeover_that_failed_unseen_explains_one_exit_more() -> None:
    story = taken_over()
    del story.rows[4:6]
    assert outcomes(judge(story, arrived(story))) == {}


def test_more_exits_than_takeovers_explain_break_once() -> None:
    story = taken_over()
    again = dict(story.rows[3])
    del story.rows[4:6]
    story.rows.insert(3, again)
    results = judge(story, arrived(story))
    assert outcomes(results) == {"once": (1, 0)}
    assert results["once"].first[0].message == "task 101 exits again"
    # Two takeovers may be lost, but a task has one last exit.
    assert outcomes(judge(story, arrived(story), lossy=True)) == {"once": (0, 1)}
    story.rows.append(dict(story.rows[-1]))
    assert outcomes(judge(story, arrived(story), lossy=True)) == {"once": (1, 1)}


def test_a_second_fork_of_a_task_breaks_once() -> None:
    story, _ = family()
    story.rows.append(dict(story.rows[1]))
    results = judge(story, arrived(story))
    assert outcomes(results) == {"once": (1, 0)}
    assert (results["once"].first[0].seq, results["once"].first[0].message) == (6, "task 101 is forked again")


# ---- who has no start ------------------------------------------------------------------------------------


def test_an_act_of_a_task_without_a_start_is_unknown() -> None:
    story, _ = family()
    rows = arrived(story)
    for row in rows:
        if row["tid"] == 101:  # the process connector's recorder missed its birth
            row["start_ns"] = None
    del rows[1]
    results = judge(story, rows)
    assert outcomes(results) == {"birth": (0, 3)}
    assert results["birth"].checked == 4
    assert check(rows).inversions().total == 0


# ---- size ------------------------------------------------------------------------------------------------


def test_no_row_is_no_violation() -> None:
    assert outcomes({rule.name: rule for rule in check([]).results()}) == {}
    assert check([]).inversions() == Inversions(0, 0, 0)


def test_large_seqs_and_ids_are_compared_as_they_are() -> None:
    far = (1 << 64) - 10
    story = Story(first_seq=far)
    child = story.fork(story.task(2**31 - 1), 2**31 - 2)
    story.exit(child)
    rows: list[dict[str, Any]] = [dict(row) for row in story.rows]
    assert outcomes(judge(story, rows)) == {}
    rows[1]["seq"], rows[2]["seq"] = rows[2]["seq"], rows[1]["seq"]
    assert outcomes(judge(story, rows)) == {"birth": (1, 0)}
    assert isinstance(rows_to_batch(rows), pa.RecordBatch)
