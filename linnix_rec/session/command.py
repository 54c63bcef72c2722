"""The recorded command: held before its exec until the recorder is ready, then let go. Knows no BPF.

It runs with the recorder's credentials, terminal, stdin and environment, in the recorder's process
group, as if the recorder were not there.
"""

import contextlib
import errno
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from linnix_rec.errors import RecordingError

STATUS_NOT_EXECUTABLE = 126
STATUS_NOT_FOUND = 127


class CommandNotStartedError(RecordingError):
    """The command can't be run; the status is env(1)'s: 127 if it is not there, else 126."""

    def __init__(self, name: str, error: int) -> None:
        super().__init__(f"can't run {name!r}: {os.strerror(error)}")
        self.exit_status = STATUS_NOT_FOUND if error == errno.ENOENT else STATUS_NOT_EXECUTABLE


@dataclass(frozen=True)
class User:
    """Whom the command runs as."""

    name: str
    uid: int
    gid: int
    home: str


def look_up_user(name: str) -> User:
    """A user by name or number; raises RecordingError."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError) as error:
        raise RecordingError(f"no user {name!r} on this host") from error
    if os.geteuid() != 0 and entry.pw_uid != os.getuid():
        raise RecordingError(f"only root can run a command as {name!r}: run linnix-rec with sudo")
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


class Command:
    """A child process between fork and exec; then the running command.

    Fork early: the child is a copy of this process, and threads do not survive a fork.
    """

    def __init__(self, argv: Sequence[str], user: User | None = None) -> None:
        self.argv = tuple(argv)
        if not os.path.exists(argv[0]) and shutil.which(argv[0]) is None:
            raise CommandNotStartedError(argv[0], errno.ENOENT)
        go_read, self._go = os.pipe()
        self._error, error_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)  # or the word would still come if the recorder died
            _become(self.argv, user, go_read, error_write)
        os.close(go_read)
        os.close(error_write)
        self.pidfd = os.pidfd_open(self.pid)
        self.wait_status: int | None = None

    def release(self) -> None:
        """Let it exec; raises CommandNotStartedError."""
        go, self._go = self._go, -1
        with contextlib.suppress(BrokenPipeError):  # a signal ended it before it could begin
            os.write(go, b"g")
        os.close(go)
        with os.fdopen(self._error, "rb") as pipe:
            error = pipe.read()
        if error:
            self.wait()
            raise CommandNotStartedError(self.argv[0], int(error))

    def cancel(self) -> None:
        """End it, if it was not released; else leave it alone."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
            self.wait()

    def send(self, number: int) -> None:
        """Pass a signal on, unless the command is gone."""
        if self.wait_status is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def ended(self) -> bool:
        """Whether it has ended; reaps it."""
        if self.wait_status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.wait_status = status
        return self.wait_status is not None

    def wait(self) -> None:
        """Wait until it has ended."""
        if self.wait_status is None:
            self.wait_status = os.waitpid(self.pid, 0)[1]


def _become(argv: Sequence[str], user: User | None, go_read: int, error_write: int) -> None:
    """In the child: wait for the word, then exec. Never returns."""
    status = 0
    try:
        # Python ignores the first two; a command expects them as a shell would leave them.
        for name in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            if name != signal.SIGINT or signal.getsignal(name) is signal.default_int_handler:
                signal.signal(name, signal.SIG_DFL)
        if not os.read(go_read, 1):
            os._exit(0)  # the recorder could not start: so doesn't the command
        if user is not None:
            _switch_to(user)
        _exec(argv)
    except OSError as error:
        status = error.errno or errno.EINVAL
    except BaseException:
        status = errno.EINVAL
    os.write(error_write, str(status).encode())
    os._exit(STATUS_NOT_EXECUTABLE)


def _switch_to(user: User) -> None:
    if os.geteuid() == 0:
        os.initgroups(user.name, user.gid)
        os.setgid(user.gid)
        os.setuid(user.uid)
    os.environ.update(HOME=user.home, USER=user.name, LOGNAME=user.name)


def _exec(argv: Sequence[str]) -> None:
    try:
        os.execvp(argv[0], tuple(argv))
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # A script without a first line: execvp(3) gives it to the shell, Python's does not.
        script = argv[0] if os.sep in argv[0] else shutil.which(argv[0]) or argv[0]
        os.execv("/bin/sh", ["/bin/sh", script, *argv[1:]])


def die_of(number: int) -> None:
    """Die of the signal that the command died of, without a core of our own."""
    import resource

    sys.stdout.flush()
    sys.stderr.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
