"""Numbers and names as words for people: durations, sizes, exit statuses, commands. Knows no layout.

Whatever a process chose is made harmless here: a terminal obeys nothing of it, and a shell reads it back.
"""

import shlex
from collections.abc import Iterable
from typing import Final

from linnix_rec.capture.text import printable
from linnix_rec.replay.process import Ending, Process, Step

CUT: Final = "…"

_BASH_ESCAPES: Final = {"'": "\\'", "\n": "\\n", "\t": "\\t"}

# Linux on x86, arm64 and most others; other systems (on which a capture may be read) number them otherwise.
_SIGNALS: Final = (
    *("0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2"),
    *("PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU"),
    *("XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
_FIRST_REALTIME_SIGNAL: Final = 34

# Linux on x86 and arm64, from 1 on (include/uapi/asm-generic/errno.h); no name, no number.
_ERRNO_NAMES: Final = """
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
    EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
    EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC
    EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR
    ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG
    EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE
    EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED
    ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
    EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE
    ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON
"""
_ERRNOS: Final = tuple(_ERRNO_NAMES.split())
# Seen only where a syscall is interrupted, and begins again (include/linux/errno.h).
_RESTARTS: Final = {
    512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK",
}  # fmt: skip
_ERRNO_MAX: Final = 4095

_UNITS_NS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


def signal_name(number: int) -> str:
    """Give a Linux signal's name: `SIGKILL`, `SIGRTMIN+3`, `signal 99`."""
    if 0 < number < len(_SIGNALS):
        return f"SIG{_SIGNALS[number]}"
    if _FIRST_REALTIME_SIGNAL <= number <= 64:
        above = number - _FIRST_REALTIME_SIGNAL
        return f"SIGRTMIN+{above}" if above else "SIGRTMIN"
    return f"signal {number}"


def errno_name(number: int) -> str:
    """Give a Linux errno's name: `ENOENT`, `errno 4000`."""
    if 0 < number <= len(_ERRNOS) and _ERRNOS[number - 1] != "-":
        return _ERRNOS[number - 1]
    return _RESTARTS.get(number, f"errno {number}")


def word(number: int) -> str:
    """Give an argument of a syscall, of which nothing is known: small as a number, else as an address."""
    return str(number) if number <= _ERRNO_MAX else hex(number)


def result(number: int) -> str:
    """Give what a syscall returned: `3`, `-ENOENT`, `0x7f0012340000`."""
    if -_ERRNO_MAX <= number < 0:
        return f"-{errno_name(-number)}"
    return hex(number) if number > 1 << 32 else str(number)


def duration(ns: int) -> str:
    """Give a duration with about three digits: `412 ms`, `1.24 s`, `2m03s`, `5h07m`."""
    if ns < 0:
        return f"-{duration(-ns)}"
    if ns >= 3600 * 10**9:
        return f"{ns // (3600 * 10**9)}h{ns // (60 * 10**9) % 60:02d}m"
    if ns >= 60 * 10**9:
        return f"{ns // (60 * 10**9)}m{ns // 10**9 % 60:02d}s"
    for unit_ns, unit in _UNITS_NS:
        if ns >= unit_ns:
            return f"{_three_digits(ns / unit_ns)} {unit}"
    return "0 s"


def offset(ns: int, digits: int = 3) -> str:
    """Give a moment as seconds since the recording's start: `+0.016`."""
    return f"{'-' if ns < 0 else '+'}{abs(ns) / 10**9:.{digits}f}"


def size(count: int) -> str:
    """Give a number of bytes: `1.0 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{_three_digits(value)} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Give a number with its noun: `1 event`, `12,345 events`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def joined(parts: Iterable[str]) -> str:
    """Give parts as one clause: `a, b and c`."""
    listed = list(parts)
    return " and ".join(filter(None, [", ".join(listed[:-1]), *listed[-1:]]))


def bracketed(remarks: Iterable[str]) -> str:
    """Give remarks to stand after a clause: ` (vfork, ...)`; nothing if there are none."""
    text = ", ".join(remarks)
    return f" ({text})" if text else ""


def quoted(argument: str) -> str:
    """Give an argument as a shell would read it; with controls or non-UTF-8 as bash's `$'\\x1b'`."""
    harmless = argument.replace("\\", "")
    if printable(harmless) == harmless:
        return _in_plain_quotes(argument)
    return "$'" + "".join(map(_in_quotes, argument)) + "'"


def _in_plain_quotes(argument: str) -> str:
    """Quote for any POSIX shell, with as few characters as need be."""
    if "'" in argument and not set(argument) & set('"$`\\!'):
        return f'"{argument}"'
    return shlex.quote(argument).replace("""'"'"'""", r"'\''")


def _in_quotes(character: str) -> str:
    return _BASH_ESCAPES.get(character) or printable(character)


def command_line(argv: Iterable[str], truncated: bool = False) -> str:
    """Give arguments as one line to paste into a shell; `…` stands where the recorder cut them."""
    words = [quoted(argument) for argument in argv]
    return " ".join([*words, CUT] if truncated else words)


def step_command(step: Step) -> str:
    """Give an exec's command line; of one without arguments, its file."""
    if step.argv or step.argv_truncated:
        return command_line(step.argv, step.argv_truncated)
    return quoted(step.filename or step.comm)


def process_name(process: Process) -> str:
    """Give a process's name for want of a command line: `[sshd]`; if its fork was seen: `sh (no exec)`."""
    if process.birth and not process.kernel_thread:
        return f"{printable(process.comm)} (no exec)"
    return f"[{printable(process.comm)}]"


def first_name(process: Process) -> str:
    """Give what a process was before its first exec that was seen: `[sshd]`, `sh (forked)`."""
    return f"{printable(process.born_as)} (forked)" if process.birth else f"[{printable(process.born_as)}]"


def took_ns(process: Process) -> int | None:
    """Give how long a process took, ns, from its fork or start; of one recorded since its exec, from that."""
    if process.ending and not process.birth and process.steps:
        return max(0, process.ending.boot_ns - process.steps[0].boot_ns)
    return process.lived_ns


def process_command(process: Process) -> str:
    """Give a process's last command line, or its name if no exec was seen."""
    return step_command(process.steps[-1]) if process.steps else process_name(process)


def last_state(process: Process) -> str:
    """Give how it stands at the end with a process of which no exit was seen."""
    if process.dead_before:
        return "dead before"
    return "running?" if process.exit_may_be_lost else "running"


def last_state_clause(process: Process) -> str:
    """Give the same in words."""
    if process.dead_before:
        return "dead before the recording"
    return "still running, or its exit is lost in a gap" if process.exit_may_be_lost else "still running"


def ending_word(ending: Ending) -> str:
    """Give an ending in a word or two: `0`, `7`, `SIGKILL`, `SIGSEGV core`."""
    if ending.signal:
        return signal_name(ending.signal) + (" core" if ending.core_dumped else "")
    return str(ending.code)


def ending_clause(ending: Ending) -> str:
    """Give an ending in words: `code 7`, `killed by SIGSEGV, core dumped`."""
    if ending.signal:
        return f"killed by {signal_name(ending.signal)}{', core dumped' if ending.core_dumped else ''}"
    return f"code {ending.code}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
