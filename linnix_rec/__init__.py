"""A flight recorder for Linux processes: every fork, exec and exit of a host in one proven order."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnix_rec.api import open_capture

__all__ = ["open_capture"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # `linnix-rec --help` imports this module: pyarrow must wait until a notebook asks for a capture.
    if name == "open_capture":
        from linnix_rec.api import open_capture

        return open_capture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
