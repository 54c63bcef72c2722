"""A capture's figures on one screen. Knows no events."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from linnix_rec.capture.document import CaptureDocument, Channel
from linnix_rec.capture.text import printable
from linnix_rec.proof.verdict import lost_unit
from linnix_rec.replay.summary import Summary
from linnix_rec.report import words
from linnix_rec.report.ink import PLAIN, Ink
from linnix_rec.report.layout import cut_to

_LABEL_WIDTH: Final = 10
_TOP: Final = 10


def summary_lines(
    summary: Summary,
    document: CaptureDocument,
    *,
    missing_tickets: int = 0,
    selected: bool = False,
    width: int | None = None,
    ink: Ink = PLAIN,
) -> Iterator[str]:
    """Give what was recorded, how much, at which rate, and what was lost or is missing with its file.

    The rate is that of the whole recording, unless only some of its events were `selected`, or are left.
    """
    bad = {"missing", "shed"} | ({"lost"} if summary.lost else set())
    for label, text in _facts(summary, document, missing_tickets, selected):
        line = cut_to(f"{label:<{_LABEL_WIDTH}}  {text}", width)
        painted = ink.bad(line[_LABEL_WIDTH:]) if label in bad else line[_LABEL_WIDTH:]
        yield ink.faint(line[:_LABEL_WIDTH]) + painted


def _facts(
    summary: Summary, document: CaptureDocument, missing_tickets: int, selected: bool
) -> Iterator[tuple[str, str]]:
    host = document.host
    yield "host", printable(f"{host.hostname}, Linux {host.kernel_release} {host.machine}, {host.cpus} CPUs")
    yield "recorded", _recorded(document)
    yield "time", _time(document)
    total = sum(summary.events.values()) - summary.events["gap"]
    in_part = selected or missing_tickets > 0 or document.pruned is not None
    rate = _rate_of_part(total, summary) if in_part else _rate(total, summary, document)
    yield "events", f"{total:,}{rate}"
    for kind, count in summary.events.most_common():
        if kind != "gap":
            yield "", f"{count:>11,}  {kind}"
    threads = words.counted(summary.threads_born, "thread")
    yield "born", f"{words.counted(summary.processes_born, 'process', 'processes')} and {threads}"
    if summary.gaps or not missing_tickets:
        yield "lost", _lost(summary, lost_unit(document.source, ordered=document.ordered))
    if document.accounts and document.accounts.shed:
        shed = words.counted(document.accounts.shed, "syscall")
        yield "shed", f"{shed} without a ticket, as the recorder was half a ring behind"
    if missing_tickets:
        what = words.counted(missing_tickets, "ticket" if document.ordered else "event")
        yield "missing", f"{what}, with the segments that held them"
    if document.channel:
        yield "channel", _channel(document.source, document.channel)
    elif document.accounts:
        laps = words.counted(document.accounts.laps, "lap")
        yield "ring", f"{words.counted(document.ring_slots, 'slot')}, {laps}"
    inversion = words.duration(summary.largest_inversion_ns)
    order = "seq is the order" if document.ordered else "seq is the order of arrival, which proves none"
    yield "inversion", f"timestamps run back by at most {inversion} ({order})"
    yield from _most("commands", summary.commands, words.quoted, "files")
    yield from _most("syscalls", summary.syscalls, printable, "names")


def _channel(source: str, channel: Channel) -> str:
    buffers = f"{words.size(channel.bytes)} in {words.counted(channel.buffers, 'buffer')}"
    used = [("wake-ups", channel.wakeup), ("polled", channel.poll), ("merged", channel.merge)]
    return printable(", ".join([source, buffers, *(f"{how}: {what}" for how, what in used if what)]))


def _recorded(document: CaptureDocument) -> str:
    wanted = document.filter
    if wanted.mode == "command" and wanted.command:
        return f"the tree of: {words.command_line(wanted.command)}"
    if wanted.mode == "pid":
        return f"the tree of pid {wanted.pid}"
    return "the whole host"


def _time(document: CaptureDocument) -> str:
    stopped = document.stopped
    if stopped is None:
        return f"from {printable(document.started.time)}; not finished: still recording, or the recorder died"
    lasted = words.duration(stopped.boot_ns - document.started.boot_ns)
    why = printable(": ".join(filter(None, [stopped.reason, stopped.detail])))
    return f"{lasted} from {printable(document.started.time)}; stopped by {why}"


def _rate(events: int, summary: Summary, document: CaptureDocument) -> str:
    if document.stopped is None:
        return _rate_of_part(events, summary)
    lasted_ns = document.stopped.boot_ns - document.started.boot_ns
    return f", {_per_second(events, lasted_ns)}" if lasted_ns > 0 else ""


def _rate_of_part(events: int, summary: Summary) -> str:
    """Give the rate between the first event and the last, and how long that is: `time` says another."""
    if summary.first_boot_ns is None or summary.last_boot_ns is None:
        return ""
    lasted_ns = summary.last_boot_ns - summary.first_boot_ns
    if lasted_ns <= 0:
        return ""
    return f", {_per_second(events, lasted_ns)} over {words.duration(lasted_ns)} from the first to the last"


def _per_second(events: int, lasted_ns: int) -> str:
    rate = events * 10**9 / lasted_ns
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def _lost(summary: Summary, unit: str) -> str:
    if not summary.gaps:
        return "nothing"
    reasons = words.joined(f"{count:,} {printable(reason)}" for reason, count in summary.lost.most_common())
    lost = words.counted(sum(summary.lost.values()), unit)
    return f"{lost} in {words.counted(summary.gaps, 'gap')}: {reasons}"


def _most(
    label: str, counts: Mapping[str, int], shown: Callable[[str], str], what: str
) -> Iterator[tuple[str, str]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for place, (name, count) in enumerate(ordered[:_TOP]):
        yield ("" if place else label), f"{count:>11,}  {shown(name)}"
    if len(ordered) > _TOP:
        left = sum(count for _, count in ordered[_TOP:])
        yield "", f"{left:>11,}  others ({len(ordered) - _TOP:,} {what})"
