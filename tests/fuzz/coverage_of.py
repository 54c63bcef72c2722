"""Prints the line coverage of the readers over the inputs that a run kept.

libFuzzer keeps every input that reaches something new, so what all inputs reached is what these reach.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path

import coverage

READERS = [
    *(f"bpf/{name}.py" for name in ("elf", "definitions", "link", "btf", "btf_ext", "dtype")),
    *(
        f"capture/{name}.py"
        for name in ("document", "decode", "opening", "reader", "pages", "compact", "values")
    ),
    *(f"capture/{name}.py" for name in ("parquet", "digest", "text", "columns", "connector_reader")),
    *("ring/raw.py", "ring/image.py", "sources/image.py", "session/raw.py"),
]


def main(work: Path) -> None:
    """Run the kept inputs again, and print a line a module."""
    warnings.simplefilter("ignore")
    measured = coverage.Coverage(data_file=None, include=[f"*/linnix_rec/{path}" for path in READERS])
    measured.start()
    from linnix_rec.errors import LinnixRecError
    from tests.fuzz.targets import TARGETS

    inputs = 0
    for name, target in TARGETS.items():
        with tempfile.TemporaryDirectory(dir=work) as room:
            for corpus in sorted(work.glob(f"{name}-*/*/*")):
                if corpus.parent.name in ("corpus", "seeds"):
                    inputs += 1
                    with contextlib.suppress(LinnixRecError):
                        target.read(corpus.read_bytes(), Path(room))
    measured.stop()
    print(f"\nline coverage of the readers, over the {inputs:,} inputs that reached something new:")
    measured.report(file=sys.stdout, show_missing=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
