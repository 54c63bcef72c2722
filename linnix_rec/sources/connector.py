"""Listens to the kernel's process connector: the socket, its subscription, and its own losses. Knows no file.

Messages are taken by hundreds with recvmmsg(2) into one array, and parsed in bulk. All kinds of message are
asked for: since Linux 6.6 a subscriber can have some only, but those left out count in a CPU's numbers all
the same, and a hole would no longer be a loss.
"""

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from linnix_rec.errors import RecordingError
from linnix_rec.sources.connector_messages import Bytes, Heard, Lengths, Numbering, cn_proc, parse

NETLINK_CONNECTOR: Final = 11
#: Some 2 s of a storm of 36,000 forks a second, as a message is charged so much; the kernel doubles this.
RECEIVE_BUFFER_BYTES: Final = 64 << 20
_CHARGED_BYTES: Final = 768

_ANSWER_SECONDS: Final = 2.0
_DATAGRAMS: Final = 1024
_STRIDE_BYTES: Final = 128
_FROM_KERNEL: Final = 0

# include/uapi/linux/netlink.h, include/uapi/asm-generic/socket.h (SK_MEMINFO_VARS numbers of 32 bits)
_SOL_NETLINK: Final = 270
_NETLINK_DROP_MEMBERSHIP: Final = 2
_NETLINK_BROADCAST_ERROR: Final = 4
_SO_MEMINFO: Final = 55
_MEMINFO_BYTES: Final = 4 * 9

_ADDRESS: Final = np.dtype([("family", "=u2"), ("pad", "=u2"), ("pid", "=u4"), ("groups", "=u4")])


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`: a header, and how long the datagram was."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class Mailbox:
    """Room for many datagrams, filled by one system call."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._bytes = np.zeros((_DATAGRAMS, _STRIDE_BYTES), np.uint8)
        self._senders = np.zeros(_DATAGRAMS, _ADDRESS)
        self._vectors = (_Vector * _DATAGRAMS)()
        self._messages: Any = (_Message * _DATAGRAMS)()
        for index in range(_DATAGRAMS):
            self._vectors[index].base = self._bytes.ctypes.data + index * _STRIDE_BYTES
            self._vectors[index].length = _STRIDE_BYTES
            header = self._messages[index].header
            header.name = self._senders.ctypes.data + index * _ADDRESS.itemsize
            header.name_length = _ADDRESS.itemsize
            header.vector = ctypes.addressof(self._vectors[index])
            header.vector_length = 1
        messages = np.frombuffer(memoryview(self._messages).cast("B"), np.uint8).reshape(
            _DATAGRAMS, ctypes.sizeof(_Message)
        )
        at = _Message.length.offset
        self._lengths = messages[:, at : at + 4]

    def fill(self, descriptor: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Give datagrams that wait, (n, stride) uint8, and their lengths; raises OSError, and if none waits.

        Who else may send to a netlink socket (it takes CAP_NET_ADMIN) is left out: lengths are 0.
        """
        count = self._libc.recvmmsg(descriptor, self._messages, _DATAGRAMS, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        lengths = np.ascontiguousarray(self._lengths[:count]).view(np.uint32).reshape(count)
        lengths[self._senders["pid"][:count] != _FROM_KERNEL] = 0
        return self._bytes[:count], lengths


class ProcessConnector:
    """One subscription. Use as a context manager; for one thread at a time.

    overruns: times that the kernel found the socket's buffer full, and dropped messages until it was empty
    remark: what is not as it should be, in a line; empty if all is
    """

    def __init__(self, buffer_bytes: int = RECEIVE_BUFFER_BYTES) -> None:
        self.overruns = 0
        self.refused = 0
        self.remark = ""
        self._left = False
        self.numbering = Numbering()
        self._constants = cn_proc()
        self._mailbox = Mailbox()
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_CONNECTOR
            )
        except OSError as error:
            raise RecordingError(
                f"this kernel has no process connector ({error.strerror}): it needs CONFIG_CONNECTOR and"
                " CONFIG_PROC_EVENTS; record without the connector"
            ) from None
        try:
            self._widen(buffer_bytes)
            self._bind()
        except BaseException:
            self._socket.close()
            raise

    def listen(self) -> list[Heard]:
        """Subscribe; gives what was heard until the kernel said yes. Raises RecordingError.

        The kernel answers nobody outside of the initial user and pid namespaces, not even with a no.
        """
        number = os.getpid() & 0x7FFFFFFF
        try:
            self._socket.sendto(self._request(self._constants.PROC_CN_MCAST_LISTEN, number), (0, 0))
        except OSError as error:
            raise RecordingError(_refusal(error)) from None
        heard: list[Heard] = []
        give_up = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < give_up:
            self.wait(_ANSWER_SECONDS / 10)
            for some in self.receive():
                heard.append(some)
                codes = [code for answered, code in some.answers if answered == number + 1]
                if codes and codes[0] == 0:
                    return heard
                if codes:
                    raise RecordingError(_refusal(OSError(codes[0], os.strerror(codes[0]))))
        raise RecordingError(
            "the kernel's process connector does not answer: it does so only in the initial user and pid"
            " namespaces, and to CAP_NET_ADMIN; run it outside of the container, as root, or record without"
            " the connector"
        )

    def receive(self) -> Iterator[Heard]:
        """Yield all that waits, until nothing does."""
        for datagrams, lengths in self.datagrams():
            heard = parse(datagrams, lengths)
            self.refused += heard.refused
            self.numbering.take(heard.cpu, heard.cpu_seq)
            yield heard

    def datagrams(self) -> Iterator[tuple[Bytes, Lengths]]:
        """Yield all that waits, until nothing does, as `Mailbox.fill` gives it: for another parser.

        A piece is good until the next is asked for.
        """
        while True:
            try:
                yield self._mailbox.fill(self._socket.fileno())
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self.overruns += 1
                elif error.errno in (errno.EAGAIN, errno.EINTR):
                    return
                else:
                    raise RecordingError(f"reading the process connector failed: {error.strerror}") from None

    def fileno(self) -> int:
        """The socket, which is readable when a message waits."""
        return self._socket.fileno()

    @property
    def buffer_bytes(self) -> int:
        """The room for messages that wait, as the kernel charges them."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    @property
    def waiting(self) -> int:
        """About how many messages wait."""
        charged = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO_BYTES)
        return -(-int.from_bytes(charged[:4], sys.byteorder) // _CHARGED_BYTES)

    def leave(self) -> None:
        """Unsubscribe: what waits can still be received, and no more comes."""
        # Before Linux 6.6 the kernel goes on making messages for nobody unless it is told.
        with contextlib.suppress(OSError):
            self._socket.sendto(self._request(self._constants.PROC_CN_MCAST_IGNORE, 0), (0, 0))
        self._left = True
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, self._constants.CN_IDX_PROC)

    def wait(self, seconds: float, also: int | None = None) -> None:
        """Return when a message waits, or the descriptor `also` is readable, or after `seconds`."""
        poll = select.poll()  # select(2) takes no descriptor above 1,023
        for descriptor in [self._socket.fileno()] + ([] if also is None else [also]):
            poll.register(descriptor, select.POLLIN)
        poll.poll(seconds * 1000)

    def close(self) -> None:
        """Unsubscribe and close, once."""
        if self._socket.fileno() < 0:
            return
        if not self._left:
            with contextlib.suppress(OSError):
                self.leave()
        self._socket.close()

    def __enter__(self) -> "ProcessConnector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _widen(self, buffer_bytes: int) -> None:
        force = getattr(socket, "SO_RCVBUFFORCE", 33)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, force, buffer_bytes)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            held = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            if held < 2 * buffer_bytes:  # the kernel doubles what it is asked for
                self.remark = (
                    f"the connector's receive buffer is {held >> 11} KiB, not {buffer_bytes >> 10} KiB: it"
                    " may lose messages in a storm; give CAP_NET_ADMIN, or raise net.core.rmem_max"
                )

    def _bind(self) -> None:
        # A broadcast that nobody had room for then fails with ENOBUFS, not ESRCH: from that some kernels
        # conclude that nobody listens, and fall silent for good (drivers/connector/cn_proc.c: send_msg()).
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_BROADCAST_ERROR, 1)
        try:
            self._socket.bind((0, self._constants.CN_IDX_PROC))
        except OSError as error:
            raise RecordingError(_refusal(error)) from None

    def _request(self, action: int, number: int) -> bytes:
        request = self._constants.proc_event_control()
        request["action"] = action
        request["idx"], request["val"] = self._constants.CN_IDX_PROC, self._constants.CN_VAL_PROC
        request["ack"], request["len"] = number, struct.calcsize("=I")
        request["header"]["type"] = self._constants.NLMSG_DONE
        request.encode()
        return bytes(request.data)


def _refusal(error: OSError) -> str:
    what = f"the kernel refused to let us listen to its process connector: {error.strerror}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"{what}; it takes root or CAP_NET_ADMIN"
    if error.errno == errno.ECONNREFUSED:
        return f"{what}; it is there in the initial network namespace only: run it outside of the container"
    return what
