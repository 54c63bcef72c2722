"""Matching: as many of a key are missing as one side has fewer, and those that are farthest away."""

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.proof.reconcile_matching import Events, events_of, unmatched
from tests.story import Story

#: (kind, tid, start_ns, boot_ns)
Told = tuple[int, int, int, int]


def events(*told: Told) -> Events:
    columns = zip(*told, strict=True) if told else ((),) * 4
    kind, tid, start_ns, boot_ns = map(list, columns)
    return Events(
        np.arange(len(told), dtype=np.uint64),
        np.array(kind, np.uint8),
        np.array(tid, np.int32),
        np.array(start_ns, np.uint64),
        np.array(boot_ns, np.int64),
    )


def missing(a: list[Told], b: list[Told], *, by_start: bool = True) -> tuple[list[Told], list[Told]]:
    """Give what is in one only."""
    flags = unmatched(events(*a), events(*b), by_start=by_start)
    alone = [
        [told for told, flag in zip(side, flag_of_side.tolist(), strict=True) if flag]
        for side, flag_of_side in zip((a, b), flags, strict=True)
    ]
    return alone[0], alone[1]


def test_events_are_told_apart_by_kind_task_and_start() -> None:
    both = [(FORK, 7, 100, 101), (EXEC, 7, 100, 150), (EXIT, 7, 100, 190), (FORK, 7, 200, 201)]
    late = [(kind, tid, start_ns, boot_ns + 3000) for kind, tid, start_ns, boot_ns in both]
    assert missing(both, late[::-1]) == ([], [])
    assert missing(both, late[1:]) == ([both[0]], [])
    assert missing(both[:-1], late) == ([], [late[-1]])
    assert missing(both, []) == (both, [])
    assert missing([], []) == ([], [])


def test_time_alone_never_parts_two_sightings_of_one_event() -> None:
    assert missing([(FORK, 7, 100, 101)], [(FORK, 7, 100, 10**12)]) == ([], [])


def test_of_several_execs_the_farthest_is_missing() -> None:
    execs = [(EXEC, 7, 1, at) for at in (1000, 2000, 3000, 9000)]
    for gone in range(4):
        seen = [(kind, tid, start_ns, at + 40) for kind, tid, start_ns, at in execs]
        lacked = seen.pop(gone)
        assert missing(execs, seen) == ([execs[gone]], []), lacked
        assert missing(seen, execs) == ([], [execs[gone]])
    assert missing(execs, [(EXEC, 7, 1, 2990), (EXEC, 7, 1, 980)]) == ([execs[1], execs[3]], [])


def test_without_starts_a_thread_id_and_the_time_must_do() -> None:
    here = [(EXIT, 7, 100, 1000), (EXIT, 7, 2000, 3000), (EXIT, 8, 100, 1000)]
    there = [(EXIT, 8, 0, 1001), (EXIT, 7, 5, 3100)]
    assert missing(here, there, by_start=False) == ([here[0]], [])
    assert missing(here, there) == (here, there)


def test_large_ids_and_starts_are_compared_as_they_are() -> None:
    told = [(EXIT, 2**31 - 1, 2**64 - 1, 1), (EXIT, 2**31 - 1, 2**64 - 2, 1), (EXIT, -1, 0, 1)]
    assert missing(told, told) == ([], [])
    assert missing(told, told[1:]) == (told[:1], [])


def by_counting(
    a: list[Told], b: list[Told]
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Give the keys that either side has too many of, as often as it has."""
    keys = [[told[:3] for told in side] for side in (a, b)]
    alone: list[list[tuple[int, int, int]]] = []
    for side, other in (keys, keys[::-1]):
        alone.append([key for key in sorted(set(side)) for _ in range(side.count(key) - other.count(key))])
    return alone[0], alone[1]


@given(st.integers(0, 1 << 32), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_as_many_are_missing_as_counting_says(seed: int, size: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    a: list[Told] = [
        (random.choice((FORK, EXEC, EXIT)), random.randint(1, 4), random.randint(0, 2), random.randint(0, 99))
        for _ in range(size)
    ]
    b = [(*told[:3], told[3] + random.randint(-5, 5)) for told in a if random.random() < 0.8]
    a = [told for told in a if random.random() < 0.8]
    random.shuffle(b)
    alone = missing(a, b)
    assert tuple(sorted(told[:3] for told in side) for side in alone) == by_counting(a, b)


def test_forks_are_their_child_s_and_other_rows_are_passed_over() -> None:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.gap(3)
    story.exit(child)
    batch = story.batch()
    found = events_of(batch, 0, 1 << 62)
    assert (found.kind.tolist(), found.tid.tolist()) == ([FORK, EXIT], [101, 101])
    assert found.start_ns.tolist() == [child.start_ns] * 2
    last_ns = story.rows[-1]["boot_ns"]
    assert events_of(batch, 0, last_ns).kind.tolist() == [FORK]
    assert events_of(batch, last_ns, last_ns + 1).kind.tolist() == [EXIT]
