"""Messages as a process connector would have sent them beside a story, to edit, and to write to a capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from linnix_rec.capture.connector import FILE_NAME, MessageWriter
from linnix_rec.capture.document import DOCUMENT_NAME, CaptureDocument, ConnectorWitness
from linnix_rec.capture.schema import KIND_CODES
from linnix_rec.sources.connector_messages import KEPT
from tests.story import Row, Story

#: When the kernel sends a message, counted from its tracepoint.
DELAY_NS = {"fork": -500, "exec": 2_000, "exit": 50_000}
SECOND_NS = 1_000_000_000


def message_of(row: Row) -> Row:
    """The message that goes with a row of a story."""
    fork = row["kind"] == "fork"
    return {
        "kind": row["kind"],
        "cpu": row["cpu"],
        "boot_ns": row["boot_ns"] + DELAY_NS[row["kind"]],
        "tid": row["parent_tid"] if fork and row["child_tid"] != row["child_tgid"] else row["tid"],
        "tgid": row["tgid"],
        "child_tid": row["child_tid"] if fork else 0,
        "child_tgid": row["child_tgid"] if fork else 0,
    }


def messages_of(story: Story) -> list[Row]:
    """All messages that go with a story, in the order of their time."""
    made = [message_of(row) for row in story.rows if row["kind"] in DELAY_NS]
    return sorted(made, key=lambda message: message["boot_ns"])


def write_messages(capture: Path, messages: Sequence[Row], **changes: Any) -> ConnectorWitness:
    """Put messages beside a capture, as witnessed from its begin to well after its last event."""
    rows = np.zeros(len(messages), KEPT)
    for at, message in enumerate(messages):
        for name in ("cpu", "tid", "tgid", "child_tid", "child_tgid"):
            rows[name][at] = message[name]
        rows["kind"][at] = KIND_CODES[message["kind"]]
    boot_ns = np.array([message["boot_ns"] for message in messages], np.int64)
    writer = MessageWriter(capture, None)
    writer.write(rows, boot_ns)
    sha256 = writer.close()
    document = CaptureDocument.load(capture / DOCUMENT_NAME)
    last_ns = max([document.started.attached_boot_ns, *boot_ns.tolist()])
    witness = ConnectorWitness(
        file=FILE_NAME,
        sha256=sha256,
        rows=len(messages),
        lost={},
        overruns=0,
        first_boot_ns=document.started.attached_boot_ns,
        end_boot_ns=last_ns + 10 * SECOND_NS,
    )
    witness = replace(witness, **changes)
    (capture / DOCUMENT_NAME).write_bytes(replace(document, connector=witness).dump())
    return witness
