"""capture.json comes back as written, and is refused in one clear line where it is not what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.capture.document import (
    Accounts,
    CaptureDocument,
    EventAccount,
    Filter,
    Segment,
    Stopped,
)
from linnix_rec.errors import UnreadableCaptureError
from tests.story import document


def finished() -> CaptureDocument:
    return document(
        filter=Filter("command", ("sh", "-c", "echo \uefff"), None),
        cgroups={"42": "/system.slice/a\uef80b"},
        stopped=Stopped("signal", "SIGINT", "2026-09-21T14:17:00Z", 7),
        accounts=Accounts(9, 8, 1, {"fork": EventAccount(9, 0, 9, 1)}, {"on_exec": 0}, 2, 3),
        segments=(Segment("segment-00000000000000000000.parquet", "ab" * 32, 0, 9, 9),),
    )


def changed(path: list[str | int], value: object) -> bytes:
    """The finished document with one value replaced."""
    whole = json.loads(finished().dump())
    place: Any = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(whole).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(UnreadableCaptureError) as caught:
        CaptureDocument.parse(raw, "a.lrec/capture.json")
    message = str(caught.value)
    assert message.startswith("a.lrec/capture.json ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("written", [document(), finished()], ids=["recording", "finished"])
def test_a_document_comes_back_as_written(written: CaptureDocument) -> None:
    assert CaptureDocument.parse(written.dump(), "x") == written


def test_load_reads_the_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "capture.json"
    path.write_bytes(finished().dump())
    assert CaptureDocument.load(path) == finished()
    with pytest.raises(UnreadableCaptureError, match=r"can't read .*nowhere"):
        CaptureDocument.load(tmp_path / "nowhere")


def test_keys_of_newer_minor_additions_are_ignored() -> None:
    whole = json.loads(finished().dump())
    whole["weather"] = {"nice": True}
    whole["host"]["cpu_model"] = "Z80"
    assert CaptureDocument.parse(json.dumps(whole).encode(), "x") == finished()


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    assert refusal(changed(["format_version"], 3)).endswith(
        "has format version 3, this linnix-rec reads up to 2: upgrade it"
    )


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["host", "cpus"], "two", "host.cpus is not a whole number"),
        (["host", "cpus"], True, "host.cpus is not a whole number"),
        (["host", "cpus"], 1.5, "host.cpus is not a whole number"),
        (["host", "hostname"], 7, "host.hostname is not a string"),
        (["host"], [], "host is not an object"),
        (["ring_slots"], -1, "ring_slots is out of range"),
        (["ring_slots"], 1 << 64, "ring_slots is out of range"),
        (["ordered"], 1, "ordered is not true or false"),
        (["segments"], {}, "segments is not a list"),
        (["segments", 0, "rows"], None, "segments[0].rows is not a whole number"),
        (["filter", "command", 1], 0, "filter.command[1] is not a string"),
        (["accounts", "events", "fork"], {}, "accounts.events.fork.seen is missing"),
        (["cgroups", "42"], "\ud800", "cgroups.42 is not valid Unicode"),
        (["format_version"], "1", "format_version is not a whole number"),
        (["format_version"], 0, "there is no format version 0"),
        (["segments", 0, "name"], "../\x1b", "no segment is called ../\\x1b"),
    ],
)
def test_a_wrong_value_is_named(path: list[str | int], value: object, said: str) -> None:
    assert refusal(changed(path, value)) == f"a.lrec/capture.json is damaged: {said}"


@pytest.mark.parametrize("raw", [b"[]", b"{}", b"7", b'{"format": "tar"}'])
def test_json_of_something_else_is_no_capture(raw: bytes) -> None:
    assert "is not of a linnix-rec capture" in refusal(raw)


def test_a_document_cut_short_anywhere_is_refused() -> None:
    whole = finished().dump().rstrip()
    for length in range(len(whole)):
        assert "not whole JSON" in refusal(whole[:length])


def test_a_deeply_nested_document_is_refused() -> None:
    assert "nested too deeply" in refusal(b"[" * 100_000)


def assert_refused_or_read(raw: bytes) -> None:
    """Anything but UnreadableCaptureError fails the test."""
    message = ""
    try:
        CaptureDocument.parse(raw, "x").dump()
    except UnreadableCaptureError as error:
        message = str(error)
    assert "\n" not in message


@given(st.integers(0), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_read(where: int, byte: int) -> None:
    raw = bytearray(finished().dump())
    raw[where % len(raw)] = byte
    assert_refused_or_read(bytes(raw))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(sorted(json.loads(finished().dump()))), _JSON)
def test_any_json_in_any_field_is_refused_or_read(field: str, value: object) -> None:
    assert_refused_or_read(changed([field], value))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"format": "linnix-rec capture", "x": [' + b"[]," * 2_000_000 + b"[]]}",
        b'{"format": "linnix-rec capture", "x": {' + b'"a":"",' * 2_000_000 + b'"a":""}}',
    ],
    ids=["lists", "strings"],
)
def test_a_document_that_would_take_much_memory_is_refused_unread(raw: bytes) -> None:
    with pytest.raises(UnreadableCaptureError, match=r"c\.json is too large: \d+ bytes with \d+ lists"):
        CaptureDocument.parse(raw, "c.json")


def test_a_long_string_is_refused_and_not_repeated() -> None:
    told = document(cgroups={"x" * 300: "y" * (1 << 19)})
    with pytest.raises(UnreadableCaptureError) as caught:
        CaptureDocument.parse(told.dump(), "c.json")
    assert str(caught.value) == f"c.json is damaged: cgroups.{'x' * 120}... has 524288 characters"
