"""The ways to look at a lineage: which processes, and as what. Knows no file."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linnix_rec.replay.lineage import Lineage
from linnix_rec.report.chains import chain_lines
from linnix_rec.report.graph import dot_lines, json_lines
from linnix_rec.report.life import life_lines
from linnix_rec.report.tree import TreeStyle, tree_lines


@dataclass(frozen=True)
class View:
    """What is asked for: a `shape` of text ("tree", "chains", "life"), or a `form` ("jsonl", "dot").

    Of processes with one `pid` only, if that is not None; `everybody` includes those that did nothing.
    """

    shape: str = "tree"
    form: str = "text"
    pid: int | None = None
    everybody: bool = False


def view_lines(lineage: Lineage, view: View, style: TreeStyle) -> Iterable[str]:
    """Give what is asked for, line by line."""
    if view.form == "jsonl":
        return json_lines(lineage.processes(_acting(lineage, view)))
    if view.form == "dot":
        return dot_lines(lineage.processes(np.flatnonzero(_with_ancestors(lineage, view))))
    if view.shape == "chains":
        return chain_lines(lineage.processes(_acting(lineage, view)), ink=style.ink)
    if view.shape == "life" and view.pid is not None:
        return life_lines(lineage, view.pid, style.started_boot_ns, style.ink)
    return tree_lines(lineage, _with_ancestors(lineage, view), style)


def _acting(lineage: Lineage, view: View) -> NDArray[np.int64]:
    if view.pid is not None:
        return lineage.holders_of(view.pid)
    return np.arange(len(lineage)) if view.everybody else np.flatnonzero(lineage.active())


def _with_ancestors(lineage: Lineage, view: View) -> NDArray[np.bool_]:
    if view.pid is None:
        return np.ones(len(lineage), np.bool_) if view.everybody else lineage.with_ancestors(lineage.active())
    shown = np.zeros(len(lineage), np.bool_)
    for holder in lineage.holders_of(view.pid).tolist():
        shown[[holder, *lineage.children(holder).tolist()]] = True
    return lineage.with_ancestors(shown)
