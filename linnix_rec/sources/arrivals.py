"""What the two channels without tickets share: rows numbered as they arrive, and losses told in their midst.

Knows not how a channel is read, and no file.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from linnix_rec.bpf.load import LoadedObject
from linnix_rec.errors import UsageError
from linnix_rec.ring.cursor import Gap, Slots, Words
from linnix_rec.ring.records import Integers
from linnix_rec.sources.bpf_source import BpfSource
from linnix_rec.sources.decode import Decoder

Cpus = npt.NDArray[np.uint16]


class ArrivalSource(BpfSource):
    """A channel that drops what finds no room; `lost` counts events, as `issued` does."""

    def __init__(self, loaded: LoadedObject, decoder: Decoder) -> None:
        super().__init__(loaded, decoder)
        self._seq = 0

    @property
    def seq(self) -> int:
        """The number that the next event to be read gets."""
        return self._seq

    @property
    def lag(self) -> int:
        """Events that wait to be read; not those that were lost."""
        return max(0, int(self._accounts["published_tickets"].sum()) - (self._seq - self.lost))

    def note_end(self, note: bytes) -> None:
        """Nobody takes it up: it can't be pinned."""

    def unpin(self) -> None:
        """It is not pinned."""

    def _dropped(self) -> int:
        """Events that the channel has refused so far, by the programs' counts."""
        return int(self._accounts["abandoned_tickets"].sum())

    def _told(self, slots: Slots, heads: Integers, lost: Words, cpus: Cpus) -> Iterator[pa.RecordBatch]:
        """Events as rows, with a gap before each before which something is missing.

        heads: (n,) where in `slots` each begins
        lost: (n,) events missing before it, of its CPU; cpus: (n,) which that is
        """
        begin = 0
        for place in np.flatnonzero(lost):
            head = int(heads[place])
            if head > begin:
                yield self._arrived(slots[begin:head])
            yield self._gap(int(lost[place]), int(cpus[place]))
            begin = head
        if len(slots) > begin:
            yield self._arrived(slots[begin:])

    def _rest(self) -> Iterator[pa.RecordBatch]:
        """What was lost and not told, at the end."""
        if self._dropped() > self.lost:
            yield self._gap(self._dropped() - self.lost)

    def _arrived(self, slots: Slots) -> pa.RecordBatch:
        batch = self.decoder.arrivals(self._seq, slots)
        self.events += batch.num_rows
        self._seq += batch.num_rows
        return batch

    def _gap(self, lost: int, cpu: int | None = None) -> pa.RecordBatch:
        batch = self.decoder.gap_batch(Gap(self._seq, self._seq + lost, "dropped"), cpu)
        self.events += batch.num_rows
        self._seq += lost
        self.lost += lost
        return batch


def check_size(what: str, size_bytes: int, page_bytes: int, maximum_bytes: int) -> None:
    """Raise UsageError unless `what` can have that size: a power of two of whole pages."""
    if page_bytes <= size_bytes <= maximum_bytes and size_bytes & (size_bytes - 1) == 0:
        return
    near = min(max(page_bytes, 1 << max(size_bytes - 1, 0).bit_length()), maximum_bytes)
    raise UsageError(
        f"{what} of {size_bytes} bytes can't be: take a power of two"
        f" from {page_bytes} to {maximum_bytes}, such as {near}"
    )
