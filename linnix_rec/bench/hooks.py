"""What the hook itself costs: one small program on one tracepoint, hung on in each way there is.

Knows no event. The tracepoint is raw_syscalls:sys_enter, the program reads who runs (pid and name), and the
time is that of a cheap system call with the program hanging there against without: a program's own count of
its time leaves out what the kernel does before it, and of a classic tracepoint that is most of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from linnix_rec.bench.machine import one_core
from linnix_rec.bench.tables import Cell, Figure, Table, Tell
from linnix_rec.bpf import instruction as ins
from linnix_rec.bpf import syscall
from linnix_rec.bpf.btf import read_vmlinux, tracepoint_prototype
from linnix_rec.bpf.descriptor import (
    Descriptor,
    Program,
    attach_raw_tracepoint,
    enable_run_statistics,
    refusing,
)
from linnix_rec.bpf.perf_event import TracepointCounter, tracepoint_id
from linnix_rec.bpf.syscall import Command

GROUP, TRACEPOINT = "raw_syscalls", "sys_enter"
WAYS: Final = ("tp_btf", "raw tracepoint", "classic tracepoint")

_CALLS: Final = 200_000
_BATCHES: Final = 20
_LICENSE: Final = b"GPL\0"
# include/uapi/linux/bpf.h: enum bpf_prog_type, enum bpf_attach_type
_TYPES: Final = {"tp_btf": (26, 23), "raw tracepoint": (17, 0), "classic tracepoint": (5, 0)}
_ATTACH_PERF_EVENT: Final = 41

_MOVE, _ADD, _MOVE_REGISTER, _EXIT = 0xB7, 0x07, 0xBF, 0x95
_GET_PID, _GET_NAME = 14, 16  # bpf_get_current_pid_tgid(), bpf_get_current_comm()
_NAME_BYTES = 16
_FRAME = 10
_PROGRAM: Final = (
    ins.Instruction(ins.CALL, 0, 0, _GET_PID),
    ins.Instruction(_MOVE_REGISTER, _FRAME << 4 | 1, 0, 0),
    ins.Instruction(_ADD, 1, 0, -_NAME_BYTES),
    ins.Instruction(_MOVE, 2, 0, _NAME_BYTES),
    ins.Instruction(ins.CALL, 0, 0, _GET_NAME),
    ins.Instruction(_MOVE, 0, 0, 0),
    ins.Instruction(_EXIT, 0, 0, 0),
)


def measure(runs: int, tell: Tell) -> Iterator[Table]:
    """Yield the table of what each way costs. Raises KernelRefusedError, RecordingError."""
    added: dict[str, list[float]] = {way: [] for way in WAYS}
    own: dict[str, list[float]] = {way: [] for way in WAYS}
    with one_core():
        for run in range(runs):
            tell(f"overhead: hooks, run {run + 1} of {runs}")
            bare_ns = _call_ns()
            for way in WAYS:
                with _hung(way):
                    added[way].append(_call_ns() - bare_ns)
                own[way].append(_own_ns(way))
    rows: list[tuple[Cell, ...]] = [
        (way, Figure(tuple(own[way]), "ns"), Figure(tuple(added[way]), "ns")) for way in WAYS
    ]
    yield Table(
        "hooks",
        "The same small program, hung on a tracepoint in three ways",
        ("hook", "its own time", "added to the call"),
        tuple(rows),
        (
            f"{GROUP}:{TRACEPOINT}, {_CALLS:,} calls of getppid(2) each; the program reads pid and name.",
            "its own time: the kernel's statistic of the program.",
            "added: the call's time less a bare one's. It has the kernel's way to the program, too.",
        ),
    )


def _call_ns() -> float:
    """The CPU time of one cheap system call: the least of some batches, as others can only add to it."""
    call, batch = os.getppid, _CALLS // _BATCHES
    times = []
    for _ in range(_BATCHES):
        begin = time.thread_time_ns()
        for _ in range(batch):
            call()
        times.append((time.thread_time_ns() - begin) / batch)
    return min(times)


def _own_ns(way: str) -> float:
    """The program's time by the kernel's statistics, which cost themselves: not while calls are timed."""
    with enable_run_statistics(), _hung(way) as program:
        _call_ns()
        info = program.info()
    return info.run_time_ns / max(1, info.run_count)


@contextmanager
def _hung(way: str) -> Iterator[Program]:
    """Hang the program on the tracepoint meanwhile."""
    with ExitStack() as held:
        program = held.enter_context(_load(way))
        if way == "classic tracepoint":
            # One CPU's event is enough: its tracepoint then runs the program on all of them.
            event = _Event(tracepoint_id(GROUP, TRACEPOINT), min(os.sched_getaffinity(0)))
            held.callback(event.close)
            held.enter_context(_attach_perf_event(program, event.fd))
        else:
            held.enter_context(attach_raw_tracepoint(program, "" if way == "tp_btf" else TRACEPOINT))
        yield program


class _Event(TracepointCounter):
    @property
    def fd(self) -> int:
        return self._descriptor


def _load(way: str) -> Program:
    program_type, attach_type = _TYPES[way]
    code = bytearray(len(_PROGRAM) * ins.INSTRUCTION_BYTES)
    for place, instruction in enumerate(_PROGRAM):
        ins.write_at(code, place * ins.INSTRUCTION_BYTES, instruction)
    octets, license_text = syscall.copied(code), syscall.copied(_LICENSE)
    attribute = syscall.ProgramLoad(
        prog_type=program_type,
        insn_cnt=len(_PROGRAM),
        insns=syscall.address_of(octets),
        license=syscall.address_of(license_text),
        prog_name=syscall.object_name("linnix_bench"),
        expected_attach_type=attach_type,
        attach_btf_id=tracepoint_prototype(read_vmlinux(), TRACEPOINT)[0] if way == "tp_btf" else 0,
    )
    return Program(refusing(f"can't load a {way} program", Command.PROG_LOAD, attribute), way)


def _attach_perf_event(program: Program, fd: int) -> Descriptor:
    attribute = syscall.LinkCreate(prog_fd=program.fd, target_fd=fd, attach_type=_ATTACH_PERF_EVENT)
    return Descriptor(
        refusing("can't attach to the classic tracepoint", Command.LINK_CREATE, attribute), program.name
    )
