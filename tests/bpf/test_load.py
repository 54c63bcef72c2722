"""Objects are loaded into this kernel, run, and let go."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import time

import pytest

from linnix_rec.bpf.btf import read_vmlinux, tracepoint_parameters
from linnix_rec.bpf.descriptor import Map, run_on_cpu
from linnix_rec.bpf.errors import KernelRefusedError, MalformedObjectError, ProgramRefusedError
from linnix_rec.bpf.load import LoadedObject, load
from tests.bpf.btf_builder import BtfBuilder
from tests.bpf.given import features, sequencer

pytestmark = pytest.mark.kernel

TRUE = "/bin/true"
SELF = struct.Struct("<i")


def value_of(loaded: LoadedObject, section: str, variable: str) -> int:
    place = loaded.spec.data[section].variables[variable]
    with loaded.maps[section].map_memory() as memory:
        return int.from_bytes(memory[place.offset : place.offset + place.size], "little")


def test_an_attached_program_runs_and_a_detached_one_does_not() -> None:
    with load(features(), programs=["on_exec"]) as loaded:
        loaded.attach("on_exec")
        ended = subprocess.Popen([TRUE])
        ended.wait()
        assert value_of(loaded, ".data", "initial") != 41
        loaded.detach()
        seen = value_of(loaded, ".bss", "runs")
        assert seen >= 1
        subprocess.run([TRUE], check=True)
        assert value_of(loaded, ".bss", "runs") == seen


def test_constants_are_set_before_the_verifier_looks() -> None:
    """scaled(tgid) is twice(tgid) * factor, over two calls between functions."""
    with load(features(), programs=["on_exec"], rodata={"factor": 1000}) as loaded:
        loaded.attach("on_exec")
        child = subprocess.Popen([TRUE])
        child.wait()
        loaded.detach()
        assert value_of(loaded, ".data", "initial") % 2000 == 0
        assert value_of(loaded, ".rodata", "factor") == 1000
        with pytest.raises(KernelRefusedError):
            loaded.maps[".rodata"].update(bytes(4), bytes(16))


def test_a_function_can_be_called_by_its_address() -> None:
    with load(features(), programs=["looping"]) as loaded:
        loaded.attach("looping")
        subprocess.run([TRUE], check=True)
        loaded.detach()
        assert value_of(loaded, ".bss", "runs") >= 10


def test_a_raw_tracepoint_is_attached_by_name() -> None:
    with load(features(), programs=["on_exit"]) as loaded:
        link = loaded.attach("on_exit")
        assert link.info().program_id == loaded.programs["on_exit"].info().id
        subprocess.run([TRUE], check=True)
        assert value_of(loaded, ".bss", "runs") >= 1


def test_an_iterator_visits_every_task() -> None:
    with load(features(), programs=["each_task"]) as loaded:
        written = loaded.iterate("each_task")
        assert written % 4 == 0
        assert value_of(loaded, ".bss", "tasks") >= written // 4 > 10
        assert loaded.iterate("each_task") > 0


def test_info_says_what_the_kernel_made() -> None:
    with load(features(), programs=["on_exec"], max_entries={"numbers": 1000}, name_prefix="lr_") as loaded:
        numbers = loaded.maps["numbers"].info()
        assert (numbers.name, numbers.max_entries, numbers.value_bytes) == ("lr_numbers", 1000, 12)
        program = loaded.programs["on_exec"].info()
        assert program.name == "lr_on_exec"
        assert program.verified_instructions > 0
        assert program.recursion_misses == 0


def test_an_arrays_memory_is_whole_pages_of_padded_values() -> None:
    with load(features(), programs=[], max_entries={"numbers": 1000}) as loaded:
        numbers = loaded.maps["numbers"]
        assert numbers.value_stride_bytes == 16
        assert numbers.mapping_bytes == 16384
        numbers.update(struct.pack("<I", 999), b"twelve bytes")
        with numbers.map_memory(writable=True) as memory:
            assert memory[999 * 16 : 999 * 16 + 12] == b"twelve bytes"
            memory[0:4] = b"here"
        assert numbers.lookup(bytes(4)) == b"here" + bytes(8)
        assert numbers.lookup(struct.pack("<I", 1000)) is None
        with pytest.raises(ValueError, match="not mmap-able"):
            loaded.maps["marks"].map_memory()


def test_task_storage_is_reached_by_pidfd() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        with load(features(), programs=[]) as loaded:
            marks, key = loaded.maps["marks"], SELF.pack(pidfd)
            assert marks.lookup(key) is None
            marks.update(key, struct.pack("<Q", 7))
            assert marks.lookup(key) == struct.pack("<Q", 7)
            assert marks.delete(key)
            assert not marks.delete(key)
            with pytest.raises(ValueError, match="a key of marks has 4 bytes"):
                marks.lookup(b"")
            with pytest.raises(ValueError, match="a value of marks has 8 bytes"):
                marks.update(key, b"")
    finally:
        os.close(pidfd)


def test_a_field_that_is_missing_matters_only_where_it_is_read() -> None:
    with load(features(), programs=["guarded"]) as loaded:
        assert loaded.programs["guarded"].info().verified_instructions < 16
    with pytest.raises(ProgramRefusedError) as refused:
        load(features(), programs=["poisoned"])
    assert "this kernel lacks field task_struct.no_such_field" in str(refused.value)
    assert refused.value.program == "poisoned"
    assert refused.value.errno == errno.EINVAL
    assert "verifier: invalid func" in str(refused.value)
    assert "; return task->no_such_field;" in refused.value.log  # the source's line, which the BTF has


def test_nothing_is_left_open_after_a_refusal() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ProgramRefusedError):
        load(features())
    assert set(os.listdir("/proc/self/fd")) == before


def test_nothing_is_left_open_after_closing_twice() -> None:
    before = set(os.listdir("/proc/self/fd"))
    loaded = load(features(), programs=["on_exit"])
    loaded.attach("on_exit")
    loaded.close()
    loaded.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_map_that_does_not_fit_says_so() -> None:
    with pytest.raises(KernelRefusedError, match=r"map numbers .*; ask for a smaller one"):
        load(features(), programs=[], max_entries={"numbers": (1 << 32) - 1})


@pytest.mark.parametrize(
    ("max_entries", "rodata", "why"),
    [
        ({"nothing": 1}, {}, "has no map nothing"),
        ({}, {"nothing": 1}, "has no constant nothing"),
        ({}, {"initial": 1}, "has no constant initial"),
        ({}, {"factor": b"12345"}, "constant factor has 4 bytes, not 5"),
        ({}, {"factor": 1 << 32}, "constant factor can't be 4294967296"),
    ],
)
def test_what_the_object_lacks_cannot_be_set(
    max_entries: dict[str, int], rodata: dict[str, int | bytes], why: str
) -> None:
    with pytest.raises(MalformedObjectError, match=why):
        load(features(), programs=[], max_entries=max_entries, rodata=rodata)


def test_a_kernel_without_the_tracepoint_is_told_from_its_btf() -> None:
    with pytest.raises(MalformedObjectError, match="knows no tracepoint sched_process_exec"):
        load(features(), programs=["on_exec"], kernel_btf=task_only())


def task_only():  # type: ignore[no-untyped-def]
    b = BtfBuilder()
    number = b.int()
    b.struct("task_struct", 8, ("pid", number, 0), ("tgid", number, 32))
    return b.btf()


def test_the_shipped_object_loads_attaches_and_counts() -> None:
    kernel = read_vmlinux()
    exit_program = (
        "on_exit_group_dead" if tracepoint_parameters(kernel, "sched_process_exit") > 1 else "on_exit"
    )
    names = [exit_program, "on_exec", "on_newtask", "list_task"]
    cpus = os.sysconf("SC_NPROCESSORS_CONF")
    with load(
        sequencer(),
        programs=names,
        max_entries={"ring": 4096, "accounts": cpus},
        rodata={"ring_mask": 4095},
        kernel_btf=kernel,
    ) as loaded:
        for name in names[:3]:
            loaded.attach(name)
        subprocess.run([TRUE], check=True)
        time.sleep(0.05)
        issued = value_of(loaded, ".bss", "next_ticket")
        assert issued >= 3
        loaded.iterate("list_task")
        assert value_of(loaded, ".bss", "next_ticket") > issued + 10
        ring: Map = loaded.maps["ring"]
        with ring.map_memory() as memory:
            assert struct.unpack_from("<Q", memory, 0) == (2,)


def test_a_raw_tracepoints_program_runs_unattached_on_the_cpu_of_choice() -> None:
    with load(features(), programs=["on_exit"]) as loaded:
        for cpu in os.sched_getaffinity(0):
            before = value_of(loaded, ".bss", "runs")
            assert run_on_cpu(loaded.programs["on_exit"], cpu) == 0
            assert value_of(loaded, ".bss", "runs") == before + 1
        with pytest.raises(KernelRefusedError, match="can't run on_exit on CPU 1000000"):
            run_on_cpu(loaded.programs["on_exit"], 1_000_000)
