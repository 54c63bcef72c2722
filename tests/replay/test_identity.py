"""Claims about identities: a pid and a start say which process, whatever order the rows come in."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.replay.identity import NOBODY, Identities

Leaders = list[tuple[int, int]]


def identities(leaders: Leaders, leaderless: list[int] | None = None) -> Identities:
    tgid, start_ns = zip(*leaders, strict=True) if leaders else ((), ())
    more = [np.array(leaderless, np.int32)] if leaderless else []
    return Identities(np.array(tgid, np.int32), np.array(start_ns, np.uint64), more)


def found(known: Identities, tasks: Leaders) -> list[tuple[int, int] | None]:
    tgid, start_ns = zip(*tasks, strict=True)
    at = known.find(np.array(tgid, np.int32), np.array(start_ns, np.uint64)).tolist()
    names = list(zip(known.pids.tolist(), known.starts_ns.tolist(), strict=True))
    return [None if number == NOBODY else names[number] for number in at]


def test_thread_belongs_to_leader_that_started_last_before_it() -> None:
    known = identities([(7, 100), (7, 500), (8, 50)])
    assert found(known, [(7, 100), (7, 499), (7, 500), (7, 9999)]) == [(7, 100), (7, 100), (7, 500), (7, 500)]


def test_thread_older_than_any_leader_of_its_process_id_is_nobodys() -> None:
    assert found(identities([(7, 100)]), [(7, 99), (6, 100), (9, 100)]) == [None, None, None]


def test_process_known_by_threads_only_has_no_start() -> None:
    known = identities([(7, 500)], leaderless=[7, 7])
    assert found(known, [(7, 20), (7, 500)]) == [(7, 0), (7, 500)]


def test_pids_and_starts_of_all_64_bits_are_kept() -> None:
    known = identities([((1 << 31) - 1, (1 << 64) - 1), (1, 1)])
    assert found(known, [((1 << 31) - 1, (1 << 64) - 1)]) == [((1 << 31) - 1, (1 << 64) - 1)]


def test_nobody_is_known_of_an_empty_capture() -> None:
    assert found(identities([]), [(1, 1)]) == [None]


pids = st.integers(1, 5)
starts = st.integers(1, 60)


@given(
    st.lists(st.tuples(pids, starts), max_size=30), st.lists(st.tuples(pids, starts), min_size=1, max_size=30)
)
def test_find_agrees_with_a_plain_search(leaders: Leaders, tasks: Leaders) -> None:
    def searched(task: tuple[int, int]) -> tuple[int, int] | None:
        elders = [leader for leader in leaders if leader[0] == task[0] and leader[1] <= task[1]]
        return max(elders, default=None)

    assert found(identities(leaders), tasks) == [searched(task) for task in tasks]
