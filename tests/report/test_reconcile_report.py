"""Claims about comparisons as text and JSON."""

import json
from dataclasses import replace

from linnix_rec.proof.reconcile import Reconciliation, Side, Sighting, Window
from linnix_rec.proof.verdict import Inversions
from linnix_rec.report.ink import Ink
from linnix_rec.report.layout import columns_of
from linnix_rec.report.reconcile import Comparison, comparison_lines, conclude, json_comparison

S = 10**9
BOOT = 1000 * S
NONE = {"fork": 0, "exec": 0, "exit": 0}
A = Side(
    source="sequencer",
    ordered=True,
    finished=True,
    events={"fork": 1000, "exec": 500, "exit": 1000},
    alone={"fork": 0, "exec": 1, "exit": 11},
    first=(
        Sighting(17, "exec", BOOT + 2 * S + 1500, 101, 101, "m\x1bke"),
        *(Sighting(seq, "exit", BOOT + 3 * S, 101, 100, "cc") for seq in range(20, 29)),
    ),
    lost=0,
    gaps=0,
    lost_by_kind=NONE,
    inversions=Inversions(0, 0, 0),
)
B = replace(
    A,
    source="perf",
    ordered=False,
    events={"fork": 1000, "exec": 499, "exit": 989},
    alone={"fork": 1, "exec": 0, "exit": 0},
    first=(Sighting(5, "fork", BOOT + S, 102, 102, "sh"),),
    lost=12,
    gaps=2,
    lost_by_kind={"fork": 0, "exec": 1, "exit": 11},
    inversions=Inversions(births=1204, deaths=0, parents=2),
)
WINDOWS = (
    Window(BOOT, BOOT + 10 * S, (1250, 1250), (0, 1), (0, 0), 1249),
    Window(BOOT + 10 * S, BOOT + 20 * S, (1250, 1238), (12, 0), (0, 12), 1238),
)
FOUND = Reconciliation(
    from_ns=BOOT,
    end_ns=BOOT + 20 * S,
    both={"fork": 999, "exec": 499, "exit": 989},
    at_edges=3,
    sides=(A, B),
    windows=WINDOWS,
)
COMPARISON = Comparison(("a b.lrec", "b.lrec"), (BOOT - S, BOOT - 2 * S), FOUND, 10 * S, 0.001, 1)
AGREED = replace(
    FOUND,
    at_edges=0,
    sides=(replace(A, alone=NONE, first=()), replace(B, alone=NONE, first=())),
    windows=tuple(replace(window, alone=(0, 0)) for window in WINDOWS),
)


def lines(comparison: Comparison, width: int | None = None) -> list[str]:
    return list(comparison_lines(comparison, width=width))


def test_both_sides_kinds_windows_and_the_first_events_are_told() -> None:
    assert lines(COMPARISON) == [
        "A  a b.lrec: sequencer, 2,500 events, 125/s, nothing lost, no inversion",
        (
            "B  b.lrec: perf, 2,488 events, 124/s, 12 events lost in 2 gaps, "
            "1,206 inversions (1,204 of birth and 2 of parent)"
        ),
        "both saw 20.0 s, from +1.000 s of A",
        "",
        "KIND  IN BOTH  ONLY IN A  ONLY IN B  LOST BY A  LOST BY B",
        "fork      999          0          1          0          0",
        "exec      499          1          0          0          1",
        "exit      989         11          0          0         11",
        "",
        "WINDOW   IN A   IN B  ONLY IN A  ONLY IN B  LOST BY A  LOST BY B  MISSING",
        "+0.0    1,250  1,250          0          1          0          0    0.08%",
        "+10.0   1,250  1,238         12          0          0         12    0.96%  bad",
        "",
        "only in A: linnix-rec show --seq N 'a b.lrec'",
        r"  seq 17  +3.000002  exec of 101  m\x1bke",
        *(f"  seq {seq}  +4.000000  exit of 100/101  cc" for seq in range(20, 29)),
        "  and 2 more",
        "",
        "only in B: linnix-rec show --seq N b.lrec",
        "  seq 5  +3.000000  fork of 102  by sh",
        "3 events in one only, too near the ends of that time to be called missing",
        "",
        (
            "disagree: 2,487 events in both, 13 in one only; 1 of 2 windows beyond 0.1 %, "
            "the first at +10.0 s, 1 in a row (--fail-after 1)"
        ),
    ]


def test_what_it_comes_to_depends_on_tolerance_and_run() -> None:
    assert conclude(replace(COMPARISON, found=AGREED)) == "agree: 2,487 events in both, none in one only"
    tolerant = replace(COMPARISON, tolerance=0.01)
    assert conclude(tolerant) == "agree within 1 %: 2,487 events in both, 13 in one only"
    patient = replace(COMPARISON, fail_after=2)
    assert conclude(patient).startswith("agree so far: 2,487 events in both, 13 in one only; 1 of 2 windows")
    assert [each.agrees for each in (COMPARISON, tolerant, patient)] == [False, True, True]
    exact = replace(COMPARISON, tolerance=0.0, fail_after=2)
    assert conclude(exact).endswith(
        "2 of 2 windows beyond 0 %, the first at +0.0 s, 2 in a row (--fail-after 2)"
    )
    assert not exact.agrees


def test_of_many_windows_the_bad_ones_are_shown() -> None:
    windows = tuple(replace(WINDOWS[place % 10 == 9], from_ns=BOOT + place * S) for place in range(400))
    told = lines(replace(COMPARISON, found=replace(FOUND, windows=windows)))
    shown = [line for line in told if line.startswith("+")]
    assert len(shown) == 24
    assert shown[0].startswith("+9.0")
    assert "and 376 more windows, 16 of them bad" in told


def test_who_counted_nothing_or_is_not_finished_says_so() -> None:
    connector = replace(B, source="connector", lost_by_kind=None, finished=False)
    told = lines(replace(COMPARISON, found=replace(FOUND, sides=(A, connector))))
    assert told[1].startswith("B  b.lrec: connector, not finished, 2,488 events, 124/s, 12 messages lost in")
    assert told[5].split()[-1] == "?"


def test_lines_are_cut_to_the_terminal_and_painted_if_wanted() -> None:
    assert max(map(columns_of, lines(COMPARISON, width=40)[:12])) == 40
    painted = list(comparison_lines(COMPARISON, ink=Ink(colored=True)))
    assert painted[-1].startswith("\x1b[1;31mdisagree")
    assert [line for line in painted if line.endswith("bad\x1b[0m")] == [painted[11]]


def test_json_holds_every_figure_and_nothing_that_a_terminal_obeys() -> None:
    text = json_comparison(COMPARISON)
    assert text.isascii()
    assert all(character.isprintable() or character == "\n" for character in text)
    told = json.loads(text)
    assert (told["verdict"], told["bad_windows"], told["longest_bad_run"]) == ("disagree", 1, 1)
    assert told["in_both"] == {"fork": 999, "exec": 499, "exit": 989}
    assert (told["tolerance"], told["fail_after"], told["window_ns"]) == (0.001, 1, 10 * S)
    first, second = told["captures"]
    assert first["only_here"] == {"fork": 0, "exec": 1, "exit": 11}
    assert first["first_only_here"][0] == {
        "seq": 17, "kind": "exec", "boot_ns": BOOT + 2 * S + 1500, "tid": 101, "tgid": 101, "comm": "m\x1bke",
    }  # fmt: skip
    assert (second["lost"], second["lost_are"], second["gaps"]) == (12, "events", 2)
    assert second["inversions"] == {"births": 1204, "deaths": 0, "parents": 2}
    assert (first["events_per_second"], second["lost_by_kind"]) == (125.0, B.lost_by_kind)
    assert told["windows"][1] == {
        "from_boot_ns": BOOT + 10 * S,
        "end_boot_ns": BOOT + 20 * S,
        "events": [1250, 1238],
        "in_both": 1238,
        "only_here": [12, 0],
        "lost": [0, 12],
        "missing_share": 12 / 1250,
        "bad": True,
    }


def test_how_far_a_reader_was_behind_is_told_where_it_is_known() -> None:
    found = replace(FOUND, sides=(replace(A, largest_lag=4096), replace(B, largest_lag=1)))
    a, b, *_ = comparison_lines(replace(COMPARISON, found=found))
    assert a.endswith(", its reader at most 4,096 tickets behind")
    assert b.endswith(", its reader at most 1 event behind")
    assert not any("behind" in line for line in comparison_lines(COMPARISON))
    sides = json.loads(json_comparison(replace(COMPARISON, found=found)))["captures"]
    assert [side["largest_lag"] for side in sides] == [4096, 1]
