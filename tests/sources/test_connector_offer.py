"""Whether the process connector is offered: the host, pyroute2 and the kernel must all let it."""

from __future__ import annotations

from linnix_rec.bpf.host import Requirement
from linnix_rec.sources.connector_offer import connector_line, offer

WITNESS = Requirement("--witness connector", required=False, met=True, found="the process connector")
NO_NAMESPACE = Requirement("--witness connector", False, False, "ignored here", "run it outside")


def judged(witness: Requirement, *, installed: bool = True, problem: str = "") -> Requirement:
    return connector_line([witness], has_definitions=lambda: installed, problem=lambda: problem)


def test_where_all_is_there_it_is_offered() -> None:
    line = judged(WITNESS)
    assert (line.name, line.required, line.met) == ("--source connector", False, True)
    assert "record --source connector" in offer([WITNESS, line])


def test_what_keeps_the_witness_out_keeps_the_source_out() -> None:
    line = judged(NO_NAMESPACE)
    assert (line.met, line.found, line.advice) == (False, "ignored here", "run it outside")
    assert offer([line]) == ""


def test_without_pyroute2_it_is_said_how_to_get_it() -> None:
    line = judged(WITNESS, installed=False)
    assert (line.met, line.advice) == (False, "pip install 'linnix-rec[connector]'")


def test_what_the_kernel_refuses_is_told() -> None:
    line = judged(WITNESS, problem="it does not answer")
    assert (line.met, line.found) == (False, "it does not answer")


def test_other_systems_have_none() -> None:
    assert not connector_line([]).met
