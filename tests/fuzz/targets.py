"""The readers that are fuzzed: for each its seeds, how an input is changed, and how one is read.

Reading may end well or with a LinnixRecError. Whatever else it raises is a finding, and so is memory that
was refused: a limit should have refused before.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa

from linnix_rec.bpf.btf import Btf, Kind
from linnix_rec.bpf.definitions import read_object_spec
from linnix_rec.bpf.dtype import struct_dtype
from linnix_rec.bpf.object import read_object
from linnix_rec.capture.connector import FILE_NAME, MESSAGE_SCHEMA
from linnix_rec.capture.connector_reader import open_messages
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, ConnectorWitness
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import LinnixRecError
from linnix_rec.proof.verify import verify_capture
from linnix_rec.replay.lineage import lineage_of
from linnix_rec.replay.rows import COLUMNS
from linnix_rec.ring.raw import RawImage, write_raw
from linnix_rec.session.raw import read_raw_image
from linnix_rec.sources.decode import Decoder
from linnix_rec.sources.image import image_batches
from tests.bpf.btf_builder import BtfBuilder
from tests.fuzz.documents import mutated_document
from tests.fuzz.images import mutated_image
from tests.fuzz.objects import mutated_btf, mutated_object
from tests.fuzz.segments import mutated_segment
from tests.story import Story, document, write_capture

CHECKOUT = Path(__file__).parents[2]
SEGMENT_NAME = "segment-00000000000000000000.parquet"
IMAGE_SLOTS = 1 << 10  # no ring is smaller

Mutate = Callable[[bytes, int], bytes]


@dataclass(frozen=True)
class Target:
    """One reader. `share` of a run's inputs, in percent; `read` gets an input and a directory of its own."""

    share: int
    seeds: Callable[[Path], Iterator[bytes]]
    mutated: Callable[[bytes, Random, Mutate], bytes]
    read: Callable[[bytes, Path], None]
    longest_bytes: int = 1 << 16


def _plain(raw: bytes, random: Random, mutate: Mutate) -> bytes:
    return mutate(raw, len(raw) + 64)


# ---- BTF and ELF


def _btf_seeds(_: Path) -> Iterator[bytes]:
    for name in ("sequencer", "features"):
        yield read_object_spec(_object(name), name).btf.content
    builder = BtfBuilder()
    number = builder.int()
    inner = builder.struct("inner", 8, ("a", number, 0), ("b", number, 32))
    union = builder.union("", 8, ("c", inner, 0), ("d", builder.array(number, 2), 0))
    builder.struct("slot", 16, ("", union, 0), ("p", builder.pointer(inner), 64))
    builder.enum("e", {"x": 0, "y": 5})
    builder.enum64("e64", {"z": 1 << 40})
    variable = builder.variable("v", builder.const(builder.typedef("t", number)))
    builder.section(".bss", 4, (variable, 0, 4))
    builder.function("f", builder.prototype(number, ("one", number), ("two", inner)))
    yield builder.content()


def _object(name: str) -> bytes:
    if name == "features":
        return (CHECKOUT / "tests/bpf/objects/features.bpf.o").read_bytes()
    return read_object(name)


def _read_btf(raw: bytes, _: Path) -> None:
    """Read every type in every way that fits its kind, and some that don't."""
    btf = Btf(raw, "fuzzed BTF")
    ways = (btf.resolve, btf.size_of, btf.members, btf.array, btf.integer, btf.enumerators, btf.parameters)
    for type_id in range(min(len(btf), 60)):
        for way in (*ways, btf.variables):
            with contextlib.suppress(LinnixRecError):
                way(type_id)
    for type_id in btf.of_kind(Kind.STRUCT, Kind.UNION)[:50]:
        with contextlib.suppress(LinnixRecError):
            struct_dtype(btf, btf.type(type_id).name)
    struct_dtype(btf, "slot")


def _elf_seeds(_: Path) -> Iterator[bytes]:
    yield _object("features")  # the sequencer is six times as large, and reads no other code


def _read_elf(raw: bytes, _: Path) -> None:
    read_object_spec(raw, "fuzzed")


# ---- capture.json


def _document_seeds(work: Path) -> Iterator[bytes]:
    for sample in sorted((CHECKOUT / "samples").glob("*.lrec")):
        yield (sample / DOCUMENT_NAME).read_bytes()
    yield (_story_capture(work) / DOCUMENT_NAME).read_bytes()
    wide = document(
        connector=ConnectorWitness(FILE_NAME, "0" * 64, 5, {"0": 1}, 0, 5, 6),
        cgroups={str(number): f"/{number}" for number in range(20)},
    )
    yield wide.dump()


def _read_document(raw: bytes, _: Path) -> None:
    CaptureDocument.parse(raw, "fuzzed").dump()


# ---- Segments, and captures as a whole


def _story_capture(work: Path) -> Path:
    """A small capture with an event of each kind."""
    path = work / "story.lrec"
    if not path.exists():
        story = Story()
        shell = story.task(100)
        for number in range(2):
            child = story.fork(shell, 1000 + number)
            story.exec(child, "/usr/bin/cc", ["cc", "-c", f"{number}.c", "\uef80"], slots=2)
            story.exit(child, code=number % 2)
        story.gap(7, "lapped")
        story.exit(shell, signal=9)
        write_capture(path, story)
    return path


def _segment_seeds(work: Path) -> Iterator[bytes]:
    yield (_story_capture(work) / SEGMENT_NAME).read_bytes()
    yield (CHECKOUT / "samples/make.lrec" / SEGMENT_NAME).read_bytes()


def _read_segment(raw: bytes, work: Path) -> None:
    """Read a capture whose capture.json vouches for the segment."""
    path = work / "fuzzed.lrec"
    if not path.exists():
        shutil.copytree(_story_capture(work), path)
    told, sha256_before = _story_document(work)
    (path / SEGMENT_NAME).write_bytes(raw)
    (path / DOCUMENT_NAME).write_bytes(told.replace(sha256_before, sha256(raw).hexdigest().encode()))
    capture = open_capture(path)
    for batch in capture.batches():
        batch.column("argv").to_pylist()
    capture.findings()


@functools.cache
def _story_document(work: Path) -> tuple[bytes, bytes]:
    """The story's capture.json, and the SHA-256 of its segment in it."""
    raw = (_story_capture(work) / DOCUMENT_NAME).read_bytes()
    return raw, CaptureDocument.parse(raw, "story").segments[0].sha256.encode()


def _capture_seeds(work: Path) -> Iterator[bytes]:
    """A capture.json and a segment, in one input."""
    for path in (_story_capture(work), CHECKOUT / "samples/make.lrec"):
        told = (path / DOCUMENT_NAME).read_bytes()
        yield json.dumps(json.loads(told)).encode() + b"\n" + (path / SEGMENT_NAME).read_bytes()


def _mutated_capture(raw: bytes, random: Random, mutate: Mutate) -> bytes:
    told, _, segment = raw.partition(b"\n")
    if random.random() < 0.5:
        return mutated_document(told, random, mutate).replace(b"\n", b" ") + b"\n" + segment
    return told + b"\n" + mutated_segment(segment, random, mutate)


def _read_capture(raw: bytes, work: Path) -> None:
    """Open, prove and replay a capture whose parts were both changed."""
    told, _, segment = raw.partition(b"\n")
    path = work / "whole.lrec"
    path.mkdir(exist_ok=True)
    (path / DOCUMENT_NAME).write_bytes(told)
    (path / SEGMENT_NAME).write_bytes(segment)
    capture = open_capture(path)
    verify_capture(capture)
    for process in lineage_of(capture.batches(COLUMNS)):
        repr(process)


# ---- What the process connector said


def _connector_seeds(_: Path) -> Iterator[bytes]:
    for compression in ("zstd", None):
        sink = io.BytesIO()
        with pa.ipc.new_stream(
            sink, MESSAGE_SCHEMA, options=pa.ipc.IpcWriteOptions(compression=compression)
        ) as stream:
            for count in (3, 40):
                columns = [np.arange(count).astype(field.type.to_pandas_dtype()) for field in MESSAGE_SCHEMA]
                stream.write_batch(
                    pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema=MESSAGE_SCHEMA)
                )
        yield sink.getvalue()


def _mutated_connector(raw: bytes, random: Random, mutate: Mutate) -> bytes:
    if random.random() < 0.5 or len(raw) < 8:
        return mutate(raw, len(raw) + 64)
    out = bytearray(raw)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(out) // 4) * 4
        word = int.from_bytes(out[at : at + 4], "little")
        changed = random.choice(
            [0, 1, 4, 255, 1 << 16, 1 << 31, (1 << 32) - 1, word + 1, word - 1, word << 8]
        )
        out[at : at + 4] = (changed % (1 << 32)).to_bytes(4, "little")
    return bytes(out)


def _read_connector(raw: bytes, work: Path) -> None:
    (work / FILE_NAME).write_bytes(raw)
    witness = ConnectorWitness(FILE_NAME, sha256(raw).hexdigest(), 43, {}, 0, 0, 1)
    messages = open_messages(work, witness)
    assert messages is not None
    for batch in messages.batches():
        batch.to_pylist()


# ---- Raw ring images


def _image_seeds(_: Path) -> Iterator[bytes]:
    btf = read_object_spec(_object("sequencer"), "sequencer").btf
    slots = np.zeros(IMAGE_SLOTS, struct_dtype(btf, "slot"))
    tickets = np.arange(IMAGE_SLOTS, dtype=np.uint64) + np.uint64(IMAGE_SLOTS)
    slots["stamp"] = 2 * tickets + 2
    slots["span"] = 1
    slots["kind"] = 1 + tickets % 4 // 1
    slots["kind"][slots["kind"] == 2] = 1
    told = json.loads(document().dump())
    sink = io.BytesIO()
    head = {"format": "linnix-rec raw image", "version": 1, "document": told}
    log = np.zeros(64, np.uint64)
    write_raw(sink, RawImage(head, btf.content, log, slots.view(np.uint8), IMAGE_SLOTS, 2 * IMAGE_SLOTS))
    yield sink.getvalue()


def _read_image(raw: bytes, work: Path) -> None:
    path = work / "image.raw"
    path.write_bytes(raw)
    image, told = read_raw_image(path, IMAGE_SLOTS)
    sample = told.clock[-1]
    decoder = Decoder(told.host.page_size_bytes, sample.realtime_ns - sample.boot_ns)
    for batch in image_batches(image, decoder):
        batch.validate(full=True)


TARGETS = {
    "document": Target(40, _document_seeds, mutated_document, _read_document),
    "btf": Target(15, _btf_seeds, mutated_btf, _read_btf),
    "elf": Target(8, _elf_seeds, mutated_object, _read_elf),
    "segment": Target(10, _segment_seeds, mutated_segment, _read_segment),
    "capture": Target(2, _capture_seeds, _mutated_capture, _read_capture),
    "connector": Target(20, _connector_seeds, _mutated_connector, _read_connector),
    "image": Target(5, _image_seeds, mutated_image, _read_image, longest_bytes=1 << 18),
}
