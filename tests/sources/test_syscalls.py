"""Names of syscalls are the kernel's, and what `--events` asks for is understood or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linnix_rec.errors import UsageError
from linnix_rec.sources.syscalls import Events, constants, parse_events, syscall_names, syscall_numbers

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@pytest.mark.parametrize(
    ("machine", "name", "number"),
    [
        ("x86_64", "read", 0),
        ("x86_64", "execve", 59),
        ("x86_64", "rseq", 334),
        ("x86_64", "openat2", 437),
        ("aarch64", "io_setup", 0),
        ("aarch64", "read", 63),
        ("aarch64", "execve", 221),
        ("aarch64", "wait4", 260),
        ("aarch64", "kexec_file_load", 294),
        ("aarch64", "openat2", 437),
    ],
)
def test_numbers_are_those_of_the_machine(machine: str, name: str, number: int) -> None:
    assert syscall_numbers(machine)[name] == number
    assert syscall_names(machine)[number] == name


def test_no_name_stands_for_two_numbers() -> None:
    for machine, first, last in (("x86_64", "read", 470), ("aarch64", "io_setup", 470)):
        names = syscall_names(machine)
        assert len(set(names.values())) == len(names)
        assert (names[0], max(names)) == (first, last)


def test_an_unknown_machine_has_no_names() -> None:
    assert syscall_names("riscv64") == {}


def test_the_table_agrees_with_this_machine_s_headers() -> None:
    if not HEADER.exists():
        pytest.skip("no kernel headers of x86-64 here")
    told = re.findall(r"^#define __NR_(\w+) (\d+)$", HEADER.read_text(), re.MULTILINE)
    assert len(told) > 300
    ours = syscall_numbers("x86_64")
    assert {name: ours.get(name) for name, _ in told} == {name: int(number) for name, number in told}


@pytest.mark.parametrize(
    ("text", "events", "asked"),
    [
        ("process", Events(), ("process",)),
        ("syscall", Events(True), ("process", "syscall")),
        ("process,failed-exec", Events(failed_execs=True), ("process", "failed-exec")),
        ("syscall:openat,read", Events(True, ("openat", "read")), ("process", "syscall:openat,read")),
        (
            "process,syscall:read,read,failed-exec",
            Events(True, ("read",), True),
            ("process", "syscall:read", "failed-exec"),
        ),
        ("syscall:syscall_480", Events(True, ("syscall_480",)), ("process", "syscall:syscall_480")),
    ],
)
def test_events_are_read_as_they_are_written(text: str, events: Events, asked: tuple[str, ...]) -> None:
    parsed = parse_events(text, "x86_64")
    assert parsed == events
    assert parsed.asked == asked
    assert parse_events(",".join(asked), "x86_64") == parsed


@pytest.mark.parametrize(
    ("text", "machine", "said"),
    [
        ("forks", "x86_64", "'forks' is no kind of event: take process, syscall, syscall:NAME,"),
        ("process,read", "x86_64", "'read' is no kind of event"),
        ("", "x86_64", "'' is no kind of event"),
        ("syscall:opena", "x86_64", "x86_64 has no syscall 'opena': did you mean open"),
        ("syscall:open", "aarch64", "aarch64 has no syscall 'open'"),
        ("syscall:syscall_512", "x86_64", "has no syscall 'syscall_512'"),
        ("syscall:", "x86_64", "has no syscall ''"),
        ("syscall", "riscv64", "on x86_64 and aarch64, not on riscv64"),
        ("failed-exec", "riscv64", "on x86_64 and aarch64, not on riscv64"),
    ],
)
def test_what_can_not_be_recorded_is_refused_in_one_line(text: str, machine: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_events(text, machine)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_programs_are_told_the_wanted_numbers_a_bit_each() -> None:
    told = constants(Events(True, ("read", "getppid", "syscall_511")), "x86_64")
    wanted = told["wanted_syscalls"]
    assert isinstance(wanted, bytes)
    assert len(wanted) == 64
    assert [number for number in range(512) if wanted[number // 8] >> number % 8 & 1] == [0, 110, 511]
    assert (told["all_syscalls"], told["with_syscalls"], told["with_failed_execs"]) == (0, 1, 0)


def test_the_programs_are_told_the_machine_s_execs() -> None:
    told = constants(Events(failed_execs=True), "aarch64")
    assert (told["execve_number"], told["execveat_number"], told["sigreturn_number"]) == (221, 281, 139)
    assert (told["all_syscalls"], told["with_syscalls"], told["with_failed_execs"]) == (1, 0, 1)
