"""What counts beside the recording, so that it can be checked: statistics and witnesses. Knows no ring.

The order of the calls is the order of the windows: `open` before the first program is attached, `attached`
after the last, `detaching` before the first is detached, `detached` after the last has ended.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from linnix_rec.bpf.descriptor import Descriptor, enable_run_statistics
from linnix_rec.bpf.errors import KernelRefusedError
from linnix_rec.capture.document import ConnectorWitness, PerfWitness
from linnix_rec.capture.files import Owner
from linnix_rec.errors import RecordingError
from linnix_rec.session.witness import Witnesses


class Evidence:
    """Holds open what counts; use as a context manager.

    prove: have the kernel count the programs' runs
    witnesses: of session.witness.WITNESSES
    """

    def __init__(self, *, prove: bool = False, witnesses: Sequence[str] = ()) -> None:
        self.perf: PerfWitness | None = None
        self.connector: ConnectorWitness | None = None
        self._prove = prove
        self._names = tuple(witnesses)
        self._statistics: Descriptor | None = None
        self._witnesses: Witnesses | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines for the person at the prompt: what makes a witness weaker than it could be."""
        return () if self._witnesses is None else self._witnesses.remarks

    def open(self) -> None:
        """Begin to count; raises RecordingError."""
        if self._prove:
            self._statistics = _statistics()
        self._witnesses = Witnesses(self._names)

    def attached(self, directory: Path, owner: Owner | None) -> None:
        """The last program is attached; the capture's directory is there. Raises RecordingError."""
        if self._witnesses is not None:
            self._witnesses.after_attach(directory, owner)

    def detaching(self) -> None:
        """The first program is about to be detached."""
        if self._witnesses is not None:
            self._witnesses.before_detach()

    def detached(self) -> None:
        """The last program has ended: `perf` and `connector` have their counts. Raises RecordingError."""
        if self._witnesses is not None:
            self.perf, self.connector = self._witnesses.after_detach()

    def close(self) -> None:
        """Let go of everything."""
        if self._witnesses is not None:
            self._witnesses.close()
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
            f"the kernel refuses to count the programs' runs: {_want(error)}; or leave out --prove"
        ) from error


def _want(refusal: KernelRefusedError) -> str:
    """What BPF_ENABLE_STATS wants, and has not got."""
    if refusal.errno in (errno.EPERM, errno.EACCES):
        return "--prove needs CAP_SYS_ADMIN"
    if refusal.errno == errno.EINVAL:  # no such command
        return "--prove needs Linux 5.8"
    return os.strerror(refusal.errno)
