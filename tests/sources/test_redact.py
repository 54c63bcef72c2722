"""What a pattern matches is in no text of an event, and everything else is as it was."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.capture.schema import EVENT_SCHEMA
from linnix_rec.capture.text import decode_bytes, encode_text
from linnix_rec.errors import UsageError
from linnix_rec.sources.redact import REDACTED, Redactor

# What a process can be named or given: any bytes but NUL, broken UTF-8 among them.
WORDS = st.lists(
    st.sampled_from([b"a", b"b", b" ", b"-", b"\xff", b"\xc3\xa9", b"\xc3", b"\xee\xbe\x80", b"\n"]),
    max_size=8,
).map(lambda pieces: decode_bytes(b"".join(pieces)))
COMMANDS = st.lists(WORDS, max_size=6).map(tuple)


def exec_row(argv: list[str] | None, **columns: Any) -> dict[str, Any]:
    event = {"seq": 0, "slots": 2, "kind": "exec", "comm": "sh", "filename": "/bin/sh"}
    return event | {"argv": argv, "argv_truncated": False} | columns


FORK = {"seq": 0, "slots": 1, "kind": "fork", "comm": "sh", "child_tid": 7}


def batch_of(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), EVENT_SCHEMA)


@pytest.mark.parametrize(
    ("pattern", "command", "redacted"),
    [
        (r"hunter2", ("login", "-phunter2", "x"), ("login", "-p[redacted]", "x")),
        (r"--password\s+\S+", ("db", "--password", "s3", "x"), ("db", "[redacted]", "[redacted]", "x")),
        (r"(?i)token=\S*", ("TOKEN=a&b c",), ("[redacted] c",)),
        (r".", ("ab", "", "c"), ("[redacted]", "", "[redacted]")),
        (r"\d", ("1a23", "4"), ("[redacted]a[redacted]", "[redacted]")),
        (r" ", ("a", "b"), ("a", "b")),
        (r"é.", ("caféx",), ("caf[redacted]",)),
        (r"x", (), ()),
    ],
)
def test_each_match_is_replaced_in_each_argument_that_it_covers(
    pattern: str, command: tuple[str, ...], redacted: tuple[str, ...]
) -> None:
    assert Redactor(pattern).command(command) == redacted
    (argv,) = Redactor(pattern).batch(batch_of(exec_row(list(command)))).column("argv").to_pylist()
    assert tuple(argv) == redacted


def test_names_of_files_and_tasks_are_redacted_too() -> None:
    rows = [
        exec_row(["a"], filename="/tmp/key-1/run", comm="key-1"),
        exec_row(["a"], filename="/tmp/key-2/run", comm="key-2"),
        exec_row(["a"]),
        FORK,
    ]
    redacted = Redactor("key-[0-9]").batch(batch_of(*rows))
    assert redacted.column("filename").to_pylist() == ["/tmp/[redacted]/run"] * 2 + ["/bin/sh", None]
    assert redacted.column("comm").to_pylist() == ["[redacted]"] * 2 + ["sh", "sh"]
    assert redacted.column("filename").dictionary.to_pylist() == ["/tmp/[redacted]/run", "/bin/sh"]
    assert redacted.schema.equals(EVENT_SCHEMA, check_metadata=True)


def test_a_task_s_name_is_redacted_where_its_file_s_base_name_was() -> None:
    """A name is cut to 15 bytes: the pattern for the whole token finds nothing in it."""
    redactor = Redactor("token-[0-9a-f]{16}|^key$")
    secret, cut = "token-0123456789abcdef", "token-012345678"
    first = redactor.batch(
        batch_of(
            exec_row(["a"], filename=f"/tmp/run-{secret}", comm=f"run-{secret}"[:15]),
            exec_row(["a"], filename=f"/tmp/{secret}/run", comm="run"),
            exec_row(["a"], filename="/tmp/key", comm="key"),
        )
    )
    assert first.column("comm").to_pylist() == [REDACTED, "run", REDACTED]
    later = redactor.batch(batch_of(FORK | {"comm": "run-token-01234"}, FORK, FORK | {"comm": cut}))
    assert later.column("comm").to_pylist() == [REDACTED, "sh", cut]


def test_a_name_that_is_whole_keeps_what_does_not_match() -> None:
    redacted = Redactor("key-[0-9]+").batch(
        batch_of(exec_row([], filename="/bin/tool-key-12", comm="tool-key-12"))
    )
    assert redacted.column("comm").to_pylist() == ["tool-[redacted]"]


def test_a_name_is_cut_between_bytes_as_the_kernel_does() -> None:
    name = "é" * 7 + "éx-key"
    cut = decode_bytes(name.encode()[:15])
    assert cut.endswith("\uefc3")
    redacted = Redactor("x-key").batch(batch_of(exec_row([], filename="/bin/" + name, comm=cut)))
    assert redacted.column("comm").to_pylist() == [REDACTED]


def test_a_pattern_that_holds_on_a_path_s_end_hides_the_name_too() -> None:
    redacted = Redactor("/tmp/.*").batch(batch_of(exec_row(["a"], filename="/tmp/a/b", comm="b")))
    assert redacted.column("filename").to_pylist() == [REDACTED]
    assert redacted.column("comm").to_pylist() == [REDACTED]


def test_the_names_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnix_rec.sources.redact.NAMES_MAX", 2)
    redactor = Redactor("/[a-z]$")
    for name in "abac":
        redactor.batch(batch_of(exec_row([], filename=f"/{name}", comm=name)))
    left = redactor.batch(batch_of(*(FORK | {"comm": name} for name in "abc")))
    assert left.column("comm").to_pylist() == [REDACTED, "b", REDACTED]


def test_each_of_several_patterns_is_searched_in_what_was_there() -> None:
    """`[redacted]` in a word's middle would hide the rest of it from the other pattern."""
    for patterns in (("tok", "token=[a-z]+"), ("token=[a-z]+", "tok")):
        assert Redactor(*patterns).command(("x", "token=abc", "tok")) == ("x", REDACTED, REDACTED)
    assert Redactor("ab", "bc", "cd", "x").command(("abcde", "x")) == ("[redacted]e", REDACTED)


def test_the_last_argument_of_a_cut_exec_is_replaced_whole() -> None:
    """Half a token does not match a pattern for whole tokens."""
    whole, half = "token=" + 8 * "a", "token=aa"
    cut = exec_row(["sh", half], argv_truncated=True)
    empty = exec_row([], argv_truncated=True)
    unread = exec_row(None, argv_truncated=True)
    redacted = Redactor("token=a{8}").batch(batch_of(cut, exec_row(["sh", whole]), FORK, empty, unread))
    assert redacted.column("argv").to_pylist() == [["sh", REDACTED], ["sh", REDACTED], None, [], None]


def test_a_batch_in_which_nothing_matches_is_the_same_batch() -> None:
    batch = batch_of(exec_row(["a", "b"]), FORK, {"seq": 2, "slots": 0, "kind": "gap", "lost": 3})
    assert Redactor("nothing").batch(batch) is batch
    empty = batch.slice(0, 0)
    assert Redactor("nothing").batch(empty).num_rows == 0


def test_a_part_of_a_batch_is_redacted_as_the_whole() -> None:
    rows = [exec_row([f"a{i}", "x"], comm=f"c{i}", filename=f"/f{i}") if i % 3 else FORK for i in range(12)]
    batch, redactor = batch_of(*rows), Redactor("[acf][1-9]")
    assert redactor.batch(batch.slice(4, 5)).to_pylist() == redactor.batch(batch).slice(4, 5).to_pylist()


@given(
    st.lists(COMMANDS, max_size=8),
    st.sampled_from(["a", "b+", "ab|b-", "a b", "-[^ab]", "é", r"\S+", r"b\s+a"]),
)
def test_redaction_agrees_with_python_s_own_matching(commands: list[tuple[str, ...]], pattern: str) -> None:
    expected = [_by_hand(pattern, command) for command in commands]
    redactor = Redactor(pattern)
    assert [redactor.command(command) for command in commands] == expected
    redacted = redactor.batch(batch_of(*(exec_row(list(command)) for command in commands)))
    assert [tuple(argv) for argv in redacted.column("argv").to_pylist()] == expected


def _by_hand(pattern: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """Character by character: is it in a match?"""
    joined = " ".join(command)
    hidden = [False] * len(joined)
    # RE2's \s and \S know ASCII only.
    for match in re.finditer(pattern, joined, re.ASCII):
        hidden[match.start() : match.end()] = [True] * (match.end() - match.start())
    redacted, at = [], 0
    for argument in command:
        text = ""
        for place in range(at, at + len(argument)):
            if not hidden[place]:
                text += joined[place]
            elif place == at or not hidden[place - 1]:
                text += REDACTED
        redacted.append(text)
        at += len(argument) + 1
    return tuple(redacted)


@given(COMMANDS)
def test_arguments_keep_their_number_and_what_does_not_match_is_identical(command: tuple[str, ...]) -> None:
    assert Redactor("z").command(command) == command
    redacted = Redactor("a[^-]*").command(command)
    assert len(redacted) == len(command)
    assert not any("a" in word.replace(REDACTED, "") for word in redacted)


@given(COMMANDS, st.sampled_from(["a", "-", r"[\x{EF80}-\x{EFFF}]", "é"]))
def test_what_is_left_is_still_escaped_text(command: tuple[str, ...], pattern: str) -> None:
    for word in Redactor(pattern).command(command):
        assert decode_bytes(encode_text(word)) == word


def test_a_pattern_may_hold_the_bytes_that_an_argument_holds() -> None:
    raw = b"k\xff"
    assert Redactor(raw.decode(errors="surrogateescape")).command((decode_bytes(b"a" + raw),)) == (
        "a[redacted]",
    )


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(abc", "--redact '(abc' is no regular expression: missing ): (abc"),
        ("a[z-", "missing ]: [z-"),
        ("a**", "bad repetition operator: **"),
        ("x(?<=y)", "invalid perl operator: (?<= (the syntax is RE2's: no look-around"),
        ("\\1", "invalid escape sequence: "),
        ("", "--redact '' matches the empty text too: say what must be there"),
        ("x*", "--redact 'x*' matches the empty text too"),
        ("(secret)?", "matches the empty text too"),
        ("\x1b[", "'\\\\x1b['"),
    ],
)
def test_a_pattern_that_can_t_be_is_refused_in_one_line(pattern: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        Redactor(pattern)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_argument_takes_a_pattern_for_ever() -> None:
    """`(a*)*b` takes a backtracking matcher 2^n steps for n letters."""
    hostile = "a" * 1700
    assert Redactor("(a*)*b").command((hostile,)) == (hostile,)
