"""What counts beside the recording, so that it can be checked: statistics and witnesses. Knows no ring.

The order of the calls is the order of the windows: `open` before the first program is attached, `attached`
after the last, `detaching` before the first is detached, `detached` after the last has ended.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from linnix_rec.bpf.descriptor import Descriptor, enable_run_statistics
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.capture.document import ConnectorWitness, PerfWitness
from linnix_rec.errors import RecordingError

Owner = tuple[int, int]


class Evidence:
    """Holds open what counts; use as a context manager.

    prove: have the kernel count the programs' runs
    witnesses: "perf", "connector"
    """

    def __init__(self, *, prove: bool, witnesses: Sequence[str]) -> None:
        self.prove = prove
        self.perf: PerfWitness | None = None
        self.connector: ConnectorWitness | None = None
        self._names = tuple(witnesses)
        self._statistics: Descriptor | None = None

    def open(self, directory: Path, owner: Owner | None) -> None:
        """Begin to count; raises RecordingError."""
        if self.prove:
            self._statistics = _statistics()

    def attached(self) -> None:
        """The last program is attached."""

    def detaching(self) -> None:
        """The first program is about to be detached."""

    def detached(self) -> None:
        """The last program has ended: `perf` and `connector` have their counts."""

    def close(self) -> None:
        """Let go of everything."""
        if self._statistics is not None:
            self._statistics.close()

    def __enter__(self) -> "Evidence":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _statistics() -> Descriptor:
    try:
        return enable_run_statistics()
    except KernelRefusedError as error:
        raise RecordingError(
            "--prove has the kernel count the programs' runs, which needs CAP_SYS_ADMIN"
            f" (and Linux 5.8): {error}"
        ) from error
