"""A table tells medians with their spread, the same as text and as JSON."""

import json

import pytest

from linnix_rec.bench.tables import Cell, Figure, Table, as_object, lines, number, told

TABLE = Table(
    "publish",
    "Cost of an event",
    ("channel", "1 CPU", "2 CPUs"),
    (
        ("sequencer", Figure((54.0, 60.0, 52.25), "ns"), Figure((90.0, 91.0, 88.0), "ns")),
        ("perf", Figure((71.0,), "ns"), "not here"),
    ),
    ("Driven in the kernel.",),
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("not installed", "not installed"),
        (Figure((54.0,), "ns"), "54 ns"),
        (Figure((3.0, 1.0, 2.0), "ns"), "2 ns (1 to 3)"),
        (Figure((5.0, 5.0), "%"), "5%"),
        (Figure((1.5, 0.5)), "1 (0.5 to 1.50)"),
    ],
)
def test_a_cell_is_the_median_with_the_least_and_the_greatest(cell: Cell, text: str) -> None:
    assert told(cell) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234567.8, "1,234,568"),
    ],
)
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text


def test_text_has_a_line_a_row_and_says_of_how_many_runs_it_is() -> None:
    assert list(lines(TABLE)) == [
        "Cost of an event",
        "channel                  1 CPU             2 CPUs",
        "─────────────────────────────────────────────────",
        "sequencer   54 ns (52.2 to 60)   90 ns (88 to 91)",
        "perf                     71 ns           not here",
        "Medians of 3 runs, in parentheses the least and the greatest.",
        "Driven in the kernel.",
    ]


def test_on_a_narrow_terminal_each_spread_stands_below_its_median() -> None:
    narrow = list(lines(TABLE, width=40))
    assert narrow[3:6] == [
        "sequencer          54 ns        90 ns",
        "            (52.2 to 60)   (88 to 91)",
        "perf               71 ns     not here",
    ]
    assert max(map(len, narrow)) <= 40


def test_text_is_coloured_only_if_wanted() -> None:
    assert not any("\x1b" in line for line in lines(TABLE, width=60))
    assert any("\x1b" in line for line in lines(TABLE, width=60, colored=True))


def test_json_has_the_same_cells_by_their_column() -> None:
    told = json.loads(json.dumps(as_object(TABLE)))
    assert told["columns"] == ["channel", "1 CPU", "2 CPUs"]
    assert told["rows"][0]["1 CPU"] == {"unit": "ns", "median": 54.0, "min": 52.25, "max": 60.0, "runs": 3}
    assert told["rows"][1] == {
        "channel": "perf",
        "1 CPU": {"unit": "ns", "median": 71.0, "min": 71.0, "max": 71.0, "runs": 1},
        "2 CPUs": "not here",
    }
    assert told["notes"] == ["Driven in the kernel."]


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in 2 columns"):
        Table("t", "T", ("a", "b"), (("only",),))
