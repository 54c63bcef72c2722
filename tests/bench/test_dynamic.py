"""A ring buffer's reservation can't have a size that is known only at run time; a copy can."""

from __future__ import annotations

import pytest

from linnix_rec.bench.dynamic import measure, verdict

LOG = "0: R1=ctx()\n42: (85) call bpf_ringbuf_reserve#131\nR2 is not a known constant'\nprocessed 43 insns\n"


def test_the_verifier_s_last_words_are_told() -> None:
    assert verdict(LOG) == "R2 is not a known constant'"
    assert verdict("") == ""


@pytest.mark.kernel
def test_this_kernel_refuses_the_reservation_and_takes_the_copy() -> None:
    (table,) = measure(1, lambda _line: None)
    (reserve, refused, why), (output, accepted, _) = table.rows
    assert (refused, accepted) == ("refuses it", "accepts it")
    assert "reserve" in str(reserve)
    assert "output" in str(output)
    assert "known constant" in str(why)
