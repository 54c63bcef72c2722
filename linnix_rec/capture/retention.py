"""Which segments a capture keeps, and what is noted of those that go. Decides only; knows no file."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from linnix_rec.capture.document import Pruned, Segment
from linnix_rec.capture.parquet import SegmentMetadata

#: Stands for the kinds of rows that were in a segment whose footer could not be read any more.
UNREADABLE: Final = "unreadable"

_SEGMENT_NAME: Final = re.compile(r"segment-([0-9]{20})\.parquet")


@dataclass(frozen=True)
class Retention:
    """How much of a capture is kept; None is all.

    keep_bytes: of closed segments, together
    keep_ns: since a segment was closed, by the clock that counts from boot: nobody sets it
    """

    keep_bytes: int | None = None
    keep_ns: int | None = None

    def due(self, segments: Sequence[Segment], now_boot_ns: int) -> int:
        """Say how many of a capture's first segments are to go; the last one never is."""
        total_bytes = sum(segment.bytes for segment in segments)
        for number, segment in enumerate(segments[:-1]):
            if not (self._too_many(total_bytes) or self._too_old(segment, now_boot_ns)):
                return number
            total_bytes -= segment.bytes
        return max(0, len(segments) - 1)

    def _too_many(self, total_bytes: int) -> bool:
        return self.keep_bytes is not None and total_bytes > self.keep_bytes

    def _too_old(self, segment: Segment, now_boot_ns: int) -> bool:
        if self.keep_ns is None or segment.closed_boot_ns is None:
            return False
        return now_boot_ns - segment.closed_boot_ns > self.keep_ns


class NamedCgroups:
    """The paths of all cgroups that were ever seen, and the end of the last segment that names each.

    On a host that runs containers there are more of them every day; capture.json has those of what is kept.
    """

    def __init__(self, paths: Mapping[str, str], end_seq: int) -> None:
        self._paths = dict(paths)
        self._end_seq = dict.fromkeys(paths, end_seq)

    def learn(self, paths: Mapping[str, str]) -> None:
        """Add paths by id."""
        self._paths |= paths

    def named(self, ids: Iterable[int], end_seq: int) -> None:
        """Note the ids in a segment that ends at this ticket."""
        self._end_seq |= dict.fromkeys(map(str, ids), end_seq)

    def kept(self, from_seq: int) -> dict[str, str]:
        """Give the paths of cgroups that are named from this ticket on, or not in any closed segment yet."""
        return {
            cgroup_id: path
            for cgroup_id, path in self._paths.items()
            if self._end_seq.get(cgroup_id, from_seq + 1) > from_seq
        }


def summed(before: Pruned | None, gone: Iterable[tuple[Segment, SegmentMetadata | None]]) -> Pruned:
    """Add segments that go, in their order, to what went before.

    Of one without metadata (it is damaged, or somebody has removed it) neither kinds nor tickets are known:
    its rows are counted as `UNREADABLE`, and its tickets not at all, so that the capture's sums don't agree.
    """
    total = before or Pruned(0, 0, 0, {}, 0, {}, "", 0)
    rows, lost = Counter(total.rows), Counter(total.lost)
    event_tickets, size_bytes, count, boot_ns = (
        total.event_tickets,
        total.bytes,
        total.segments,
        total.boot_ns,
    )
    last = None
    for segment, metadata in gone:
        last = segment
        count += 1
        size_bytes += segment.bytes
        boot_ns = max(boot_ns, segment.closed_boot_ns or 0)
        if metadata is None:
            rows[UNREADABLE] += segment.rows
            continue
        rows.update(metadata.rows)
        lost.update(metadata.lost)
        event_tickets += metadata.end_seq - metadata.first_seq - sum(metadata.lost.values())
    if last is None:
        return total
    return Pruned(
        last.end_seq, count, size_bytes, dict(rows), event_tickets, dict(lost), last.sha256, boot_ns
    )


def is_leftover(name: str, pruned: Pruned | None) -> bool:
    """Say whether a file is a segment that retention removed, and that a crash kept from being unlinked."""
    named = _SEGMENT_NAME.fullmatch(name)
    return named is not None and pruned is not None and int(named[1]) < pruned.end_seq
