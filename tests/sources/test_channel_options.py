"""What a ring buffer or perf buffers can't be is said in one line, before the kernel is asked."""

from __future__ import annotations

import mmap

import pytest

from linnix_rec.errors import UsageError
from linnix_rec.sources.perf import check_perf_size
from linnix_rec.sources.ringbuf import check_ringbuf_size, load_ringbuf
from linnix_rec.sources.wakeups import EVERY_MAX, Wakeups, parse_wakeups

PAGE = mmap.PAGESIZE


@pytest.mark.parametrize("size_bytes", [PAGE, 1 << 20, 1 << 30])
def test_powers_of_two_of_whole_pages_can_be(size_bytes: int) -> None:
    check_ringbuf_size(size_bytes)
    check_perf_size(size_bytes)


@pytest.mark.parametrize(
    ("size_bytes", "such_as"),
    [
        (0, PAGE),
        (-5, PAGE),
        (PAGE // 2, PAGE),
        (3 * PAGE, 4 * PAGE),
        ((1 << 20) + 1, 1 << 21),
        (1 << 40, 1 << 31),
    ],
)
def test_any_other_size_is_refused_with_one_that_can_be(size_bytes: int, such_as: int) -> None:
    with pytest.raises(
        UsageError, match=f"a ring buffer of {size_bytes} bytes can't be: .* such as {such_as}$"
    ):
        check_ringbuf_size(size_bytes)


def test_a_perf_buffer_ends_earlier() -> None:
    with pytest.raises(UsageError, match=f"a perf buffer of {1 << 31} bytes can't be: .* such as {1 << 30}$"):
        check_perf_size(1 << 31)


def test_policies_are_read_and_written_alike() -> None:
    for text in ("adaptive", "none", "force"):
        assert parse_wakeups(text) == Wakeups(text)
        assert str(parse_wakeups(text)) == text
    assert parse_wakeups("every:64") == Wakeups("every", 64)
    assert str(parse_wakeups("every:064")) == "every:64"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every",
        "every:",
        "every:0",
        "every:-1",
        "every:x",
        "every:\u0663",
        f"every:{EVERY_MAX + 1}",
        "often",
    ],
)
def test_any_other_policy_is_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"no such wake-up policy: .*; take adaptive, none, force, or every:N"
    ):
        parse_wakeups(text)


def test_usage_is_judged_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="no such wake-up policy: often"):
        load_ringbuf(PAGE, wakeup="often", tree_only=True)
