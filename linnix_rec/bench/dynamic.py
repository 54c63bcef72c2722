"""Whether a ring buffer's record can have a size that is known only at run time: asked of the verifier."""

from __future__ import annotations

from collections.abc import Iterator

from linnix_rec.bench.tables import Table, Tell
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.errors import ProgramRefusedError
from linnix_rec.bpf.load import load
from linnix_rec.bpf.object import read_object

OBJECT_NAME = "dynamic"
_WAYS = {
    "reserve": "bpf_ringbuf_reserve() of the filename's length",
    "output": "bpf_ringbuf_output() of the filename's length",
}
_NOTE = (
    "A reservation must be of a constant size. Reserve the largest, or put the record together elsewhere"
    " and copy it in, as `record --source ringbuf` does with execs."
)


def measure(runs: int, tell: Tell) -> Iterator[Table]:  # noqa: ARG001 - the verifier says it once
    """Load each program alone; the table says what the verifier said. Nothing is attached."""
    rows = []
    for name, way in _WAYS.items():
        tell(f"loading {name}")
        rows.append((way, *_asked(name)))
    yield Table(
        "dynamic",
        "a ring buffer's record whose size is known only at run time",
        ("way", "verifier", "because"),
        tuple(rows),
        (_NOTE,),
    )


def _asked(name: str) -> tuple[str, str]:
    try:
        with load(read_object_spec(read_object(OBJECT_NAME), OBJECT_NAME), programs=[name]):
            return "accepts it", ""
    except ProgramRefusedError as refusal:
        return "refuses it", verdict(refusal.log)


def verdict(log: str) -> str:
    """Give the verifier's own words: the last line of its log that is no statistics."""
    said = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("processed ")]
    return said[-1] if said else ""
