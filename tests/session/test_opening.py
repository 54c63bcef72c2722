"""Each source takes its own options, and says of the others whose they are."""

from __future__ import annotations

import pytest

from linnix_rec.bpf import btf
from linnix_rec.bpf.host import Requirement
from linnix_rec.errors import RecordingError, UsageError
from linnix_rec.session import opening
from linnix_rec.session.opening import USES, check_options
from linnix_rec.session.recording import IDLE_SECONDS, idle_seconds
from linnix_rec.session.request import ChannelOptions, Request
from linnix_rec.sources import connector_offer

GIVEN = {"size_bytes": 1 << 20, "wakeup": "none", "poll": "busy", "merge": "none"}


@pytest.mark.parametrize("source", USES)
@pytest.mark.parametrize("option", GIVEN)
def test_an_option_is_taken_by_those_who_use_it(source: str, option: str) -> None:
    options = ChannelOptions(**{option: GIVEN[option]})
    if option in USES[source]:
        check_options(source, options)
        return
    with pytest.raises(UsageError, match=f"--{option.removesuffix('_bytes')} means nothing to the {source}"):
        check_options(source, options)


def test_the_sequencer_can_t_be_waited_for() -> None:
    with pytest.raises(UsageError, match="wakes nobody: --poll takes busy, or milliseconds"):
        check_options("sequencer", ChannelOptions(poll="epoll"))


@pytest.mark.parametrize(
    ("poll", "ring_slots", "seconds"),
    [
        ("busy", 1 << 20, 0.0),
        ("10", 1 << 20, 0.01),
        ("epoll", 0, IDLE_SECONDS),
        (None, 0, IDLE_SECONDS),
        (None, 1 << 20, IDLE_SECONDS),
        (None, 1 << 10, (1 << 9) / (1 << 21)),
    ],
)
def test_an_idle_source_is_left_alone_for_so_long(poll: str | None, ring_slots: int, seconds: float) -> None:
    assert idle_seconds(poll, ring_slots) == seconds


@pytest.mark.parametrize(
    ("source", "works", "offered"),
    [
        ("sequencer", True, True),
        ("sequencer", False, False),
        ("perf", True, True),
        ("connector", True, False),
    ],
)
def test_the_connector_is_offered_where_bpf_can_t_work_and_it_could(
    source: str, works: bool, offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Request, decoder: object) -> None:
        raise RecordingError("this kernel has no BTF")

    monkeypatch.setattr(opening, "_open", refuse)
    monkeypatch.setattr(opening, "_only_the_connector_works", lambda: works)
    with pytest.raises(RecordingError) as refused:
        opening.open_source(Request(source=source), decoder=None)  # type: ignore[arg-type]
    assert ("--source connector" in str(refused.value)) == offered


@pytest.mark.parametrize("listens", [True, False])
def test_it_is_offered_only_if_it_would_be_heard(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_btf() -> None:
        raise RecordingError("no BTF")

    def line(_found: object) -> Requirement:
        return Requirement("--source connector", required=False, met=listens, found="")

    monkeypatch.setattr(btf, "read_vmlinux", no_btf)
    monkeypatch.setattr(connector_offer, "connector_line", line)
    assert opening._only_the_connector_works() == listens
