"""Why the kernel does not count the programs' runs is told by what it answered."""

from __future__ import annotations

import errno

import pytest

from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.errors import RecordingError
from linnix_rec.session import evidence


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EPERM, "--prove needs CAP_SYS_ADMIN"),
        (errno.EINVAL, "--prove needs Linux 5.8"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_a_refusal_names_what_is_wanted(monkeypatch: pytest.MonkeyPatch, number: int, why: str) -> None:
    def refuse() -> None:
        raise KernelRefusedError("can't", number)

    monkeypatch.setattr(evidence, "enable_run_statistics", refuse)
    with pytest.raises(RecordingError) as refused, evidence.Evidence(prove=True) as counting:
        counting.open()
    assert str(refused.value) == (
        f"the kernel refuses to count the programs' runs: {why}; or leave out --prove"
    )
