"""Costs are medians of rounds, ratios are of one round; every channel hands over what it was asked to."""

import os

import numpy as np
import pytest

from linnix_rec.bench import publisher
from linnix_rec.bench.publish import CHANNELS, LIMIT, SEQUENCER, SUBMIT, costs, cpu_counts, ratios, rounds
from linnix_rec.bench.publisher import EVENTS_MAX, Publisher, Turn, events_a_cpu
from linnix_rec.bench.tables import Figure
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.errors import ProgramRefusedError
from linnix_rec.errors import RecordingError

MIB = 1 << 20


def round_of(**ns: float) -> dict[str, float]:
    return {channel.name: ns.get(channel.name, 1.0) for channel in CHANNELS}


@pytest.mark.parametrize(
    ("cpus", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (128, [1, 2, 4, 8, 16, 32, 64, 128])]
)
def test_numbers_of_cpus_double_up_to_all(cpus: int, counts: list[int]) -> None:
    assert cpu_counts(cpus) == counts


@pytest.mark.parametrize("cpus", [1, 2, 8, 128])
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_what_a_turn_measures_leaves_each_channel_room(cpus: int, slots: int) -> None:
    events = events_a_cpu(32 * MIB, slots, cpus)
    assert 1 <= events <= EVENTS_MAX
    perf_record_bytes = 16 + 128 * slots  # the ring buffer's has 8 bytes beside
    assert events * cpus * perf_record_bytes < 0.7 * 32 * MIB


def test_a_turn_takes_the_mean_of_its_cpus() -> None:
    assert Turn(events=100, taken_ns=(1000, 3000)).ns_an_event == 20.0


def test_a_cost_is_the_median_of_each_runs_rounds() -> None:
    runs = [[round_of(sequencer_1=ns) for ns in run] for run in ((10, 12, 99), (11, 13, 14))]
    table = costs(("1 CPU",), [runs])
    assert table.columns == ("channel", "1 CPU")
    row = next(row for row in table.rows if row[0] == SEQUENCER.title)
    assert row[1] == Figure((12, 13), "ns")


def test_a_ratio_is_of_costs_in_the_same_round() -> None:
    """The second round was five times as dear for both: their ratio is the same."""
    rounds_of_a_run = [
        round_of(sequencer_1=50, ringbuf_submit=100, bare=40),
        round_of(sequencer_1=250, ringbuf_submit=500, bare=200),
        round_of(sequencer_1=50, ringbuf_submit=200, bare=50),
    ]
    rows = {(row[0], row[1]): row[3] for row in ratios(("2 CPUs",), [[rounds_of_a_run]]).rows}
    assert rows == {
        (SEQUENCER.title, SUBMIT.title): Figure((0.5,)),
        (SEQUENCER.title, LIMIT.title): Figure((1.25,)),
    }


def test_a_kernel_without_bpf_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise ProgramRefusedError(
            "publish_nothing", 22, "12: (85) call unknown#181\ninvalid func unknown#181"
        )

    monkeypatch.setattr(publisher, "load", refuse)
    with pytest.raises(RecordingError, match=r"lacks bpf_loop, .*: it came with Linux 5\.17"):
        Publisher(MIB, [0])


@pytest.mark.kernel
def test_every_channel_hands_over_on_cpus_at_once() -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]  # more take turns where they are emulated
    with Publisher(2 * MIB, cpus) as ready:
        turns = [ready.turn(channel.name, channel.slots, cpus) for channel in CHANNELS]
        for channel, turn in zip(CHANNELS, turns, strict=True):
            assert turn.events == events_a_cpu(2 * MIB, channel.slots, len(cpus))
            assert len(turn.taken_ns) == len(cpus)
            assert min(turn.taken_ns) > 0
        assert rounds(ready, cpus[:1], 1)[0].keys() == {channel.name for channel in CHANNELS}


@pytest.mark.kernel
def test_what_is_measured_is_really_handed_over() -> None:
    """All tickets of the last lap are ready; of a record there are its bytes in the buffers, no more."""
    cpus, slots = sorted(os.sched_getaffinity(0))[:2], 2 * MIB // 128
    with Publisher(2 * MIB, cpus) as ready:
        ringbuf, *perfbufs = ready._channels
        for channel, of_channels, record_bytes in (
            ("ringbuf_submit", [ringbuf], 8 + 128),
            ("perfbuf_output_1", perfbufs, 16 + 128),
        ):
            written = sum(int(each._written[0]) for each in of_channels)
            events = ready.turn(channel, 1, cpus).events * len(cpus)
            written = sum(int(each._written[0]) for each in of_channels) - written
            assert written % record_bytes == 0
            assert written >= events * record_bytes

        events = ready.turn("sequencer_1", 1, cpus).events * len(cpus)
        loaded = ready._object
        stamps = np.frombuffer(loaded.maps["ring"].map_memory(), struct_dtype(loaded.spec.btf, "slot"))[
            "stamp"
        ]
        issued = int(ready._variables._words["next_ticket"][0])
        assert issued >= events
        tickets = np.arange(max(0, issued - slots), issued, dtype=np.uint64)
        assert (stamps[tickets % slots] == 2 * tickets + 2).all()
