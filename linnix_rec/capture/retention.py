"""Which segments a capture keeps, and what is noted of those that go. Decides only; knows no file."""

import re
from typing import Final

from linnix_rec.capture.document import Pruned

_SEGMENT_NAME: Final = re.compile(r"segment-([0-9]{20})\.parquet")


def is_leftover(name: str, pruned: Pruned | None) -> bool:
    """Say whether a file is a segment that retention removed, and that a crash kept from being unlinked."""
    named = _SEGMENT_NAME.fullmatch(name)
    return named is not None and pruned is not None and int(named[1]) < pruned.end_seq
