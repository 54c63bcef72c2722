"""Changes raw ring images: the head as JSON, and what the frame holds; its size and checksum fit again."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import zstandard

from linnix_rec.ring.raw import framed_head
from tests.fuzz.documents import mutated_document
from tests.fuzz.objects import mutated_btf

_BEGIN_BYTES = 12
_CRC_BYTES = 4
_CONTENT_BYTES_MAX = 1 << 20


def mutated_image(raw: bytes, random: Random, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Change the head, the object's BTF or the slots; or bytes of the file."""
    head_end = _BEGIN_BYTES + int.from_bytes(raw[8:_BEGIN_BYTES], "little")
    head, frame = raw[_BEGIN_BYTES:head_end], raw[head_end + _CRC_BYTES :]
    choice = random.randrange(6)
    if choice == 0 or not head:
        return mutate(raw, len(raw) + 64)
    if choice <= 2:
        head = mutated_document(head, random, mutate)
    else:
        try:
            # What a frame claims is allocated at once, here, where nobody bounds it.
            if zstandard.frame_content_size(frame) > _CONTENT_BYTES_MAX:
                return mutate(raw, len(raw) + 64)
            content = zstandard.ZstdDecompressor().decompress(frame, _CONTENT_BYTES_MAX)
        except zstandard.ZstdError:
            return mutate(raw, len(raw) + 64)
        content = _changed_content(content, random, mutate)
        frame = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)
    return framed_head(head) + frame


def _changed_content(content: bytes, random: Random, mutate: Callable[[bytes, int], bytes]) -> bytes:
    if content[:2] == b"\x9f\xeb" and random.random() < 0.5:
        claimed = 24 + int.from_bytes(content[16:20], "little") + int.from_bytes(content[20:24], "little")
        btf_end = min(claimed, len(content))  # an earlier change may have made it gigabytes
        changed = mutated_btf(content[:btf_end], random, lambda part, most: mutate(part, most)[: len(part)])
        return changed.ljust(btf_end, b"\0")[:btf_end] + content[btf_end:]
    out = bytearray(content)
    for _ in range(random.randint(1, 8)):
        if out:
            at = random.randrange(len(out))
            out[at] = random.choice([0, 1, 2, 0x7F, 0xFF, random.randrange(256)])
    return bytes(out)
