"""What is measured beside ours reads the same events; what it lacks is said in its cell."""

from pathlib import Path

import numpy as np
import pytest

from linnix_rec.bench import c_consumer, drain
from linnix_rec.bench.c_consumer import build, consume, why_not
from linnix_rec.capture import columns
from linnix_rec.errors import LinnixRecError
from linnix_rec.sources.ringbuf import RingbufSource, load_ringbuf
from tests.kernel.conftest import some_events, wait_until


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        ("consumer.c:17:10: fatal error: bpf/libbpf.h: No such file or directory\n", "no libbpf-dev"),
        ("/usr/bin/ld: cannot find -lbpf: No such file or directory\n", "no libbpf-dev"),
        ("note: x\nconsumer.c:9: error: expected ';'\n", "gcc: consumer.c:9: error: expected ';'"),
        ("", "gcc: it said nothing"),
    ],
)
def test_what_a_compiler_lacks_is_said_in_a_few_words(complaint: str, told: str) -> None:
    assert why_not(complaint) == told


def test_without_a_compiler_the_cell_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_consumer, "COMPILER", "no-such-compiler")
    assert drain.built(tmp_path) == (None, "no no-such-compiler")


def test_a_load_that_is_not_installed_is_named() -> None:
    with pytest.raises(LinnixRecError, match="no-such-load is not there to make events: install it"):
        drain._fill(("no-such-load",), lambda: 0, 1)


@pytest.mark.kernel
def test_ours_and_the_one_in_c_read_the_same_events(tmp_path: Path) -> None:
    loaded = load_ringbuf(1 << 20, wakeup="none", tree_only=False)
    with RingbufSource(loaded, drain.new_decoder()) as source:
        source.attach()
        wait_until(lambda: source.issued >= 30, "events", meanwhile=some_events)
        source.detach()
        batches = list(source.read(1 << 16, final=True))
        drain.rewind(loaded)
        assert drain.ringbuf_rate(loaded) > 0
        drain.rewind(loaded)
        try:
            program = build(tmp_path)
        except LinnixRecError as error:
            pytest.skip(str(error))
        consumed = consume(program, loaded.object.maps["events"].fd)
    assert consumed.events == sum(batch.num_rows for batch in batches) >= 30
    boot_ns = np.concatenate([columns.int64(batch, "boot_ns") for batch in batches])
    assert consumed.boot_ns_sum == int(boot_ns.sum())
    rows = [row for batch in batches for row in batch.to_pylist() if row["kind"] == "exec"]
    assert consumed.arguments == sum(len(row["argv"]) for row in rows)
    texts = [text for row in rows for text in (row["filename"], *row["argv"])]
    assert consumed.text_bytes == sum(len(text.encode("utf-8", "surrogateescape")) for text in texts)
    assert consumed.cpu_ns > 0


@pytest.mark.kernel
def test_a_full_ring_gives_a_rate() -> None:
    with drain.full_channels(1 << 10, drain.OWN_FORKS) as filled:
        assert len(filled.ring.slots) == 1 << 10
        assert filled.ring.issued() >= 1 << 10
        assert drain.drain_rate(filled.ring) > 0
        assert drain.ringbuf_rate(filled.ringbuf) > 0
