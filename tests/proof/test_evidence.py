"""The digest of a whole capture: what agrees with itself after a forgery is not what was noted elsewhere."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from linnix_rec.capture.document import DOCUMENT_NAME, Accounts, CaptureDocument
from linnix_rec.capture.reader import open_capture
from linnix_rec.errors import UnreadableCaptureError, UsageError
from linnix_rec.proof import Verdict, verify_capture
from linnix_rec.proof.evidence import capture_digest, parse_digest
from tests.proof.mutations import rows_of_capture, write_mutated
from tests.proof.test_verify import a_listed_session
from tests.story import consistent_accounts, write_capture


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "whole.lrec", a_listed_session(), rows_per_segment=9)


def digest_of(path: Path) -> str:
    return capture_digest(open_capture(path))


def verdict_on(path: Path, expected: str) -> Verdict:
    return verify_capture(open_capture(path), expected_digest=expected)


def edited(path: Path, **changes: Any) -> None:
    document = CaptureDocument.load(path / DOCUMENT_NAME)
    (path / DOCUMENT_NAME).write_bytes(replace(document, **changes).dump())


def accounts_of(path: Path) -> Accounts:
    return consistent_accounts([row for batch in open_capture(path).batches() for row in batch.to_pylist()])


def test_the_digest_is_that_of_the_canonical_document(capture: Path) -> None:
    digest = digest_of(capture)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    stated = json.loads((capture / DOCUMENT_NAME).read_bytes())
    for segment in stated["segments"]:
        segment["sha256"] = hashlib.sha256((capture / segment["name"]).read_bytes()).hexdigest()
    canonical = json.dumps(stated, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert digest == "sha256:" + hashlib.sha256(canonical).hexdigest()


def test_the_digest_does_not_depend_on_how_the_document_is_laid_out(capture: Path) -> None:
    digest, path = digest_of(capture), capture / DOCUMENT_NAME
    stated = json.loads(path.read_bytes())
    path.write_text(json.dumps(dict(reversed(stated.items())), indent=7))
    assert digest_of(capture) == digest
    path.write_text(json.dumps({**stated, "of_a_later_version": 1}))
    assert digest_of(capture) != digest


def test_an_untouched_capture_has_the_digest_that_was_noted(capture: Path) -> None:
    verdict = verdict_on(capture, digest_of(capture))
    assert (verdict.proven, verdict.digest) == (True, digest_of(capture))
    assert (verdict.rules[-1].name, verdict.rules[-1].checked) == ("expect", 1)


def test_a_change_of_any_segment_changes_the_digest(capture: Path) -> None:
    noted = digest_of(capture)
    for segment in open_capture(capture).segments:
        raw = segment.path.read_bytes()
        with segment.path.open("r+b") as file:
            file.write(b"QAR1")
        stated = json.loads((capture / DOCUMENT_NAME).read_bytes())
        opened = replace_segments(capture, stated)
        assert opened != noted
        segment.path.write_bytes(raw)
    assert digest_of(capture) == noted


def replace_segments(capture: Path, stated: dict[str, Any]) -> str:
    for segment in stated["segments"]:
        segment["sha256"] = hashlib.sha256((capture / segment["name"]).read_bytes()).hexdigest()
    canonical = json.dumps(stated, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def last_segment_removed(capture: Path) -> Path:
    """The last segment goes, and capture.json and its counters are rewritten to agree."""
    segment = open_capture(capture).segments[-1]
    segment.path.unlink()
    document = CaptureDocument.load(capture / DOCUMENT_NAME)
    kept = document.segments[:-1]
    listings = tuple(each for each in document.listings if each.end_seq <= kept[-1].end_seq)
    edited(capture, segments=kept, listings=listings)
    edited(capture, accounts=accounts_of(capture))
    return capture


def segments_reordered(capture: Path) -> Path:
    """What stood in the last two segments changes places, in a fresh chain with fresh tickets."""
    rows = rows_of_capture(capture)
    late = [row for row in rows if row["seq"] >= open_capture(capture).segments[-2].metadata.first_seq]
    rows = [*rows[: -len(late)], *late[9:], *late[:9]]
    seq = 0
    for row in rows:
        row["seq"], seq = seq, seq + row["slots"]
        row.pop("listing", None)
    return forged(capture, "reordered.lrec", rows)


def row_rewritten(capture: Path) -> Path:
    """One argument is another, in a fresh chain."""
    rows = rows_of_capture(capture)
    executed = next(row for row in rows if row["kind"] == "exec")
    executed["argv"] = ["harmless"]
    return forged(capture, "rewritten.lrec", rows)


def forged(capture: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    forgery = write_mutated(capture.with_name(name), capture, rows, rows_per_segment=9)
    document = CaptureDocument.load(capture / DOCUMENT_NAME)
    edited(forgery, stopped=document.stopped, clock=document.clock)
    return forgery


def test_a_forgery_that_agrees_with_itself_is_found_by_the_digest_noted_elsewhere(capture: Path) -> None:
    noted = digest_of(capture)
    forgeries = [row_rewritten(capture), segments_reordered(capture), last_segment_removed(capture)]
    for forgery in forgeries:
        rules = {rule.name: rule for rule in verdict_on(forgery, noted).rules}
        assert (rules["digest"].holds, rules["account"].holds, rules["sequence"].holds) == (True, True, True)
        assert not rules["expect"].holds
        assert rules["expect"].first[0].message == f"expected {noted}, found {digest_of(forgery)}"
    assert verdict_on(forgeries[0], digest_of(forgeries[0])).proven


def test_a_segment_with_a_fresh_hash_of_its_own_is_found(capture: Path) -> None:
    noted, segment = digest_of(capture), open_capture(capture).segments[-1]
    with pq.ParquetFile(segment.path) as file:
        table, keys = file.read(), file.metadata.metadata
    with pq.ParquetWriter(segment.path, table.schema, compression="zstd", compression_level=9) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: value for key, value in keys.items() if key != b"ARROW:schema"})
    document = CaptureDocument.load(capture / DOCUMENT_NAME)
    fresh = hashlib.sha256(segment.path.read_bytes()).hexdigest()
    edited(capture, segments=(*document.segments[:-1], replace(document.segments[-1], sha256=fresh)))
    verdict = verdict_on(capture, noted)
    assert [rule.name for rule in verdict.rules if not rule.holds] == ["expect"]
    assert verdict.exit_status() == 1


def test_a_missing_segment_has_no_hash(capture: Path) -> None:
    noted = digest_of(capture)
    open_capture(capture).segments[-1].path.unlink()
    assert digest_of(capture) != noted


def test_a_document_that_changed_meanwhile_is_refused(capture: Path) -> None:
    opened = open_capture(capture)
    edited(capture, tool_version="0.2.0")
    with pytest.raises(UnreadableCaptureError, match="has changed since it was opened"):
        capture_digest(opened)


def test_a_digest_is_read_with_or_without_its_prefix() -> None:
    digits = "0A" * 32
    assert parse_digest(digits) == parse_digest(f" sha256:{digits}\n") == "sha256:" + "0a" * 32
    for text in ("", "sha256:", "0a" * 31, "0g" * 32, "md5:" + digits):
        with pytest.raises(UsageError, match="is no digest"):
            parse_digest(text)
