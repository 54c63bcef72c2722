"""What the fault tests share with the acceptance tests: recorders beside the test, pins, proven rows."""

from tests.kernel.conftest import (
    pin_name,
    proven,
    read_back,
    start_linnix_rec,
    start_process,
    start_recorder,
)

__all__ = ["pin_name", "proven", "read_back", "start_linnix_rec", "start_process", "start_recorder"]
