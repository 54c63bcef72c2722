"""The few BPF instructions that a loader must look into or change; knows no program.

An instruction is 8 bytes: opcode, registers (source high, destination low), 16-bit offset, 32-bit
immediate; a 64-bit load (`ld_imm64`) is two of them (Documentation/bpf/standardization/instruction-set.rst).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

INSTRUCTION_BYTES = 8
_LAYOUT = struct.Struct("<BBhi")

LD_IMM64 = 0x18
CALL = 0x85
PSEUDO_CALL = 1  # source register of a call: to another function of the object
PSEUDO_MAP_FD = 1  # source register of a 64-bit load
PSEUDO_MAP_VALUE = 2
PSEUDO_FUNC = 4

CLASS_LD, CLASS_LDX, CLASS_ST, CLASS_STX, CLASS_ALU, CLASS_ALU64 = 0, 1, 2, 3, 4, 7
SOURCE_REGISTER = 0x08
ALU_OPERATION = 0xF0
ALU_SWAP = 0xD0
ACCESS_SIZE = 0x18
ACCESS_SIZE_CODES = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}  # by the bytes that a load or store takes


class Instruction(NamedTuple):
    """One 8-byte instruction, taken apart."""

    opcode: int
    registers: int
    offset: int
    immediate: int

    @property
    def source(self) -> int:
        return self.registers >> 4

    @property
    def operation_class(self) -> int:
        return self.opcode & 0x07

    def with_source(self, register: int) -> Instruction:
        return self._replace(registers=self.registers & 0x0F | register << 4)


def read_at(code: bytes | bytearray, at: int) -> Instruction:
    """The instruction at byte `at`, which must lie inside of `code`."""
    return Instruction(*_LAYOUT.unpack_from(code, at))


def write_at(code: bytearray, at: int, instruction: Instruction) -> None:
    """Put `instruction` at byte `at`; its immediate may be given signed or unsigned."""
    immediate = instruction.immediate & 0xFFFFFFFF
    _LAYOUT.pack_into(code, at, *instruction[:3], immediate - (1 << 32) if immediate >> 31 else immediate)


def read_immediate64(code: bytes | bytearray, at: int) -> int:
    """The value, unsigned, of the 64-bit load at byte `at`."""
    low, high = read_at(code, at).immediate, read_at(code, at + INSTRUCTION_BYTES).immediate
    return low & 0xFFFFFFFF | (high & 0xFFFFFFFF) << 32


def write_immediate64(code: bytearray, at: int, value: int) -> None:
    """Give the 64-bit load at byte `at` its value, signed or unsigned."""
    write_at(code, at, read_at(code, at)._replace(immediate=value))
    high = at + INSTRUCTION_BYTES
    write_at(code, high, read_at(code, high)._replace(immediate=value >> 32))
