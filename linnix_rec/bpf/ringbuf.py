"""The memory of a BPF ring buffer, mapped as its kernel lays it out; knows no record."""

from __future__ import annotations

import mmap

from linnix_rec.bpf.descriptor import Map
from linnix_rec.bpf.errors import KernelRefusedError

_CONSUMER_AT, _PRODUCER_AT = 0, mmap.PAGESIZE


def map_ringbuf(events: Map) -> tuple[mmap.mmap, mmap.mmap]:
    """Give (consumer page, producer page and twice the buffer); only the first may be written to.

    Each position begins its page; the buffer, of `max_entries` bytes, begins the page after the producer's
    (kernel/bpf/ringbuf.c: ringbuf_map_mmap_kern()). Closing the map does not end the mappings.
    """
    rest_bytes = mmap.PAGESIZE + 2 * events.spec.max_entries
    try:
        return (
            mmap.mmap(
                events.fd,
                mmap.PAGESIZE,
                mmap.MAP_SHARED,
                mmap.PROT_READ | mmap.PROT_WRITE,
                offset=_CONSUMER_AT,
            ),
            mmap.mmap(events.fd, rest_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PRODUCER_AT),
        )
    except OSError as error:
        raise KernelRefusedError(f"can't map the memory of {events.name}", error.errno or 0) from error
