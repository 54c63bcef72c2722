"""Claims about words: short for people, harmless for terminals, and back into a shell without loss."""

import errno
import shutil
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.capture.text import decode_bytes
from linnix_rec.replay.process import Ending
from linnix_rec.report import words

BASH = shutil.which("bash")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 s"),
        (999, "999 ns"),
        (1_500, "1.50 µs"),
        (412_300_000, "412 ms"),
        (1_240_000_000, "1.24 s"),
        (59_990_000_000, "60.0 s"),
        (123_000_000_000, "2m03s"),
        (18_420_000_000_000, "5h07m"),
        (-1_500, "-1.50 µs"),
    ],
)
def test_durations_have_three_digits(ns: int, text: str) -> None:
    assert words.duration(ns) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1.00 MiB"), (1 << 60, "1,048,576.0 TiB")]
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (31, "SIGSYS"),
        (34, "SIGRTMIN"),
        (64, "SIGRTMIN+30"),
        (99, "signal 99"),
    ],
)
def test_signals_have_linux_names(number: int, name: str) -> None:
    assert words.signal_name(number) == name


def test_endings_tell_code_signal_and_core() -> None:
    killed = Ending(seq=1, boot_ns=1, code=0, signal=11, core_dumped=True, max_rss_bytes=0)
    assert (words.ending_word(killed), words.ending_clause(killed)) == (
        "SIGSEGV core",
        "killed by SIGSEGV, core dumped",
    )


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("plain", "plain"),
        ("", "''"),
        ("two words", "'two words'"),
        ("a\\b", "'a\\b'"),
        ("it's", '"it\'s"'),
        ("awk '$1'", r"'awk '\''$1'\'''"),
        ("line\nbreak", r"$'line\nbreak'"),
        ("\x1b[31m", r"$'\x1b[31m'"),
        ("it's\t", r"$'it\'s\t'"),
        (decode_bytes(b"\xff"), r"$'\xff'"),
        ("\u202egnp.exe", r"$'\u202egnp.exe'"),
    ],
)
def test_arguments_are_quoted_for_a_shell(argument: str, text: str) -> None:
    assert words.quoted(argument) == text


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(argument: str) -> None:
    text = words.quoted(argument)
    assert not {unicodedata.category(character) for character in text} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@pytest.mark.skipif(BASH is None, reason="no bash to read it back")
@pytest.mark.parametrize(
    "raw",
    [
        b"plain",
        b"a b",
        b"it's \\ \x1b[0m\n",
        b"\xff\xfe7",
        "caf\u00e9 \u202e1".encode(),
        b"$HOME `x`",
        b"it's",
        b"awk '$1' \\ !",
    ],
)
def test_bash_reads_arguments_back(raw: bytes) -> None:
    line = f"LC_ALL=C.UTF-8; printf %s {words.quoted(decode_bytes(raw))}"
    assert subprocess.run([BASH or "bash", "-c", line], capture_output=True, check=True).stdout == raw


def test_truncated_command_line_says_so() -> None:
    assert words.command_line(["cc", "-o", "a b"], truncated=True) == "cc -o 'a b' …"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "EPERM"),
        (2, "ENOENT"),
        (36, "ENAMETOOLONG"),
        (40, "ELOOP"),
        (41, "errno 41"),
        (42, "ENOMSG"),
        (58, "errno 58"),
        (75, "EOVERFLOW"),
        (110, "ETIMEDOUT"),
        (133, "EHWPOISON"),
        (134, "errno 134"),
        (512, "ERESTARTSYS"),
        (4000, "errno 4000"),
    ],
)
def test_errnos_have_linux_names(number: int, name: str) -> None:
    assert words.errno_name(number) == name


@pytest.mark.skipif(sys.platform != "linux", reason="other systems number them otherwise")
def test_errnos_are_those_of_this_linux() -> None:
    theirs = {number: name for number, name in errno.errorcode.items() if number < 134}
    aliases = {"EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP", "EWOULDBLOCK": "EAGAIN"}
    assert {number: words.errno_name(number) for number in theirs} == {
        number: aliases.get(name, name) for number, name in theirs.items()
    }
