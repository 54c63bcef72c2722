"""The shadow recorder is told what the first one was, and its own channel's options."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from linnix_rec.session.request import ChannelOptions, Request
from linnix_rec.session.shadow import shadow_command, shadow_path

RECORD = [sys.executable, "-m", "linnix_rec", "record", "--quiet", "--source"]


@pytest.mark.parametrize(("name", "shadow"), [("x.lrec", "x.shadow.lrec"), ("x", "x.shadow.lrec")])
def test_the_shadow_s_capture_stands_beside(name: str, shadow: str) -> None:
    assert shadow_path(Path("somewhere") / name) == Path("somewhere") / shadow


def test_of_a_tree_it_follows_the_first_process() -> None:
    request = Request(command=("make",), shadow="ringbuf", argv=False, redact="pass", wait=True)
    options = ["--wait", "--pid", "17", "--no-argv", "--redact", "pass"]
    assert shadow_command(request, Path("x.lrec"), 17) == [
        *RECORD,
        "ringbuf",
        "-o",
        "x.shadow.lrec",
        *options,
    ]


def test_of_the_host_it_records_all_in_a_channel_of_its_own() -> None:
    channel = ChannelOptions(size_bytes=65536, wakeup="every:10", poll="busy", merge="none")
    request = Request(whole_host=True, shadow="perf", shadow_channel=channel, force=True)
    options = [
        "--force",
        "--all",
        "--size",
        "65536",
        "--wakeup",
        "every:10",
        "--poll",
        "busy",
        "--merge",
        "none",
    ]
    assert shadow_command(request, Path("x.lrec"), None) == [*RECORD, "perf", "-o", "x.shadow.lrec", *options]


def test_a_second_sequencer_has_a_ring_of_the_same_size() -> None:
    command = shadow_command(Request(shadow="sequencer", ring_slots=4096), Path("x.lrec"), None)
    assert command[-2:] == ["--ring-slots", "4096"]
