"""The sequence rule: every ticket stands once, in its place, in a row or in a gap."""

from typing import Any

import pytest

from linnix_rec.proof.tickets import TicketCheck
from tests.story import Story, rows_to_batch


def rows() -> list[dict[str, Any]]:
    story = Story(first_seq=10)
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", slots=16)
    story.gap(7)
    story.gap(2, "abandoned")
    story.exit(child)
    return story.rows


def check(edited: list[dict[str, Any]], first_seq: int = 10, rows_at_once: int = 100) -> TicketCheck:
    tickets = TicketCheck(first_seq)
    batch = rows_to_batch(edited)
    for at in range(0, len(edited), rows_at_once):
        tickets.feed(batch.slice(at, rows_at_once))
    return tickets


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_spans_and_gaps_take_their_tickets(rows_at_once: int) -> None:
    tickets = check(rows(), rows_at_once=rows_at_once)
    assert tickets.result().violated == 0
    assert tickets.result().checked == 6
    assert (tickets.event_tickets, tickets.end_seq) == (19, 38)
    assert tickets.lost == {"lapped": 7, "abandoned": 2, "dropped": 0}
    assert (tickets.gaps, tickets.lost_tickets) == (2, 9)


@pytest.mark.parametrize(
    ("row", "change", "named"),
    [
        (2, {"slots": 17}, [12, 28]),
        (1, {"slots": 0}, [11, 12]),
        (3, {"lost": 8}, [35]),
        (3, {"slots": 1}, [28]),
        (4, {"lost": 0}, [35, 37]),
        (0, {"seq": 9}, [9, 11]),
        (5, {"seq": (1 << 64) - 1}, [(1 << 64) - 1]),
    ],
)
@pytest.mark.parametrize("rows_at_once", [1, 100])
def test_each_misfit_is_named(row: int, change: dict[str, int], named: list[int], rows_at_once: int) -> None:
    edited = rows()
    edited[row].update(change)
    found = check(edited, rows_at_once=rows_at_once).result()
    assert [offence.seq for offence in found.first] == named


def test_the_first_row_has_the_first_ticket() -> None:
    found = check(rows(), first_seq=3).result()
    assert [offence.seq for offence in found.first] == [10]
    assert found.first[0].message == "tickets 3 to 9 are neither here nor in a gap"


def test_a_gap_without_its_columns_takes_no_tickets() -> None:
    tickets = TicketCheck(10)
    tickets.feed(rows_to_batch(rows()).select(["seq", "slots", "kind", "boot_ns"]))
    assert tickets.result().violated > 0


def test_the_latest_time_so_far_bounds_an_inversion() -> None:
    edited = rows()
    edited[0]["boot_ns"] = edited[5]["boot_ns"] + 500
    for rows_at_once in (1, 100):
        lowest = min(row["boot_ns"] for row in edited if "boot_ns" in row)
        assert check(edited, rows_at_once=rows_at_once).largest_inversion_ns == edited[0]["boot_ns"] - lowest
