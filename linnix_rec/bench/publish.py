"""What it costs to hand over an event, channel by channel, with nothing traced. Reads no event.

Driven in the kernel (`publisher`), on one CPU and on several at once. Within a round the channels take
turns, in another order each time: what is compared was measured within a few milliseconds.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from linnix_rec.bench.publisher import Publisher
from linnix_rec.bench.tables import Cell, Figure, Table, Tell

#: Of each channel, over all CPUs: more than a CPU's own caches hold, as of a channel whose reader lags.
CHANNEL_BYTES: Final = 32 << 20
ROUNDS: Final = 9


@dataclass(frozen=True)
class Channel:
    """A way to hand over an event of so many slots; `name` is its program's."""

    name: str
    title: str
    slots: int = 1


LIMIT: Final = Channel("bare", "limit: fetch-and-add, and 128 bytes written")
SEQUENCER: Final = Channel("sequencer_1", "sequencer")
SUBMIT: Final = Channel("ringbuf_submit", "ring buffer, reserve and submit")

CHANNELS: Final = (
    Channel("nothing", "the loop alone, which is in every row"),
    LIMIT,
    SEQUENCER,
    Channel("sequencer_4", "sequencer, 4 slots", 4),
    Channel("sequencer_16", "sequencer, 16 slots", 16),
    SUBMIT,
    Channel("ringbuf_discard", "ring buffer, reserve and discard"),
    Channel("ringbuf_output_1", "ring buffer, output"),
    Channel("ringbuf_output_4", "ring buffer, output, 4 slots", 4),
    Channel("ringbuf_output_16", "ring buffer, output, 16 slots", 16),
    Channel("perfbuf_output_1", "perf buffer, output"),
    Channel("perfbuf_output_4", "perf buffer, output, 4 slots", 4),
    Channel("perfbuf_output_16", "perf buffer, output, 16 slots", 16),
)

#: What stands against what, and what the ratio should be at most.
RATIOS: Final = (
    (SEQUENCER, SUBMIT, "0.8 on one CPU, 0.45 on all at once"),
    (SEQUENCER, LIMIT, "1.6 on one CPU"),
)

#: ns an event and CPU, by the channel's name; of one round, or of each of several.
Round = Mapping[str, float]


def measure(runs: int, tell: Tell) -> Iterator[Table]:
    """Yield the table of costs, and of the ratios that have targets. Raises LinnixRecError."""
    cpus = sorted(os.sched_getaffinity(0))
    counts = cpu_counts(len(cpus))
    measured: list[list[list[Round]]] = []  # by number of CPUs, run, round
    with Publisher(CHANNEL_BYTES, cpus) as publisher:
        for count in counts:
            tell(f"publish: {count} of {len(cpus)} CPUs, {runs} runs of {ROUNDS} rounds")
            rounds(publisher, cpus[:count], 1)  # to warm up
            measured.append([rounds(publisher, cpus[:count], ROUNDS) for _ in range(runs)])
    columns = tuple(f"{count} CPU{'s' * (count > 1)}" for count in counts)
    yield costs(columns, measured)
    yield ratios(columns, measured)


def cpu_counts(cpus: int) -> list[int]:
    """Give 1, 2, 4, ... and all of them."""
    return sorted({1 << power for power in range(cpus.bit_length())} | {cpus})


def rounds(publisher: Publisher, cpus: Sequence[int], count: int) -> list[Round]:
    """Let every channel have its turn, so many times."""
    measured: list[Round] = []
    for first in range(count):
        order = [CHANNELS[(first + place) % len(CHANNELS)] for place in range(len(CHANNELS))]
        measured.append(
            {channel.name: publisher.turn(channel.name, channel.slots, cpus).ns_an_event for channel in order}
        )
    return measured


_NOTES: Final = (
    f"128 bytes a slot, all written; {CHANNEL_BYTES >> 20} MiB a channel, never full; nobody is woken.",
    "At once: CPUs wait for each other in the kernel, and who is done goes on, unmeasured, until all are.",
    "What CPUs contend for costs several times more where they share no cache: compare within one column.",
)


def costs(columns: Sequence[str], measured: Sequence[Sequence[Sequence[Round]]]) -> Table:
    """Tell what an event takes; of each run the median of its rounds."""
    rows: list[tuple[Cell, ...]] = [
        (channel.title, *(_figure(runs, _cost(channel), "ns") for runs in measured)) for channel in CHANNELS
    ]
    title = "Handing over an event, ns an event and CPU"
    return Table("publish", title, ("channel", *columns), tuple(rows), _NOTES)


def ratios(columns: Sequence[str], measured: Sequence[Sequence[Sequence[Round]]]) -> Table:
    """Tell one channel's cost by another's, of the same round; of each run the median of its rounds."""
    return Table(
        "publish-ratios",
        "Handing over an event, one channel against another",
        ("what", "against", "at most", *columns),
        tuple(
            (one.title, other.title, aim, *(_figure(runs, _ratio(one, other)) for runs in measured))
            for one, other, aim in RATIOS
        ),
        ("Both of the same round, with the loop in each.",),
    )


def _cost(channel: Channel) -> Callable[[Round], float]:
    return lambda one: one[channel.name]


def _ratio(one: Channel, other: Channel) -> Callable[[Round], float]:
    return lambda both: both[one.name] / both[other.name]


def _figure(runs: Sequence[Sequence[Round]], value: Callable[[Round], float], unit: str = "") -> Figure:
    return Figure(tuple(statistics.median(map(value, run)) for run in runs), unit)
