"""Takes out of events whatever matches a pattern, before anybody sees them. Knows no ring, file or kernel.

The pattern is RE2's, and the matching Arrow's: its time is linear in the text, so no process can hold up
the recording with an argument that the pattern takes for ever on.
"""

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linnix_rec.capture.text import decode_bytes, encode_text, printable
from linnix_rec.errors import UsageError

REDACTED: Final = "[redacted]"
_BETWEEN: Final = " "  # stands between two arguments while the pattern is searched
# Stands on both sides of a match: what a process can pass to execve(2) or be named holds no NUL.
_EDGE: Final = "\0"

#: fs/exec.c: a task is named after its file, by the first TASK_COMM_LEN - 1 bytes of its base name.
_COMM_BYTES: Final = 15
#: Names of tasks to remember, after files whose base names a pattern touched: some 6 MB of them.
NAMES_MAX: Final = 1 << 16

Stretch = tuple[int, int]


class Redactor:
    """Replaces what any of the patterns matches by `[redacted]`, in arguments, file names and names of tasks.

    The arguments of an exec are searched as one text, a space between two. Each stays where it is: a match
    over several of them is replaced in each. Each pattern is searched in what was there, not in what another
    one left of it. Raises UsageError for a pattern that can't be, or that matches the empty text.

    A task's name is cut to 15 bytes, and what is left of a secret may no longer match. So where a file's base
    name had a match, the cut name is replaced whole, in this batch and in all that follow; the last
    `NAMES_MAX` of them are known. So is a name whose match begins or ends outside of it, in the path.
    """

    def __init__(self, *patterns: str) -> None:
        self._patterns = tuple(decode_bytes(os.fsencode(pattern)) for pattern in patterns)
        self._secret_names: dict[str, None] = {}  # in the order in which they were last seen
        for pattern in self._patterns:
            _check(pattern)

    def command(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The arguments of one exec, redacted."""
        (stretches,) = self._stretches(pa.array([_BETWEEN.join(words)], pa.string()))
        return tuple(_redacted(words, stretches))

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Events in the schema of captures, redacted; the batch itself if nothing matches."""
        self._learn_from(batch.column("filename").dictionary)
        redacted = {
            "comm": self._names(batch.column("comm"), secret=self._secret_names),
            "filename": self._names(batch.column("filename")),
            "argv": self._argv(batch.column("argv"), batch.column("argv_truncated")),
        }
        for name, column in redacted.items():
            if column is not None:
                place = batch.schema.get_field_index(name)
                batch = batch.set_column(place, batch.schema.field(place), column)
        return batch

    def _learn_from(self, filenames: pa.Array) -> None:
        """Remember how tasks are named after files whose base name holds a match, or part of one.

        Not so where the whole base name is the task's name, and what matches in the file's matches there.
        """
        bases = pc.replace_substring_regex(filenames, pattern="(?s)^.*/", replacement="")
        hits = pc.or_(self._matches(filenames), self._matches(bases))
        filenames, bases = filenames.filter(hits), bases.filter(hits)
        found = zip(
            filenames.to_pylist(),
            self._stretches(filenames),
            bases.to_pylist(),
            self._stretches(bases),
            strict=True,
        )
        for filename, in_filename, base, alone in found:
            at = len(filename) - len(base)
            within = [(max(begin, at) - at, end - at) for begin, end in in_filename if end > at]
            encoded = encode_text(base)
            if within != alone or (alone and len(encoded) > _COMM_BYTES):
                self._remember(decode_bytes(encoded[:_COMM_BYTES]))

    def _remember(self, name: str) -> None:
        self._secret_names.pop(name, None)
        self._secret_names[name] = None
        if len(self._secret_names) > NAMES_MAX:
            del self._secret_names[next(iter(self._secret_names))]

    def _names(self, names: pa.DictionaryArray, secret: Container[str] = ()) -> pa.DictionaryArray | None:
        """Each name redacted by itself, a secret one whole; None if there is none. Each is looked at once."""
        given = names.dictionary.to_pylist()
        hits = [name in secret for name in given]
        redacted = [REDACTED if hit else name for name, hit in zip(given, hits, strict=True)]
        matches = self._matches(names.dictionary)
        matching = pc.indices_nonzero(matches)
        for place, stretches in zip(
            matching.to_pylist(), self._stretches(names.dictionary.take(matching)), strict=True
        ):
            if not hits[place]:
                (redacted[place],) = _redacted([given[place]], stretches)
        if not (len(matching) or any(hits)):
            return None
        distinct = pa.array(redacted, pa.string()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(distinct.indices.take(names.indices), distinct.dictionary)

    def _argv(self, argv: pa.ListArray, cut: pa.BooleanArray) -> pa.ListArray | None:
        """The lists redacted; None if there is nothing to redact.

        The last argument of a list that was cut is replaced whole: what is left of a secret there may no
        longer match.
        """
        joined = pc.binary_join(argv, _BETWEEN)
        has_part = pc.and_(pc.fill_null(cut, False), _holds_arguments(argv))
        rows = pc.indices_nonzero(pc.or_(self._matches(joined), has_part))
        if not len(rows):
            return None
        offsets = argv.offsets.to_numpy()
        changed, replaced = np.zeros(len(argv.values), bool), []
        stretches = self._stretches(joined.take(rows))
        parts = has_part.take(rows).to_pylist()
        for row, found, last_is_part in zip(rows.to_pylist(), stretches, parts, strict=True):
            begin, end = offsets[row], offsets[row + 1]
            changed[begin:end] = True
            replaced += _redacted(argv.values[begin:end].to_pylist(), found)
            if last_is_part:
                replaced[-1] = REDACTED
        values = pc.replace_with_mask(argv.values, pa.array(changed), pa.array(replaced, pa.string()))
        return pa.Array.from_buffers(
            argv.type, len(argv), argv.buffers()[:2], argv.null_count, argv.offset, children=[values]
        )

    def _matches(self, texts: pa.Array) -> pa.BooleanArray:
        """Which of `texts` have a match; a null has none, and is not searched."""
        there, searched = texts.is_valid(), texts.drop_null()
        found = pa.repeat(pa.scalar(False), len(searched))
        for pattern in self._patterns:
            found = pc.or_(found, pc.match_substring_regex(searched, pattern=pattern))
        return pc.replace_with_mask(there, there, found)

    def _stretches(self, texts: pa.Array) -> list[list[Stretch]]:
        """Where matches lie in each of `texts`; those that overlap or touch are one."""
        marked = (
            pc.replace_substring_regex(texts, pattern=pattern, replacement=f"{_EDGE}\\0{_EDGE}").to_pylist()
            for pattern in self._patterns
        )
        return [_joined(chain(*map(_matched, each))) for each in zip(*marked, strict=True)]


def _check(pattern: str) -> None:
    """Raise UsageError unless it is a pattern, and matches no empty text."""
    shown = printable(pattern)
    try:
        matches_nothing = pc.match_substring_regex(pa.scalar(""), pattern=pattern).as_py()
    except pa.ArrowInvalid as error:
        reason = printable(str(error).removeprefix("Invalid regular expression: "))
        raise UsageError(
            f"--redact {shown!r} is no regular expression: {reason}"
            " (the syntax is RE2's: no look-around, no back-references)"
        ) from error
    if matches_nothing:
        raise UsageError(f"--redact {shown!r} matches the empty text too: say what must be there")


def _holds_arguments(argv: pa.ListArray) -> pa.BooleanArray:
    return pc.fill_null(pc.greater(pc.list_value_length(argv), 0), False)


def _matched(marked: str) -> Iterator[Stretch]:
    """Where matches lie in the text without the edges around them."""
    at = 0
    for place, piece in enumerate(marked.split(_EDGE)):
        end = at + len(piece)
        if place % 2 and piece:
            yield at, end
        at = end


def _joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for begin, end in sorted(stretches):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _redacted(arguments: Iterable[str], stretches: Sequence[Stretch]) -> list[str]:
    """Each argument, with the part of each stretch that lies in it replaced."""
    redacted, begin = [], 0
    for argument in arguments:
        end = begin + len(argument)
        pieces, at = [], begin
        for first, last in stretches:
            inside, outside = max(first, begin), min(last, end)
            if inside < outside:
                pieces += [argument[at - begin : inside - begin], REDACTED]
                at = outside
        redacted.append("".join([*pieces, argument[at - begin :]]))
        begin = end + len(_BETWEEN)
    return redacted
