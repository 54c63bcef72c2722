"""Claims about verdicts as text, JSON and JUnit."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from linnix_rec.capture.document import Pruned
from linnix_rec.proof.verdict import Identity, Inversions, Offence, RuleResult, Verdict
from linnix_rec.report.layout import columns_of
from linnix_rec.report.verdict import (
    Counts,
    Proof,
    causal_line,
    digest_line,
    json_verdicts,
    junit_verdicts,
    verdict_lines,
)

SEQUENCE = RuleResult("sequence", checked=1234, note="rows")
DEATH = RuleResult(
    "death",
    checked=500,
    violated=4,
    unknown=2,
    first=tuple(Offence(seq, f"task {seq} forks after its exit") for seq in (117, 118, 119, 120)),
)
PROVEN = Verdict(
    rules=(SEQUENCE, RuleResult("death", checked=500)),
    events={"fork": 1000, "exit": 234},
    lost_tickets=0,
    gaps=0,
    largest_inversion_ns=0,
    finished=True,
    ordered=True,
)
BROKEN = replace(PROVEN, rules=(SEQUENCE, DEATH), largest_inversion_ns=3200)
LOSSY = replace(PROVEN, events={**PROVEN.events, "gap": 2}, lost_tickets=17, gaps=2)


def lines(verdict: Verdict, status: int, width: int | None = None) -> list[str]:
    return list(verdict_lines(Proof("a b.lrec", status, verdict), width=width))


def test_proven_ends_with_its_counts() -> None:
    assert lines(PROVEN, 0) == [
        "sequence         1,234 checked  holds  rows",
        "death              500 checked  holds",
        "proven: 1,234 events, 0 lost, in causal order",
    ]


def test_violation_names_the_first_offenders_and_where_to_look() -> None:
    assert lines(BROKEN, 1)[1:] == [
        "death              500 checked  4 violated, 2 unknown",
        "            seq 117: task 117 forks after its exit",
        "            seq 118: task 118 forks after its exit",
        "            seq 119: task 119 forks after its exit",
        "            and 1 more",
        "timestamps run back by up to 3.20 µs: no violation, seq is the order",
        "not proven: death is violated 4 times (1,234 events)",
        "look there: linnix-rec show --seq 107:127 'a b.lrec'",
    ]


def test_loss_is_not_proven_unless_allowed() -> None:
    assert lines(LOSSY, 1)[-2:] == [
        "not proven: 17 tickets lost in 2 gaps (1,234 events)",
        "see where: linnix-rec show --kind gap 'a b.lrec'",
    ]
    assert lines(LOSSY, 0)[-2] == "accepted with loss: 17 tickets lost in 2 gaps (1,234 events)"


def test_unfinished_and_unnumbered_captures_say_what_they_are() -> None:
    assert lines(replace(PROVEN, finished=False), 1)[-1] == (
        "not proven: the recording was not finished (it still runs, or the recorder died): what came after "
        "the last closed segment is missing (1,234 events)"
    )
    pinned = lines(replace(PROVEN, finished=False, pin="host"), 1)
    assert pinned[-2].endswith(
        "what came after the last closed segment may still be in the ring (1,234 events)"
    )
    assert pinned[-1] == "go on with it, if its recorder died: linnix-rec record --resume 'a b.lrec'"


UNNUMBERED = replace(PROVEN, source="perf", ordered=False, inversions=Inversions(0, 0, 0))


def test_a_source_without_tickets_is_never_called_in_order() -> None:
    assert lines(UNNUMBERED, 0)[-1] == (
        "causal; complete by the kernel's counts, order not proven: 1,234 events"
    )
    uncounted = replace(UNNUMBERED, source="connector", counted=False)
    assert lines(uncounted, 0)[-1] == "causal; completeness unknown: 1,234 events"
    assert lines(replace(UNNUMBERED, largest_inversion_ns=3200), 0)[-2] == (
        "timestamps run back by up to 3.20 µs: seq is the order of arrival, which proves none"
    )


@pytest.mark.parametrize(
    ("source", "unit"), [("perf", "events"), ("ringbuf", "events"), ("connector", "messages")]
)
def test_what_a_source_without_tickets_lost_is_told_in_its_own_unit(source: str, unit: str) -> None:
    lossy = replace(UNNUMBERED, source=source, counted=source != "connector", lost_tickets=17, gaps=2)
    assert lines(lossy, 1)[-2] == f"not proven: 17 {unit} lost in 2 gaps (1,234 events)"
    assert lines(lossy, 0)[-2] == f"accepted with loss: 17 {unit} lost in 2 gaps (1,234 events)"
    assert lossy.summary == f"not whole: 17 {unit} lost in 2 gaps"


def test_inversions_are_named_and_counted() -> None:
    broken = replace(UNNUMBERED, rules=(DEATH,), inversions=Inversions(0, 3, 1))
    assert lines(broken, 1)[-2] == "not proven: death is violated 4 times (1,234 events)"
    (told,) = json.loads(json_verdicts([Proof("a.lrec", 1, broken)]))["captures"]
    assert (told["verdict"], told["source"], told["ordered"]) == ("not proven", "perf", False)
    assert told["inversions"] == {"births": 0, "deaths": 3, "parents": 1}
    assert told["rules"][0]["first"][0]["seq"] == 117


def test_json_and_junit_of_a_source_without_tickets_claim_no_proof() -> None:
    lossy = replace(UNNUMBERED, lost_tickets=17, gaps=2)
    proofs = [Proof("a", 0, UNNUMBERED), Proof("b", 0, lossy), Proof("c", 1, lossy), Proof("d", 0, PROVEN)]
    told = json.loads(json_verdicts(proofs))["captures"]
    assert [(each["verdict"], each["proven"]) for each in told] == [
        ("causal", False), ("accepted", False), ("not proven", False), ("proven", True)
    ]  # fmt: skip
    assert told[3]["inversions"] is None
    suites = ET.fromstring(junit_verdicts(proofs))  # noqa: S314
    assert [suite.get("failures") for suite in suites] == ["0", "0", "1", "0"]


def test_causal_line_claims_no_order_of_a_source_without_tickets() -> None:
    counts = Counts(1234, 0, ordered=False)
    assert causal_line((RuleResult("birth"), RuleResult("death")), counts, "a.lrec") == (
        "causal, order not proven: 1,234 events, 0 lost, birth and death hold"
    )
    assert str(Counts(1234, 2, 1, ordered=False)) == "1,234 events, 1 event missing with its segment, 2 lost"


def test_notes_are_cut_to_the_terminal() -> None:
    long = replace(PROVEN, rules=(replace(SEQUENCE, note="x" * 200),))
    assert columns_of(lines(long, 0, width=60)[0]) == 60


def test_files_that_offend_have_no_events_to_look_at() -> None:
    digest = RuleResult("digest", checked=2, violated=1, first=(Offence(0, "segment has another SHA-256"),))
    assert not lines(replace(PROVEN, rules=(digest,)), 1)[-1].startswith("look there")


def test_json_holds_every_figure() -> None:
    told = json.loads(json_verdicts([Proof("a.lrec", 1, BROKEN), Proof("b", 3, unreadable="b is a file")]))
    broken, unreadable = told["captures"]
    assert broken["exit_status"] == 1
    assert broken["verdict"] == "not proven"
    assert broken["rules"][1]["violated"] == 4
    assert broken["rules"][1]["first"][0] == {"seq": 117, "message": "task 117 forks after its exit"}
    assert unreadable == {
        "capture": "b",
        "exit_status": 3,
        "verdict": "unreadable",
        "summary": "unreadable: b is a file",
    }


def test_junit_has_a_suite_a_capture_and_a_case_a_rule() -> None:
    text = junit_verdicts([Proof('<"a&\x1b".lrec>', 1, BROKEN), Proof("b", 3, unreadable="b is a file")])
    broken, unreadable = ET.fromstring(text)  # noqa: S314
    assert broken.get("name") == r'<"a&\x1b".lrec>'
    assert (broken.get("tests"), broken.get("failures"), broken.get("errors")) == ("3", "1", "0")
    assert [case.get("name") for case in broken] == ["sequence", "death", "complete"]
    failure = broken[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "4 violated"
    assert (failure.text or "").splitlines()[0] == "seq 117: task 117 forks after its exit"
    assert unreadable.get("errors") == "1"


def test_junit_reports_loss_as_incomplete_unless_allowed() -> None:
    for status, failures in ((1, "1"), (0, "0")):
        (suite,) = ET.fromstring(junit_verdicts([Proof("a", status, LOSSY)]))  # noqa: S314
        assert suite.get("failures") == failures


def test_causal_line_tells_what_holds_or_where_it_breaks() -> None:
    assert causal_line((RuleResult("birth"), RuleResult("death")), Counts(1234, 0), "a.lrec") == (
        "causal: 1,234 events, 0 lost, birth and death hold"
    )
    assert causal_line((RuleResult("birth"), DEATH), Counts(1234, 17), "a.lrec") == (
        "not causal: death is violated 4 times (first at seq 117) (1,234 events, 17 lost); "
        "next: linnix-rec verify a.lrec"
    )


def test_causal_line_does_not_blame_the_order_for_what_is_missing() -> None:
    assert causal_line((RuleResult("birth"), DEATH), Counts(1234, 0, 1), "a.lrec").startswith(
        "not causal: death is violated 4 times (first at seq 117), as the missing tickets may explain "
        "(1,234 events, 1 ticket missing with its segment)"
    )


def test_a_recorded_failure_is_the_reason_in_every_format() -> None:
    for finished in (True, False):
        failed = replace(PROVEN, failure="No space left", finished=finished)
        reason = "not proven: the recording failed: No space left (1,234 events)"
        assert lines(failed, 1)[-1] == reason
        proof = Proof("a.lrec", 1, failed)
        (told,) = json.loads(json_verdicts([proof]))["captures"]
        assert (told["verdict"], told["failure"]) == ("not proven", "No space left")
        case = ET.fromstring(junit_verdicts([proof])).find(".//testcase[@name='complete']/failure")  # noqa: S314
        assert case is not None
        assert case.get("message") == reason


SUMS = RuleResult(
    "account",
    checked=2,
    violated=1,
    first=(Offence(9, "tickets issued: 1234567, in the rows: 1234566"),),
    identities=(
        Identity("forks seen", 456, "=", 456, "filtered + claimed"),
        Identity("tickets issued", 1_234_567, "=", 1_234_566, "in the rows"),
    ),
)


def told_identities(rule: RuleResult, **options: bool) -> list[str]:
    proof = Proof("a.lrec", 1, replace(PROVEN, rules=(rule,)))
    return list(verdict_lines(proof, **options))[1:-1]


def test_identities_are_told_with_both_sides_in_columns_if_wanted() -> None:
    assert told_identities(SUMS, every_identity=True) == [
        "            forks seen            456 =  456        filtered + claimed",
        "            tickets issued  1,234,567 != 1,234,566  in the rows",
    ]
    assert told_identities(SUMS) == ["            seq 9: tickets issued: 1234567, in the rows: 1234566"]


def test_evidence_that_was_counted_apart_is_told_unasked() -> None:
    proved = replace(SUMS, identities=(Identity("runs of on_exec", 3, "=", 3, "execs seen"),))
    assert told_identities(proved) == ["            runs of on_exec  3 = 3  execs seen"]
    around = Identity("forks seen", 3, "<=", 2, "forks counted around it")
    witness = RuleResult("witness", checked=1, violated=1, identities=(around,))
    assert told_identities(witness) == ["            forks seen  3 > 2  forks counted around it"]


def test_json_holds_each_identity() -> None:
    proof = Proof("a.lrec", 1, replace(PROVEN, rules=(SEQUENCE, SUMS), digest="sha256:00"))
    (told,) = json.loads(json_verdicts([proof]))["captures"]
    assert told["digest"] == "sha256:00"
    assert told["rules"][0]["identities"] == []
    assert told["rules"][1]["identities"][1] == {
        "identity": "tickets issued = in the rows",
        "left": 1_234_567,
        "right": 1_234_566,
        "relation": "=",
        "holds": False,
    }


def test_a_pruned_and_resumed_capture_says_so() -> None:
    pruned = Pruned(120, 12, 361_758_720, {"fork": 9}, 9, {"lapped": 3}, "00" * 32, 5)
    resumed = replace(PROVEN, pruned=pruned, resumptions=3)
    assert lines(resumed, 0)[-3:] == [
        "begins at seq 120: 12 older segments (345 MiB, with 3 lost tickets) were removed by retention",
        "taken up 3 times by a later recorder",
        "proven: 1,234 events, 0 lost, in causal order",
    ]
    (told,) = json.loads(json_verdicts([Proof("a.lrec", 0, resumed)]))["captures"]
    assert (told["resumptions"], told["pruned"]["end_seq"], told["pruned"]["segments"]) == (3, 120, 12)


def test_the_digest_is_a_line_as_of_sha256sum_and_a_property_in_junit() -> None:
    proof = Proof("a\n.lrec", 0, replace(PROVEN, digest="sha256:00"))
    assert digest_line(proof) == r"sha256:00  a\x0a.lrec"
    assert digest_line(Proof("a.lrec", 0, PROVEN)) == ""
    (suite,) = ET.fromstring(junit_verdicts([proof]))  # noqa: S314
    noted = suite.find("properties/property")
    assert noted is not None
    assert (noted.get("name"), noted.get("value")) == ("digest", "sha256:00")


def test_counters_and_digests_have_no_events_to_look_at() -> None:
    assert lines(replace(PROVEN, rules=(SUMS,)), 1)[-1].startswith("not proven")
