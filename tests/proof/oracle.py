"""The causal rules written down a second time, naively: one row after the other, forgetting nothing."""

from collections.abc import Iterable
from typing import Any

from linnix_rec.proof.verdict import FIRST_OFFENCES

Row = dict[str, Any]
Outcome = tuple[int, int, int, list[int]]  # checked, violated, unknown, seqs of the first offences

RULES = ("birth", "death", "parent", "once")


class _Task:
    def __init__(self, tgid: int) -> None:
        self.tgid = tgid
        self.forked = False
        self.exists = False  # acted, or was forked
        self.taken = False
        self.certain = "alive"
        self.maybe = {"alive"}


def causal_outcomes(rows: Iterable[Row], attached_boot_ns: int) -> dict[str, Outcome]:
    """Judge rows in seq order."""
    checked = dict.fromkeys(RULES, 0)
    offences: dict[str, list[int]] = {rule: [] for rule in RULES}
    unknown = dict.fromkeys(RULES, 0)
    tasks: dict[tuple[int, int], _Task] = {}
    takeovers: list[tuple[int, int, int]] = []
    horizon, gap_open = -1, False

    for row in rows:
        kind = row["kind"]
        if kind == "gap":
            gap_open = True
            for task in tasks.values():
                if "waiting" in task.maybe:
                    task.maybe.add("alive")
            continue
        if gap_open:
            horizon, gap_open = max(horizon, row["boot_ns"]), False
        if kind == "task":
            continue
        tid, start, tgid = row["tid"], row["start_ns"], row["tgid"]
        takeover = kind == "exec" and row.get("old_tid") not in (None, tid)
        if start > attached_boot_ns:
            checked["birth"] += 1
        for rule in {"fork": ("parent", "once"), "exec": ("death",), "exit": ("death", "once")}[kind]:
            checked[rule] += 1

        task = tasks.setdefault((tid, start), _Task(tgid))
        if not task.exists:
            task.exists = True
            if start > attached_boot_ns:
                if start <= horizon:
                    unknown["birth"] += 1
                else:
                    offences["birth"].append(row["seq"])
            if any(old == tid and of == tgid and start < boot for old, of, boot in takeovers):
                task.taken, task.certain, task.maybe = True, "dead", {"dead"}

        step = "takeover" if takeover else kind
        if kind == "exit" and tid == tgid and not row.get("last_thread"):
            step = "exit, threads left"
        certain = _after(task.certain, step)
        maybe = {after for state in task.maybe if (after := _after(state, step))}
        rule = {"fork": "parent", "exec": "death", "exit": "death" if task.taken else "once"}[kind]
        if certain:
            task.certain, task.maybe = certain, maybe
        elif maybe:
            unknown[rule] += 1
            task.certain, task.maybe = max(maybe, key=["dead", "waiting", "alive"].index), maybe
        else:
            offences[rule].append(row["seq"])

        if takeover:
            # The last takeover from a tid is the one that tells most: who started before is ended.
            takeovers = [other for other in takeovers if other[:2] != (row["old_tid"], tgid)]
            takeovers.append((row["old_tid"], tgid, row["boot_ns"]))
            for (old, began), taker in tasks.items():
                alive = taker.exists and taker.maybe != {"dead"}
                if old == row["old_tid"] and taker.tgid == tgid and began < row["boot_ns"] and alive:
                    taker.taken, taker.certain, taker.maybe = True, "dead", {"dead"}
        if kind == "fork":
            child = tasks.setdefault((row["child_tid"], row["child_start_ns"]), _Task(row["child_tgid"]))
            if child.forked:
                offences["once"].append(row["seq"])
            child.forked = child.exists = True

    return {
        rule: (checked[rule], len(offences[rule]), unknown[rule], sorted(offences[rule])[:FIRST_OFFENCES])
        for rule in RULES
    }


def _after(state: str, step: str) -> str | None:
    if state == "dead" or (state == "waiting" and step in ("fork", "exec")):
        return None
    if step == "exit":
        return "dead"
    if step == "exit, threads left":
        return "waiting" if state == "alive" else "dead"
    return "alive"
