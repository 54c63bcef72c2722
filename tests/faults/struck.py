"""`linnix-rec`, struck at a place in its own code: `python struck.py BLOW PLACE NTH ARGS...`.

BLOW is KILL (the process gets SIGKILL) or an error's name such as EIO (the call raises it). PLACE is
`module:name` or `module:Class.method`; the blow falls before its NTH call (from 1), or after it, if NTH is
negative.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
import signal
import sys
from itertools import count
from typing import Any


def strike(blow: str, place: str, nth: int) -> None:
    """Have the blow fall before, or after, the nth call of a function."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = count(1)

    @functools.wraps(original)
    def struck(*arguments: Any, **options: Any) -> Any:
        call = next(calls)
        if call == nth:
            fall(blow)
        result = original(*arguments, **options)
        if call == -nth:
            fall(blow)
        return result

    setattr(owner, name, struck)


def fall(blow: str) -> None:
    if blow == "KILL":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, blow)
    raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    from linnix_rec.cli import main

    strike(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv[1:] = sys.argv[4:]
    main()
