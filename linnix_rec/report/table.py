"""Events as a table for people, line by line as they come. Knows no files."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from linnix_rec.capture.text import printable
from linnix_rec.replay.process import CLONE_PARENT, CLONE_VFORK
from linnix_rec.report import words
from linnix_rec.report.events import event_objects
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import columns_of, cut_to

#: What the table shows, to ask of a reader.
COLUMNS: Final = (
    *("seq", "kind", "boot_ns", "cpu", "tid", "tgid", "parent_tgid", "comm"),
    *("child_tid", "child_tgid", "clone_flags", "filename", "argv", "argv_truncated", "old_tid"),
    *("exit_code", "exit_signal", "core_dumped", "last_thread", "cpu_ns", "max_rss_bytes"),
    *("exit_state", "task_flags", "lost", "reason"),
    *("syscall", "nr", "arg0", "arg1", "arg2", "ret", "duration_ns", "errno"),
)

_HEADINGS: Final = ("SEQ", "TIME", "CPU", "KIND", "PID/TID", "COMM")
_RIGHT: Final = frozenset({"SEQ", "TIME", "CPU"})
#: Columns that give way to what happened on narrower terminals.
_NEEDED_WIDTHS: Final = {"CPU": 100, "COMM": 72}

# include/linux/sched.h
_PF_KTHREAD: Final = 0x200000

_GAP_REASONS: Final = {
    "lapped": "lapped: overwritten before they were read",
    "abandoned": "abandoned: their slots were taken",
    "dropped": "dropped: the channel had no room for them",
}

Event = Mapping[str, Any]


@dataclass(frozen=True)
class TableStyle:
    """How a table is drawn: cut to `width` columns (None: never), times from `started_boot_ns`."""

    started_boot_ns: int
    width: int | None = None
    ink: Ink = PLAIN


def table_lines(batches: Iterable[pa.RecordBatch], style: TableStyle) -> Iterator[str]:
    """Give a heading and a line an event; the first batch decides the columns' widths."""
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        return
    events = list(event_objects(first))
    shown = [name for name in _HEADINGS if not style.width or style.width >= _NEEDED_WIDTHS.get(name, 0)]
    widths = {
        name: max(len(name), *(columns_of(cell[name]) for cell in (_cells(event, style) for event in events)))
        for name in shown
    }
    heading = _line(dict(zip(_HEADINGS, _HEADINGS, strict=True)), widths) + "WHAT"
    yield style.ink.faint(cut_to(heading, style.width))
    for event in chain(events, chain.from_iterable(map(event_objects, rest))):
        yield _event_line(event, widths, style)


def detail(event: Event) -> str:
    """Give what an event says besides who, when and where."""
    tell = _DETAILS.get(event["kind"])
    return tell(event) if tell else "of a newer recorder: this version does not know the kind"


def _cells(event: Event, style: TableStyle) -> dict[str, str]:
    boot_ns, tid, tgid = event.get("boot_ns"), event.get("tid"), event.get("tgid")
    task = "" if tgid is None else str(tgid)
    return {
        "SEQ": str(event["seq"]),
        "TIME": "" if boot_ns is None else words.offset(boot_ns - style.started_boot_ns, 6),
        "CPU": str(event.get("cpu", "")),
        "KIND": printable(event["kind"]),
        "PID/TID": task if tid == tgid else f"{task}/{tid}",
        "COMM": printable(event.get("comm", "")),
    }


def _line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    padded = []
    for name, width in widths.items():
        space = " " * (width - columns_of(cells[name]))
        padded.append(space + cells[name] if name in _RIGHT else cells[name] + space)
    return "  ".join(padded) + "  "


def _event_line(event: Event, widths: Mapping[str, int], style: TableStyle) -> str:
    left = _line(_cells(event, style), widths)
    line = cut_to(left + detail(event), style.width).rstrip()
    if not style.ink.colored:
        return line
    return _painted(event, line, style.ink)


def _painted(event: Event, line: str, ink: Ink) -> str:
    kind = event["kind"]
    if kind in ("gap", "failed-exec") or (kind == "exit" and _failed(event)):
        return ink.bad(line)
    if kind == "exec":
        return line
    return ink.term(line) if kind == "fork" else ink.faint(line)


def _failed(event: Event) -> bool:
    return bool(event.get("last_thread") and (event.get("exit_code") or event.get("exit_signal")))


def _fork_detail(event: Event) -> str:
    child, tgid, flags = event.get("child_tid"), event.get("child_tgid"), event.get("clone_flags", 0)
    how = [name for flag, name in ((CLONE_VFORK, "vfork"), (CLONE_PARENT, "CLONE_PARENT")) if flags & flag]
    return (f"-> {child}" if child == tgid else f"-> thread {child}") + words.bracketed(how)


def _exec_detail(event: Event) -> str:
    argv = [argument or "" for argument in event.get("argv", ())]
    line = words.command_line(argv, event.get("argv_truncated", False))
    filename = event.get("filename", "")
    remarks = [words.quoted(filename)] if filename and argv[:1] != [filename] else []
    if event.get("old_tid") not in (None, 0, event.get("tid")):
        remarks.append(f"by thread {event['old_tid']}, which took the process over")
    return line + words.bracketed(remarks)


def _exit_detail(event: Event) -> str:
    code, signal = event.get("exit_code", 0), event.get("exit_signal", 0)
    core = ", core dumped" if event.get("core_dumped") else ""
    how = f"{words.signal_name(signal)}{core}" if signal else f"code {code}"
    used = _cpu(event)
    if not event.get("last_thread"):
        return "  ".join(filter(None, [f"{how} of this thread only", used]))
    peak = f"peak {words.size(event['max_rss_bytes'])}" if event.get("max_rss_bytes") else ""
    return "  ".join(filter(None, [how, used, peak]))


def _cpu(event: Event) -> str:
    return f"cpu {words.duration(event['cpu_ns'])}" if event.get("cpu_ns") else ""


def _task_detail(event: Event) -> str:
    kernel = ["kernel thread"] if event.get("task_flags", 0) & _PF_KTHREAD else []
    dead = ["dead already"] if event.get("exit_state", 0) else []
    who = "thread" if event.get("tid") != event.get("tgid") else f"child of {event.get('parent_tgid')}"
    return "  ".join(filter(None, [f"listed, {who}" + words.bracketed([*kernel, *dead]), _cpu(event)]))


def _syscall_detail(event: Event) -> str:
    name = printable(event.get("syscall") or f"syscall {event.get('nr', -1)}")
    arguments = ", ".join(words.word(event.get(f"arg{place}", 0)) for place in range(3))
    took = words.duration(event.get("duration_ns", 0))
    return f"{name}({arguments}) = {words.result(event.get('ret', 0))}  {took}"


def _failed_exec_detail(event: Event) -> str:
    path = words.quoted(event.get("filename", "")) + (words.CUT if event.get("argv_truncated") else "")
    return f"{path} not executed: {words.errno_name(event.get('errno', 0))}"


def _gap_detail(event: Event) -> str:
    reason = event.get("reason", "")
    why = _GAP_REASONS.get(reason) or printable(reason)
    lost = event.get("lost", 0)
    # Dropped are events, but by the process connector messages, which a row can't tell.
    told = f"{lost:,}" if reason == "dropped" else words.counted(lost, "ticket")
    return f"{told} lost ({why})"


_DETAILS: Final = {
    "fork": _fork_detail,
    "exec": _exec_detail,
    "exit": _exit_detail,
    "task": _task_detail,
    "gap": _gap_detail,
    "syscall": _syscall_detail,
    "failed-exec": _failed_exec_detail,
}
