"""What the kernel says of a mapping is read for that mapping, and the claim is judged by it alone."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from linnix_rec.bench import hugepages
from linnix_rec.bench.drain import OWN_FORKS, full_channels, new_decoder
from linnix_rec.bench.hugepages import (
    COPIED,
    DECODED,
    RINGBUF,
    VARIANTS,
    Drained,
    Mapped,
    SystemCalls,
    Variant,
    look_at,
    mappings,
    of_mapping,
    system_calls,
    verdict,
)
from linnix_rec.bench.tables import Figure
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.errors import RecordingError
from linnix_rec.ring.cursor import Cursor
from linnix_rec.sources.sequencer import load_sequencer

SMAPS = """\
7f0000000000-7f0008000000 r--s 00000000 00:0e 1049       anon_inode:bpf-map
Size:             131072 kB
Rss:              131072 kB
AnonHugePages:         0 kB
THPeligible:           0
VmFlags: rd sh mr mw me ms hg
7f0008000000-7f0010000000 rw-p 00000000 00:00 0
Rss:               65536 kB
AnonHugePages:     65536 kB
THPeligible:           1
"""
PLAIN = Mapped("", 8.0, 0, eligible=False, huge_bytes=0, resident_bytes=128 << 20, slots_per_second=1e8)


def mapped(*ring_advised: Mapped) -> dict[Variant, list[Mapped]]:
    return {
        variant: list(ring_advised) if variant.ring and variant.advice is not None else [PLAIN]
        for variant in VARIANTS
    }


def test_numbers_are_of_the_mapping_at_the_address() -> None:
    assert of_mapping(SMAPS, 0x7F0007FFFFFF) == {
        "Size": 131072,
        "Rss": 131072,
        "AnonHugePages": 0,
        "THPeligible": 0,
    }
    assert of_mapping(SMAPS, 0x7F0008000000) == {"Rss": 65536, "AnonHugePages": 65536, "THPeligible": 1}
    assert of_mapping(SMAPS, 0x7F0010000000) == {}


@pytest.mark.parametrize(
    ("seen", "judged"),
    [
        (replace(PLAIN, advised="accepted"), "refuted here, the kernel accepts it and does nothing."),
        (replace(PLAIN, advised="Invalid argument"), "refuted here, the kernel refuses it."),
        (replace(PLAIN, advised="accepted", huge_bytes=2 << 20), "confirmed here."),
    ],
)
def test_the_claim_is_judged_by_what_was_seen(seen: Mapped, judged: str) -> None:
    assert verdict(mapped(seen)).endswith(judged)


def test_a_mapping_has_a_row_with_sizes_in_mib() -> None:
    table = mappings(mapped(PLAIN, replace(PLAIN, huge_bytes=64 << 20)))
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["mapping"] for row in cells] == [variant.title for variant in VARIANTS]
    assert cells[0]["resident"] == Figure((128.0,), "MiB")
    assert cells[1]["in huge pages"] == Figure((0.0, 64.0), "MiB")
    assert cells[1]["stamps read"] == Figure((100.0, 100.0), "M slots/s")


def test_counts_of_system_calls_have_a_row_each_way_to_read() -> None:
    drained = {name: [Drained(100, 0, 0), Drained(100, 3, 1)] for name in (COPIED, DECODED, RINGBUF)}
    rows = system_calls(drained).rows
    assert [row[0] for row in rows] == [COPIED, DECODED, RINGBUF]
    assert rows[0][1:] == (Figure((100, 100)), Figure((0, 3)), Figure((0, 1)))


def test_without_tracefs_the_row_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(group: str, name: str) -> int:
        raise RecordingError(f"no {group}:{name}")

    monkeypatch.setattr(hugepages, "tracepoint_id", refuse)
    said = hugepages._drained(None, 1)  # type: ignore[arg-type]
    assert system_calls(said).rows == (("can't be counted here", "no raw_syscalls:sys_enter", "", ""),)


@contextmanager
def system_call_counter() -> Iterator[SystemCalls]:
    counter = SystemCalls()
    try:
        yield counter
    finally:
        counter.close()


@pytest.mark.kernel
def test_a_thread_counts_its_own_system_calls() -> None:
    def ask(times: int) -> int:
        for _ in range(times):
            os.getppid()
        return times

    with system_call_counter() as counter:
        counted = [counter.of(partial(ask, times)) for times in (0, 1, 100)]
    assert [(each.events, each.system_calls) for each in counted] == [(0, 0), (1, 1), (100, 100)]


@pytest.mark.kernel
def test_a_ring_is_copied_without_a_system_call_or_a_page_fault() -> None:
    with full_channels(1 << 10, OWN_FORKS) as filled, system_call_counter() as counter:
        new_decoder()  # which has the allocator keep what is freed
        seen = [counter.of(lambda: hugepages._copied(Cursor(filled.ring))) for _ in range(5)]
    assert seen[0].events > 1 << 9
    assert min(each.system_calls for each in seen) == 0
    assert min(each.faults for each in seen) == 0


@pytest.mark.kernel
def test_the_rings_mapping_is_there_at_once_and_never_huge() -> None:
    with load_sequencer(1 << 15, tree_only=False) as loaded:  # 4 MiB
        ring, slot = loaded.maps["ring"], struct_dtype(loaded.spec.btf, "slot")
        seen = {variant: look_at(variant, ring, slot) for variant in VARIANTS}
    for variant, each in seen.items():
        assert each.resident_bytes >= 4 << 20, variant
        assert each.slots_per_second > 0
        if variant.ring:
            assert (each.huge_bytes, each.faults) == (0, 0), variant
            assert each.advised == ("" if variant.advice != mmap.MADV_HUGEPAGE else "accepted")
