"""Datagrams of the kernel's process connector -> columns, and the holes in their numbering. Knows no socket.

Every message carries the number that its CPU gave it (drivers/connector/cn_proc.c: send_msg()), whatever it
tells of, also one that could not be delivered. So a hole in a CPU's numbers is a message that was lost.
Layout and constants are pyroute2's; its decoder is not used, as one message there takes some 50 us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linnix_rec.capture.schema import EXEC, EXIT, FORK
from linnix_rec.errors import RecordingError

#: The columns that are kept, as capture.connector writes them, but for the clock.
KEPT: Final = np.dtype(
    [
        ("kind", np.uint8),
        ("cpu", np.uint16),
        ("cpu_seq", np.uint32),
        ("monotonic_ns", np.int64),
        ("tid", np.int32),
        ("tgid", np.int32),
        ("child_tid", np.int32),
        ("child_tgid", np.int32),
        ("exit_status", np.uint32),
    ]
)

Bytes = NDArray[np.uint8]
Lengths = NDArray[np.uint32]
Rows = NDArray[Any]

_NETLINK_HEADER_BYTES: Final = 16
_CONNECTOR_HEADER_BYTES: Final = 20
_WRAP: Final = 1 << 32


def cn_proc() -> ModuleType:
    """Give pyroute2's module on this protocol; raises RecordingError if it is not installed."""
    try:
        from pyroute2.netlink.connector import cn_proc
    except ImportError as error:
        raise RecordingError(
            f"the process connector is read with pyroute2's definitions ({error}): install it with"
            " `pip install 'linnix-rec[connector]'`, or record without the connector"
        ) from None
    module: ModuleType = cn_proc
    return module


@lru_cache(maxsize=1)
def layouts() -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Give the layouts of a fork's message and of an exit's, the longest; netlink's header included."""
    fork = cn_proc().proc_event_fork
    exit_ = cn_proc().proc_event_exit
    return _layout(fork), _layout(exit_)


def _layout(message: Any) -> np.dtype[Any]:
    # The names of the netlink header and of the connector's collide: `flags` is in both.
    header = [(f"netlink_{name}", _code(code)) for name, code in message.header]
    return np.dtype(header + [(name, _code(code)) for name, code in message.fields])


def _code(code: str) -> str:
    return {"I": "=u4", "H": "=u2", "Q": "=u8"}[code]


@dataclass(frozen=True)
class Heard:
    """What some datagrams held.

    events: forks, execs and exits, (n,) of KEPT, in the order of arrival
    cpu, cpu_seq: of every message, whatever it tells of, (m,) each
    renamed: (CPU, thread id) of those that set their own name
    answers: (acknowledged number, errno) of answers to a subscriber, whoever that is
    refused: datagrams that are no message of the process connector
    """

    events: Rows
    cpu: NDArray[np.uint32]
    cpu_seq: NDArray[np.uint32]
    renamed: frozenset[tuple[int, int]]
    answers: tuple[tuple[int, int], ...]
    refused: int


def parse(datagrams: Bytes, lengths: Lengths) -> Heard:
    """Read datagrams, one a row of (n, stride) uint8, of which `lengths` bytes each were received."""
    constants = cn_proc()
    fork_layout = layouts()[0]
    wide, message = _sound_messages(datagrams, lengths)
    refused = len(datagrams) - len(message)
    what = message["what"]
    answered = what == constants.PROC_EVENT_NONE
    renaming = message[what == constants.PROC_EVENT_COMM]
    answers = message[answered]
    return Heard(
        events=_events(wide, message, fork_layout, constants),
        cpu=message["cpu"],
        cpu_seq=message["seq"],
        renamed=frozenset(zip(renaming["cpu"].tolist(), renaming["process_pid"].tolist(), strict=True)),
        answers=tuple(zip(answers["ack"].tolist(), answers["process_pid"].tolist(), strict=True)),
        refused=refused,
    )


#: What a message that is no event changes of what is known of a task; numbers beside the events' kinds.
RENAMED, USER_CHANGED, GROUP_CHANGED = 0x10, 0x11, 0x12


class Acts(NamedTuple):
    """Messages that tell of tasks, in the order of arrival; columns (n,) but for `words`.

    at: place among all messages; words: (n, 6) uint32, what include/uapi/linux/cn_proc.h has in its union
    """

    at: NDArray[np.intp]
    kind: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    monotonic_ns: NDArray[np.int64]
    words: NDArray[np.uint32]


class Told(NamedTuple):
    """What some datagrams held for who follows each task: acts, and the numbers of every message, (m,)."""

    acts: Acts
    cpu: NDArray[np.uint32]
    cpu_seq: NDArray[np.uint32]
    refused: int


def parse_acts(datagrams: Bytes, lengths: Lengths) -> Told:
    """Read datagrams as `parse` does; keep also changes of name, user and group, and all that acts say."""
    wide, message = _sound_messages(datagrams, lengths)
    first_word = layouts()[1].fields["process_pid"][1]  # type: ignore[index]
    words = np.ascontiguousarray(wide[:, first_word:]).view(np.uint32)
    kind = _act_kinds(message["what"])
    kind[(kind == FORK) & (words[:, 2] == 0)] = 0  # an idle task, see _events
    at = np.flatnonzero(kind)
    acts = Acts(
        at,
        kind[at],
        message["cpu"][at].astype(np.uint16),
        message["timestamp_ns"][at].astype(np.int64),
        words[at],
    )
    return Told(acts, message["cpu"].copy(), message["seq"].copy(), len(datagrams) - len(message))


def joined_told(parts: Sequence[Told]) -> Told:
    """Give what several calls in a row told as one."""
    if len(parts) == 1:
        return parts[0]
    before = np.cumsum([0] + [len(part.cpu) for part in parts])
    at = np.concatenate([part.acts.at + begin for part, begin in zip(parts, before, strict=False)])
    rest = (np.concatenate(column) for column in zip(*(part.acts[1:] for part in parts), strict=True))
    cpu, cpu_seq = (np.concatenate(column) for column in zip(*(part[1:3] for part in parts), strict=True))
    return Told(Acts(at, *rest), cpu, cpu_seq, sum(part.refused for part in parts))


def _act_kinds(what: NDArray[np.uint32]) -> NDArray[np.uint8]:
    constants = cn_proc()
    kind = np.zeros(len(what), np.uint8)
    for number, meaning in (
        (constants.PROC_EVENT_FORK, FORK),
        (constants.PROC_EVENT_EXEC, EXEC),
        (constants.PROC_EVENT_EXIT, EXIT),
        (constants.PROC_EVENT_COMM, RENAMED),
        (constants.PROC_EVENT_UID, USER_CHANGED),
        (constants.PROC_EVENT_GID, GROUP_CHANGED),
    ):
        kind[what == number] = meaning
    return kind


def _sound_messages(datagrams: Bytes, lengths: Lengths) -> tuple[Bytes, Rows]:
    """Give those datagrams that are messages of this connector, as bytes and by the longest layout."""
    layout = layouts()[1]
    wide = np.ascontiguousarray(datagrams[:, : layout.itemsize])
    message = wide.view(layout).reshape(len(wide))
    sound = _is_sound(message, lengths, layout.itemsize)
    return (wide, message) if sound.all() else (wide[sound], message[sound])


def _is_sound(message: Rows, lengths: Lengths, size: int) -> NDArray[np.bool_]:
    """Whether a datagram is one whole message, by every length that it states, of this connector."""
    constants = cn_proc()
    stated, payload = message["netlink_length"], message["len"].astype(np.int64)
    whole: NDArray[np.bool_] = (
        (lengths >= size)
        & (stated <= lengths)
        & (stated >= size)
        & (payload >= size - _NETLINK_HEADER_BYTES - _CONNECTOR_HEADER_BYTES)
        & (payload + _NETLINK_HEADER_BYTES + _CONNECTOR_HEADER_BYTES <= stated)
    )
    whole &= message["netlink_type"] == constants.NLMSG_DONE
    whole &= (message["idx"] == constants.CN_IDX_PROC) & (message["val"] == constants.CN_VAL_PROC)
    return whole


def _events(wide: Bytes, message: Rows, fork_layout: np.dtype[Any], constants: ModuleType) -> Rows:
    what = message["what"]
    is_fork, is_exit = what == constants.PROC_EVENT_FORK, what == constants.PROC_EVENT_EXIT
    kind = np.zeros(len(what), np.uint8)
    kind[is_fork], kind[what == constants.PROC_EVENT_EXEC], kind[is_exit] = FORK, EXEC, EXIT
    fork = np.ascontiguousarray(wide[:, : fork_layout.itemsize]).view(fork_layout).reshape(len(wide))
    # A new idle task, of a CPU that comes up, has number 0; the recorder leaves it out, too.
    kept = (kind != 0) & ~(is_fork & (fork["child_pid"] == 0))
    message, fork, is_fork, is_exit = message[kept], fork[kept], is_fork[kept], is_exit[kept]
    rows = np.zeros(len(message), KEPT)
    rows["kind"], rows["cpu"], rows["cpu_seq"] = kind[kept], message["cpu"], message["seq"]
    rows["monotonic_ns"] = message["timestamp_ns"]
    rows["tid"], rows["tgid"] = message["process_pid"], message["process_tgid"]
    rows["child_tid"] = np.where(is_fork, fork["child_pid"], 0)
    rows["child_tgid"] = np.where(is_fork, fork["child_tgid"], 0)
    rows["exit_status"] = np.where(is_exit, message["exit_code"], 0)
    return rows


class Hole(NamedTuple):
    """Messages of a CPU that never came; the message at place `at` was the first to show it."""

    at: int
    cpu: int
    lost: int


class Numbering:
    """Follows each CPU's numbers, which wrap at 2^32, and finds the holes."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._lost: dict[int, int] = {}

    @property
    def lost(self) -> Mapping[int, int]:
        """Messages lost so far by CPU, of those CPUs that lost any."""
        return self._lost

    def take(self, cpus: NDArray[np.uint32], numbers: NDArray[np.uint32]) -> list[Hole]:
        """Go on with these, (n,) each, in the order of arrival; gives the holes in that order."""
        holes = []
        for cpu in np.unique(cpus).tolist():
            places = np.flatnonzero(cpus == cpu)
            own = numbers[places]
            before = self._last.get(cpu, int(own[0]) - 1)
            steps = np.diff(own, prepend=np.uint32(before % _WRAP))  # modulo 2^32, as the numbers are
            self._last[cpu] = int(own[-1])
            for at in np.flatnonzero((steps > 1) & (steps < _WRAP // 2)).tolist():
                lost = int(steps[at]) - 1
                self._lost[cpu] = self._lost.get(cpu, 0) + lost
                holes.append(Hole(int(places[at]), cpu, lost))
        return sorted(holes)
