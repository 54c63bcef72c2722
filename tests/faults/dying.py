"""`linnix-rec`, which is killed at a place in its own code: `python dying.py PLACE NTH ARGS...`.

PLACE is `module:name` or `module:Class.method`; killed before its NTH call (from 1), or after it, if NTH is
negative.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from itertools import count
from typing import Any


def die_at(place: str, nth: int) -> None:
    """Have SIGKILL come before, or after, the nth call of a function."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = count(1)

    @functools.wraps(original)
    def fatal(*arguments: Any, **options: Any) -> Any:
        call = next(calls)
        if call == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if call == -nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


if __name__ == "__main__":
    from linnix_rec.cli import main

    die_at(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    main()
