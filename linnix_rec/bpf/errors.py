"""What can go wrong between a BPF object and the kernel; knows no object, only how to say it."""

from __future__ import annotations

import errno
import os

from linnix_rec.errors import RecordingError

LOG_LINES_SHOWN = 12


class MalformedObjectError(RecordingError):
    """Bytes that should be an ELF object or BTF can't be read as such, or use what is not supported."""


class RelocationError(RecordingError):
    """A CO-RE relocation is contradictory: the object and the kernel's BTF can't be brought together."""


class KernelRefusedError(RecordingError):
    """The kernel refused a bpf(2) command; `errno` says how."""

    def __init__(self, what: str, error_number: int, advice: str = "") -> None:
        self.errno = error_number
        reason = f"{os.strerror(error_number)} [{errno.errorcode.get(error_number, error_number)}]"
        super().__init__(f"{what}: {reason}{'; ' + advice if advice else ''}")


class ProgramRefusedError(KernelRefusedError):
    """The verifier refused a program; `log` is all it said, the message shows its end."""

    def __init__(self, program: str, error_number: int, log: str, advice: str = "") -> None:
        self.program = program
        self.log = log
        super().__init__(f"the kernel refused the BPF program {program}", error_number, advice)
        last = [line for line in log.splitlines() if line.strip()][-LOG_LINES_SHOWN:]
        if last:
            self.args = ("\n  verifier: ".join([str(self), *last]),)


def permission_advice(error_number: int) -> str:
    """What to do when the kernel said no for want of a right; empty for other reasons."""
    if error_number in (errno.EPERM, errno.EACCES):
        return "recording needs root, or CAP_BPF and CAP_PERFMON; `linnix-rec doctor` says what is missing"
    return ""
