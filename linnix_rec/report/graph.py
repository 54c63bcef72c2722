"""Processes for other programs: JSON, one object a line, and Graphviz's dot. Knows no terminal."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from linnix_rec.replay.process import Birth, Ending, Process, Step
from linnix_rec.report import words


def json_lines(processes: Iterable[Process]) -> Iterator[str]:
    """Give each process as one JSON object (ASCII), without keys of which nothing is known."""
    for process in processes:
        yield json_text(process_object(process))


def json_text(value: Any) -> str:
    """Give a value as JSON in one line of printable ASCII, so that no terminal obeys any of it."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")


def process_object(process: Process) -> dict[str, Any]:
    """Give a process as plain values; `number` and `parent_number` tie the objects of a capture together."""
    told: dict[str, Any] = {
        "number": process.number,
        "pid": process.pid,
        "start_ns": process.start_ns,
        "comm": process.comm,
        "uid": process.uid,
        "parent_number": process.parent_number,
        "parent_pid": process.parent_pid,
        "born": _birth_object(process.birth) if process.birth else None,
        "execs": list(map(_step_object, process.steps)),
        "threads": process.threads,
        "exit": _ending_object(process.ending) if process.ending else None,
        "lived_ns": process.lived_ns,
        "cpu_ns": process.cpu_ns,
        "state": _state(process),
        "whole": process.whole,
        "kernel_thread": process.kernel_thread,
    }
    return _known(told)


def dot_lines(processes: Iterable[Process]) -> Iterator[str]:
    """Give a Graphviz digraph: a node a process, an edge from each parent to its child."""
    listed = list(processes)
    present = {process.number for process in listed}
    yield "digraph lineage {"
    yield '  rankdir=LR; node [shape=box, style=rounded, fontname="monospace"];'
    for process in listed:
        yield f"  p{process.number} [label={_dot_label(process)}{_dot_colour(process)}];"
    for process in listed:
        if process.parent_number in present:
            yield f"  p{process.parent_number} -> p{process.number};"
    yield "}"


def _birth_object(birth: Birth) -> dict[str, Any]:
    return {
        "seq": birth.seq,
        "boot_ns": birth.boot_ns,
        "forker_tid": birth.forker_tid,
        "forker_pid": birth.forker_pid,
        "forker_comm": birth.comm,
        "clone_flags": birth.clone_flags,
    }


def _step_object(step: Step) -> dict[str, Any]:
    told = {
        "seq": step.seq,
        "boot_ns": step.boot_ns,
        "filename": step.filename,
        "argv": list(step.argv),
        "argv_truncated": step.argv_truncated,
        "comm": step.comm,
        "old_tid": step.old_tid,
    }
    return _known(told)


def _ending_object(ending: Ending) -> dict[str, Any]:
    return {
        "seq": ending.seq,
        "boot_ns": ending.boot_ns,
        "code": ending.code,
        "signal": ending.signal,
        "core_dumped": ending.core_dumped,
        "max_rss_bytes": ending.max_rss_bytes,
    }


def _state(process: Process) -> str:
    if process.ending:
        return "ended"
    if process.dead_before:
        return "dead before"
    return "unknown" if process.exit_may_be_lost else "running"


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if value is not None}


def _dot_label(process: Process) -> str:
    state = words.ending_clause(process.ending) if process.ending else _state(process)
    lines = [words.process_command(process), f"pid {process.pid}, {state}"]
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def _dot_colour(process: Process) -> str:
    return ", color=red" if process.ending and process.ending.failed else ""
