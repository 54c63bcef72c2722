"""Takes out of events whatever matches a pattern, before anybody sees them. Knows no ring, file or kernel.

The pattern is RE2's, and the matching Arrow's: its time is linear in the text, so no process can hold up
the recording with an argument that the pattern takes for ever on.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linnix_rec.capture.text import decode_bytes, printable
from linnix_rec.errors import UsageError

REDACTED: Final = "[redacted]"
_BETWEEN: Final = " "  # stands between two arguments while the pattern is searched
# Stands on both sides of a match: what a process can pass to execve(2) or be named holds no NUL.
_EDGE: Final = "\0"

Stretch = tuple[int, int]


class Redactor:
    """Replaces what a pattern matches by `[redacted]`, in arguments, file names and names of tasks.

    The arguments of an exec are searched as one text, a space between two. Each stays where it is: a match
    over several of them is replaced in each. Raises UsageError for a pattern that can't be, or that matches
    the empty text.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = decode_bytes(os.fsencode(pattern))
        shown = printable(self._pattern)
        try:
            matches_nothing = bool(self._matches(pa.array([""]))[0].as_py())
        except pa.ArrowInvalid as error:
            reason = printable(str(error).removeprefix("Invalid regular expression: "))
            raise UsageError(
                f"--redact {shown!r} is no regular expression: {reason}"
                " (the syntax is RE2's: no look-around, no back-references)"
            ) from error
        if matches_nothing:
            raise UsageError(f"--redact {shown!r} matches the empty text too: say what must be there")

    def command(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The arguments of one exec, redacted."""
        joined = pa.array([_BETWEEN.join(words)], pa.string())
        return tuple(_redacted(words, _stretches(self._marked(joined)[0].as_py())))

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Events in the schema of captures, redacted; the batch itself if nothing matches."""
        redacted = {
            "comm": self._names(batch.column("comm")),
            "filename": self._names(batch.column("filename")),
            "argv": self._argv(batch.column("argv"), batch.column("argv_truncated")),
        }
        for name, column in redacted.items():
            if column is not None:
                place = batch.schema.get_field_index(name)
                batch = batch.set_column(place, batch.schema.field(place), column)
        return batch

    def _names(self, names: pa.DictionaryArray) -> pa.DictionaryArray | None:
        """Each name redacted by itself; None if none matches. Each is looked at once."""
        hits = self._matches(names.dictionary)
        if not pc.any(hits).as_py():
            return None
        matching = names.dictionary.filter(hits)
        pairs = zip(matching.to_pylist(), self._marked(matching).to_pylist(), strict=True)
        replaced = [_redacted([name], _stretches(marked))[0] for name, marked in pairs]
        values = pc.replace_with_mask(names.dictionary, hits, pa.array(replaced, pa.string()))
        distinct = values.dictionary_encode()
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
        columns = (rows, self._marked(joined.take(rows)), has_part.take(rows))
        for row, marked, last_is_part in zip(*(column.to_pylist() for column in columns), strict=True):
            begin, end = offsets[row], offsets[row + 1]
            changed[begin:end] = True
            replaced += _redacted(argv.values[begin:end].to_pylist(), _stretches(marked))
            if last_is_part:
                replaced[-1] = REDACTED
        values = pc.replace_with_mask(argv.values, pa.array(changed), pa.array(replaced, pa.string()))
        return pa.Array.from_buffers(
            argv.type, len(argv), argv.buffers()[:2], argv.null_count, argv.offset, children=[values]
        )

    def _matches(self, texts: pa.Array) -> pa.BooleanArray:
        """Which of `texts` have a match; a null has none, and is not searched."""
        there = texts.is_valid()
        found = pc.match_substring_regex(texts.drop_null(), pattern=self._pattern)
        return pc.replace_with_mask(there, there, found)

    def _marked(self, texts: pa.Array) -> pa.Array:
        """`texts` with an edge before and after each match."""
        return pc.replace_substring_regex(texts, pattern=self._pattern, replacement=f"{_EDGE}\\0{_EDGE}")


def _holds_arguments(argv: pa.ListArray) -> pa.BooleanArray:
    return pc.fill_null(pc.greater(pc.list_value_length(argv), 0), False)


def _stretches(marked: str) -> list[Stretch]:
    """Where the matches lie in the text without its edges; those that touch are one."""
    stretches: list[Stretch] = []
    at = 0
    for place, piece in enumerate(marked.split(_EDGE)):
        end = at + len(piece)
        if place % 2 and piece:
            begin = stretches.pop()[0] if stretches and stretches[-1][1] == at else at
            stretches.append((begin, end))
        at = end
    return stretches


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
