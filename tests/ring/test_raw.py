"""A raw image is read back as it was written, or refused; never as something else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linnix_rec.errors import UnreadableCaptureError
from linnix_rec.ring.raw import MAGIC, MINIMUM_SLOTS, SLOT_BYTES, RawImage, framed_head, read_raw, write_raw

pytest.importorskip("zstandard")

SLOTS = MINIMUM_SLOTS


def raw_image(btf: bytes = b"btf", log_words: int = 64, first_seq: int = 5, tickets: int = SLOTS) -> RawImage:
    random = np.random.default_rng(1)
    return RawImage(
        head={"format": "test", "text": "\u00e9\n"},
        btf=btf,
        log=random.integers(0, 1 << 63, log_words, np.uint64),
        slots=random.integers(0, 256, SLOTS * SLOT_BYTES, np.uint8),
        first_seq=first_seq,
        end_seq=first_seq + tickets,
    )


def written(raw: RawImage) -> bytes:
    file = io.BytesIO()
    write_raw(file, raw)
    return file.getvalue()


def with_head(content: bytes, **changes: Any) -> bytes:
    """The same file with other words in its head; None takes one away."""
    begin = len(MAGIC) + 4
    end = begin + int.from_bytes(content[len(MAGIC) : begin], "little")
    values = {**json.loads(content[begin:end]), **changes}
    head = json.dumps({name: value for name, value in values.items() if value is not None}).encode()
    return framed_head(head) + content[end + 4 :]


def same(left: RawImage, right: RawImage) -> bool:
    return (
        (dict(left.head), left.btf, left.first_seq, left.end_seq)
        == (dict(right.head), right.btf, right.first_seq, right.end_seq)
        and np.array_equal(left.log, right.log)
        and np.array_equal(left.slots, right.slots)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ring"


@pytest.mark.parametrize("btf_bytes", [0, 1, 7, 8, 9, 4096])
@pytest.mark.parametrize("log_words", [0, 1, 64])
def test_what_was_written_is_read(path: Path, btf_bytes: int, log_words: int) -> None:
    raw = raw_image(bytes(range(256)) * 16 if btf_bytes == 4096 else bytes(btf_bytes), log_words)
    path.write_bytes(written(raw))
    assert same(read_raw(path), raw)


CONTENT = written(raw_image())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(CONTENT) - 1))
def test_no_part_of_a_file_is_taken_for_a_file(path: Path, length: int) -> None:
    path.write_bytes(CONTENT[:length])
    with pytest.raises(UnreadableCaptureError):
        read_raw(path)


@pytest.mark.parametrize("cut_bytes", range(1, 9))
def test_a_file_that_lacks_but_its_last_bytes_is_refused(path: Path, cut_bytes: int) -> None:
    """All slots are there still; their checksum is not."""
    path.write_bytes(CONTENT[:-cut_bytes])
    with pytest.raises(UnreadableCaptureError, match="its frame does not end where the file does"):
        read_raw(path)


def test_a_file_that_goes_on_behind_its_frame_is_refused(path: Path) -> None:
    path.write_bytes(CONTENT + b"more")
    with pytest.raises(UnreadableCaptureError, match="its frame does not end where the file does"):
        read_raw(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 8 * len(CONTENT) - 1))
def test_one_bit_is_noticed_wherever_it_makes_a_difference(path: Path, bit: int) -> None:
    spoilt = bytearray(CONTENT)
    spoilt[bit // 8] ^= 1 << bit % 8
    path.write_bytes(spoilt)
    try:
        read = read_raw(path)
    except UnreadableCaptureError:
        return
    # The head has no checksum: its words may change. What the frame holds may not.
    whole = raw_image()
    assert np.array_equal(read.slots, whole.slots)
    assert np.array_equal(read.log, whole.log)
    assert read.btf == whole.btf


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"slots": 1000}, "sizes that can't be"),
        ({"slots": 512}, "sizes that can't be"),
        ({"slots": 2 * SLOTS}, "not of the size it gives"),
        ({"slots": None}, "its head has no slots"),
        ({"slots": -1024}, "its head has no slots"),
        ({"slots": 1024.0}, "its head has no slots"),
        ({"slots": True}, "its head has no slots"),
        ({"btf_bytes": 1 << 30}, "sizes that can't be"),
        ({"log_words": 1 << 30}, "sizes that can't be"),
        ({"log_words": 0}, "not of the size it gives"),
        ({"first_seq": 6, "end_seq": 5}, "tickets 6 to 5 in 1024 slots"),
        ({"first_seq": 0, "end_seq": 1025}, "tickets 0 to 1025 in 1024 slots"),
        ({"slots": 1 << 40}, "takes? .* of memory: allow that with --max-slots"),
    ],
)
def test_a_head_that_can_t_be_is_refused(path: Path, changes: dict[str, Any], complaint: str) -> None:
    path.write_bytes(with_head(CONTENT, **changes))
    with pytest.raises(UnreadableCaptureError, match=complaint):
        read_raw(path)


@pytest.mark.parametrize("head", [b"", b"[]", b"{", b"null", b"[" * 100_000, b"\xff"])
def test_a_head_that_is_no_object_is_refused(path: Path, head: bytes) -> None:
    path.write_bytes(framed_head(head))
    with pytest.raises(UnreadableCaptureError, match="its head"):
        read_raw(path)


def test_a_head_without_end_is_not_read(path: Path) -> None:
    path.write_bytes(MAGIC + b"\xff" * 4)
    with pytest.raises(UnreadableCaptureError, match="a head of 4294967295 bytes"):
        read_raw(path)


def test_more_memory_than_usual_is_only_taken_when_it_is_allowed(path: Path) -> None:
    path.write_bytes(CONTENT)
    with pytest.raises(UnreadableCaptureError, match=f"allow that with --max-slots {SLOTS}"):
        read_raw(path, maximum_slots=SLOTS // 2)
    assert same(read_raw(path, maximum_slots=SLOTS), raw_image())


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableCaptureError, match="can't read"):
            read_raw(path)
