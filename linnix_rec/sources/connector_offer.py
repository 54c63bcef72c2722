"""Says whether the process connector could record here: what `record` names where BPF can't work."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Final

from linnix_rec.bpf.host import Requirement
from linnix_rec.errors import RecordingError

#: The line about the witness, of `bpf.host.requirements`: a source needs the same namespaces and rights.
_WITNESS: Final = "--witness connector"
SOURCE: Final = "--source connector"


def connector_line(
    requirements: Sequence[Requirement],
    *,
    has_definitions: Callable[[], bool] | None = None,
    problem: Callable[[], str] | None = None,
) -> Requirement:
    """Judge `--source connector` by what was found of the host, and if that would let it, by listening once.

    has_definitions: whether pyroute2 is installed; problem: why the kernel does not let us listen, if so
    """
    host = next((line for line in requirements if line.name == _WITNESS), None)
    if host is None or not host.met:
        found, advice = ("not on this system", "") if host is None else (host.found, host.advice)
        return Requirement(SOURCE, required=False, met=False, found=found, advice=advice)
    if not (has_definitions or _has_pyroute2)():
        advice = "pip install 'linnix-rec[connector]'"
        return Requirement(
            SOURCE, False, False, "pyroute2, which knows its messages, is not installed", advice
        )
    refused = (problem or _refusal)()
    if refused:
        return Requirement(SOURCE, required=False, met=False, found=refused)
    return Requirement(SOURCE, False, True, "records without BPF, by the process connector and /proc")


def offer(requirements: Sequence[Requirement]) -> str:
    """What to tell who can't record with BPF; "" if the connector can't work either."""
    if not any(line.name == SOURCE and line.met for line in requirements):
        return ""
    return f"`linnix-rec record {SOURCE}` can, without BPF: it tells less of each event, and proves no order"


def _has_pyroute2() -> bool:
    return importlib.util.find_spec("pyroute2") is not None


def _refusal() -> str:
    from linnix_rec.sources.connector import ProcessConnector

    try:
        with ProcessConnector() as connector:
            connector.listen()
    except RecordingError as error:
        return str(error)
    return ""
