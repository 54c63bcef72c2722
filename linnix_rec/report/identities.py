"""Identities between counters, with both sides, in columns. Knows no rule.

forks seen        456  =  456  filtered + claimed
"""

from collections.abc import Iterator, Sequence
from typing import Final

from linnix_rec.capture.text import printable
from linnix_rec.proof.verdict import Identity
from linnix_rec.report.ink import Ink
from linnix_rec.report.layout import cut_to

_INDENT: Final = " " * 12
#: How a relation is written that does not hold.
_BROKEN: Final = {"=": "!=", "<=": ">", ">=": "<"}


def identity_lines(identities: Sequence[Identity], width: int | None, ink: Ink) -> Iterator[str]:
    """Give a line an identity: a name, its number, the relation, the other number, its name."""
    rows = [_cells(identity) for identity in identities]
    name, left, relation, right = (max(len(row[column]) for row in rows) for column in range(4))
    for identity, row in zip(identities, rows, strict=True):
        line = f"{_INDENT}{row[0]:<{name}}  {row[1]:>{left}} {row[2]:^{relation}} {row[3]:<{right}}  {row[4]}"
        shown = cut_to(line.rstrip(), width)
        yield ink.faint(shown) if identity.holds else ink.bad(shown)


def _cells(identity: Identity) -> tuple[str, str, str, str, str]:
    relation = identity.relation if identity.holds else _BROKEN[identity.relation]
    names = printable(identity.left_name), printable(identity.right_name)
    return names[0], f"{identity.left:,}", relation, f"{identity.right:,}", names[1]
