"""The witnesses of one recording, as far as they were asked for; knows no ring and no program.

The order of the calls is what the windows that they state rest on:

    Witnesses(names)                     before the first program is attached
    after_attach(directory, owner)       when the last is attached, and the tree's tasks are marked
    before_detach()                      before the first is detached
    after_detach()                       when all are detached and none runs any more
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from linnix_rec.capture.document import ConnectorWitness, PerfWitness
from linnix_rec.capture.files import Owner
from linnix_rec.errors import UsageError
from linnix_rec.session.connector_witness import ConnectorListener
from linnix_rec.session.perf_witness import PerfCounters

WITNESSES: Final = ("perf", "connector")


class Witnesses:
    """Those named, of WITNESSES. Use as a context manager, or close. Raises RecordingError."""

    def __init__(self, names: Collection[str]) -> None:
        for name in names:
            if name not in WITNESSES:
                raise UsageError(f"there is no witness {name}: take {' or '.join(WITNESSES)}")
        self._perf: PerfCounters | None = None
        # First, so that perf does not count the start of the connector's thread.
        self._connector = ConnectorListener() if "connector" in names else None
        try:
            self._perf = PerfCounters() if "perf" in names else None
        except BaseException:
            self.close()
            raise

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines for the person at the prompt: what makes a witness weaker than it could be."""
        return () if self._connector is None else self._connector.remarks

    def after_attach(self, directory: Path, owner: Owner | None) -> None:
        """Begin the inner windows; the connector's messages go to a file in `directory`, which must exist."""
        if self._connector is not None:
            self._connector.after_attach(directory, owner)
        if self._perf is not None:
            self._perf.after_attach()

    def before_detach(self) -> None:
        """End the inner windows."""
        if self._perf is not None:
            self._perf.before_detach()
        if self._connector is not None:
            self._connector.before_detach()

    def after_detach(self) -> tuple[PerfWitness | None, ConnectorWitness | None]:
        """End the outer windows and give what was witnessed, for capture.json; closes all."""
        try:
            perf = None if self._perf is None else self._perf.after_detach()
            return perf, None if self._connector is None else self._connector.after_detach()
        finally:
            self.close()

    def close(self) -> None:
        """Stop all, once. Before `after_detach` this leaves no file."""
        if self._perf is not None:
            self._perf.close()
        if self._connector is not None:
            self._connector.close()

    def __enter__(self) -> "Witnesses":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
