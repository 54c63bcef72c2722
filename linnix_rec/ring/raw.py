"""The raw image of a ring as a file: a head in JSON, then one zstd frame. Knows no kernel and no event.

    8 bytes    LNXRING1
    4 bytes    length of the head, little-endian
    head       UTF-8 JSON: sizes, tickets, and whatever else the writer wants to be found again
    4 bytes    CRC-32 of the head, little-endian
    frame      BTF of the object, zeros up to a multiple of 8 bytes, abandon log, slots; with content size
               and checksum

The BTF says how a slot is laid out, so any later version can read it.
"""

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from linnix_rec.errors import LinnixRecError, UnreadableCaptureError

MAGIC: Final = b"LNXRING1"
SLOT_BYTES: Final = 128
MINIMUM_SLOTS: Final = 1 << 10
#: An image takes as much memory as its ring had; more than this is only read if it is asked for.
USUAL_MAXIMUM_SLOTS: Final = 1 << 20

_HEAD_BYTES_MAX: Final = 4 << 20
_BTF_BYTES_MAX: Final = 1 << 20
_LOG_WORDS_MAX: Final = 1 << 10
_WORD_BYTES: Final = 8
_LEVEL: Final = 1
_THREADS: Final = 2
_CHUNK_BYTES: Final = 1 << 20
_FRAME_HEADER_BYTES_MAX: Final = 18
_BLOCK_HEADER_BYTES: Final = 3
_RUN_LENGTH_BLOCK: Final = 1
_CHECKSUM_BYTES: Final = 4
_BLOCK_BYTES_MAX: Final = 1 << 17  # of content; fewer where a thread's share ends, every few MiB
_BLOCKS_BESIDE: Final = 64
_SIZES: Final = ("slots", "btf_bytes", "log_words", "first_seq", "end_seq")


@dataclass(frozen=True)
class RawImage:
    """What a file holds. `head` has what the writer put there, sizes aside.

    btf: the object's; log: (entries,) uint64; slots: (N * 128,) uint8
    """

    head: Mapping[str, Any]
    btf: bytes
    log: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.uint8]
    first_seq: int
    end_seq: int


def write_raw(file: IO[bytes], raw: RawImage) -> None:
    """Write an image; raises OSError, LinnixRecError."""
    zstandard = _zstandard()
    sizes = {
        "slots": len(raw.slots) // SLOT_BYTES,
        "btf_bytes": len(raw.btf),
        "log_words": len(raw.log),
        "first_seq": raw.first_seq,
        "end_seq": raw.end_seq,
    }
    head = json.dumps({**raw.head, **sizes}, ensure_ascii=False).encode()
    file.write(framed_head(head))
    pieces = (raw.btf, bytes(_padding_bytes(len(raw.btf))), raw.log.tobytes(), raw.slots.data)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=_THREADS, write_checksum=True)
    with compressor.stream_writer(file, size=sum(map(len, pieces)), closefd=False) as frame:
        for piece in pieces:
            frame.write(piece)


def framed_head(head: bytes) -> bytes:
    """What stands before the frame."""
    return MAGIC + len(head).to_bytes(4, "little") + head + zlib.crc32(head).to_bytes(4, "little")


def read_raw(path: Path, maximum_slots: int = USUAL_MAXIMUM_SLOTS) -> RawImage:
    """Read an image; raises UnreadableCaptureError for whatever is none, or holds more than is allowed."""
    try:
        with path.open("rb") as file:
            return _read(file, str(path), maximum_slots)
    except OSError as error:
        raise UnreadableCaptureError(f"can't read {path}: {error.strerror}") from error


def _read(file: IO[bytes], name: str, maximum_slots: int) -> RawImage:
    begin = file.read(len(MAGIC) + 4)
    head_bytes = int.from_bytes(begin[len(MAGIC) :], "little")
    if not begin.startswith(MAGIC) or len(begin) < len(MAGIC) + 4:
        raise UnreadableCaptureError(f"{name} is no raw image of a ring: `dump --raw` writes those")
    if head_bytes > _HEAD_BYTES_MAX:
        raise UnreadableCaptureError(f"{name} is damaged: a head of {head_bytes} bytes")
    content = file.read(head_bytes)
    if file.read(4) != zlib.crc32(content).to_bytes(4, "little"):
        raise UnreadableCaptureError(f"{name} is damaged or cut short: its head is not what was written")
    head = _parsed_head(content, name)
    slots, btf_bytes, log_words, first_seq, end_seq = (_size(head, key, name) for key in _SIZES)
    if (
        slots < MINIMUM_SLOTS
        or slots & (slots - 1)
        or btf_bytes > _BTF_BYTES_MAX
        or log_words > _LOG_WORDS_MAX
    ):
        raise UnreadableCaptureError(f"{name} is damaged: its head gives sizes that can't be")
    if not first_seq <= end_seq <= first_seq + slots:
        raise UnreadableCaptureError(f"{name} is damaged: tickets {first_seq} to {end_seq} in {slots} slots")
    if slots > maximum_slots:
        raise UnreadableCaptureError(
            f"{name} holds {slots} slots, which take {slots * SLOT_BYTES >> 20} MiB of memory:"
            f" allow that with --max-slots {slots}"
        )
    log_begin = btf_bytes + _padding_bytes(btf_bytes)
    log_end = log_begin + log_words * _WORD_BYTES
    rest = _decompressed(file, log_end + slots * SLOT_BYTES, name)
    return RawImage(
        head={key: value for key, value in head.items() if key not in _SIZES},
        btf=rest[:btf_bytes].tobytes(),
        log=rest[log_begin:log_end].view(np.uint64),
        slots=rest[log_end:],
        first_seq=first_seq,
        end_seq=end_seq,
    )


def _padding_bytes(btf_bytes: int) -> int:
    """What lets words be words: numpy takes them where they lie."""
    return -btf_bytes % _WORD_BYTES


def _parsed_head(content: bytes, name: str) -> dict[str, Any]:
    try:
        head = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableCaptureError(f"{name} is damaged or cut short: its head can't be read") from error
    if not isinstance(head, dict):
        raise UnreadableCaptureError(f"{name} is damaged: its head is no object")
    return head


def _size(head: Mapping[str, Any], key: str, name: str) -> int:
    value = head.get(key)
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise UnreadableCaptureError(f"{name} is damaged: its head has no {key}")
    return value


def _decompressed(file: IO[bytes], size_bytes: int, name: str) -> npt.NDArray[np.uint8]:
    """Exactly so many bytes, in memory that grows only as they come."""
    zstandard = _zstandard()
    if not _frame_is_whole(file, size_bytes, zstandard):
        raise UnreadableCaptureError(
            f"{name} is damaged or cut short: its frame does not end where the file does"
        )
    content = np.zeros(size_bytes, np.uint8)
    filled = 0
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, closefd=False) as frame:
            while filled < size_bytes:
                count = frame.readinto(content.data[filled : filled + _CHUNK_BYTES])
                if count == 0:
                    break
                filled += count
            more = frame.read(1)  # also lets the checksum be looked at
    except zstandard.ZstdError as error:
        raise UnreadableCaptureError(f"{name} is damaged or cut short: {error}") from error
    if filled != size_bytes or more:
        raise UnreadableCaptureError(f"{name} is damaged or cut short: its frame is not of the size it gives")
    return content


def _frame_is_whole(file: IO[bytes], size_bytes: int, zstandard: Any) -> bool:
    """Whether a frame of `size_bytes` with a checksum goes from here, where the file stays, to its end.

    zstandard's reader gives all content of a frame that was cut inside of its checksum (RFC 8878, 3.1.1).
    """
    begin = file.tell()
    file_bytes = file.seek(0, io.SEEK_END)
    file.seek(begin)
    header = file.read(_FRAME_HEADER_BYTES_MAX)
    try:
        place = begin + int(zstandard.frame_header_size(header))
        has_checksum = zstandard.get_frame_parameters(header).has_checksum
    except zstandard.ZstdError:
        return False
    for _ in range(2 * (size_bytes // _BLOCK_BYTES_MAX) + _BLOCKS_BESIDE):
        file.seek(place)
        block = int.from_bytes(file.read(_BLOCK_HEADER_BYTES), "little")
        is_last, kind, block_bytes = block & 1, block >> 1 & 3, block >> 3
        place += _BLOCK_HEADER_BYTES + (1 if kind == _RUN_LENGTH_BLOCK else block_bytes)
        if is_last or place >= file_bytes:
            file.seek(begin)
            return bool(is_last and has_checksum and place + _CHECKSUM_BYTES == file_bytes)
    return False


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise LinnixRecError("raw images need python-zstandard: pip install 'linnix-rec[raw]'") from error
    return zstandard
