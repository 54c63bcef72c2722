"""Searches the model of the slot protocol to the end, and its twins until they break. Knows spin and gcc.

`make model` runs it. It prints a line a search and ends with 1 unless each ended as it must: the model is
accepted in all its sizes, every situation comes about in one of them, and each twin is refused for the reason
that is given here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).parent / "ring.pml"
AT_ONCE = 2
MEMORY_MB = 700  # of one search
DEPTH = 10_000  # the longest path is some 600 steps
SEARCH_SECONDS = 300

MIX = "no_row_is_a_mix_of_two_events"
HALF = "no_row_is_half_an_event"
WRONGLY_GIVEN_UP = "only_given_up_events_are_called_abandoned"
ODD = "no_slot_is_odd_for_ever"
NO_SPAN = "a_row_of_several_slots"


@dataclass(frozen=True)
class Search:
    """refused_by: the claim that must be violated, or the situation that must not come about; or neither."""

    name: str
    sizes: str
    twin: str = ""
    refused_by: str = ""
    by_claim: bool = True

    def defines(self) -> list[str]:
        only = [f"ONLY={self.refused_by}"] if self.refused_by and self.by_claim else []
        return [f"-D{define}" for define in [*self.sizes.split(), *self.twin.split(), *only]]


@dataclass(frozen=True)
class Outcome:
    complete: bool
    error: str  # as spin states it; empty if there is none
    unreached: frozenset[str]  # situations
    states: int
    seconds: float
    memory_mb: float

    def verdict(self, search: Search) -> str:
        """Empty if it ended as it must."""
        if not search.refused_by:
            return self.error or ("" if self.complete else "the search did not come to its end")
        if search.by_claim:
            expected = f"assertion violated {search.refused_by}"
            return (
                ""
                if self.error == expected
                else f"not refused by {search.refused_by}: {self.error or 'accepted'}"
            )
        if self.error or not self.complete:
            return self.error or "the search did not come to its end"
        return "" if search.refused_by in self.unreached else f"not refused: {search.refused_by} comes about"


ACCEPTED = (
    Search("3 producers of 1 event, 1 slot", "RING=1 PRODUCERS=3"),
    Search("4 producers of 1 event, 2 slots", "RING=2 PRODUCERS=4"),
    Search("2 producers of 2 events, 1 slot", "RING=1 PRODUCERS=2 EVENTS=2"),
    Search("2 producers of 2 events, 2 slots, spans 1-2", "RING=2 PRODUCERS=2 EVENTS=2 LONGEST=2"),
    Search("3 producers of 1 event, 1 slot, spans 1-2", "RING=1 PRODUCERS=3 LONGEST=2"),
    Search("3 producers of 1 event, 2 slots, spans 1-2", "RING=2 PRODUCERS=3 LONGEST=2"),
    Search("3 producers of 1 event, 1 slot, a log of 2 entries", "RING=1 PRODUCERS=3 LOG=2"),
    Search(
        "3 producers of 1 event, 4 slots, spans 1-2, read 2 at most", "RING=4 PRODUCERS=3 LONGEST=2 LIMIT=2"
    ),
    Search("2 producers of 1 event, 4 slots, spans 1-3", "RING=4 PRODUCERS=2 LONGEST=3"),
)

ONE_SLOT = "RING=1 PRODUCERS=2"
SPANS = "RING=2 PRODUCERS=3 LONGEST=2"
TWINS = (
    Search("take without the odd test", ONE_SLOT, "WITHOUT_ODD_TEST", MIX),
    Search("take without the later-ticket test", ONE_SLOT, "WITHOUT_LATER_TEST", MIX),
    Search("take with a plain store for the compare-and-swap", ONE_SLOT, "WITHOUT_COMPARE_AND_SWAP", MIX),
    Search(
        "a span's slots taken all at the first one's place",
        SPANS,
        "WITHOUT_OWN_PLACES",
        NO_SPAN,
        by_claim=False,
    ),
    Search("a span's slots written without their index", SPANS, "WITHOUT_INDEX_WRITTEN", HALF),
    Search("a span's slots read without their index", SPANS, "WITHOUT_INDEX_READ", HALF),
    Search("a span given up without releasing its first slot", SPANS, "WITHOUT_RELEASE", ODD),
    Search("rows without a second look at next_ticket", ONE_SLOT, "WITHOUT_LOOKING_AGAIN", MIX),
    Search(
        "a released slot without a second look",
        "RING=2 PRODUCERS=3 LONGEST=3",
        "WITHOUT_LOOKING_AGAIN_AT_A_HEAD",
        WRONGLY_GIVEN_UP,
    ),
    Search("ticket 0 given up by a stamp of 0", SPANS, "WITHOUT_SPARING_TICKET_0", WRONGLY_GIVEN_UP),
    Search(
        "ticket t given up by the stamp of ticket t-1",
        "RING=1 PRODUCERS=3",
        "WITHOUT_SPARING_ONE_SLOT",
        WRONGLY_GIVEN_UP,
    ),
    Search("a final read while a producer still runs", ONE_SLOT, "WITHOUT_WAITING", WRONGLY_GIVEN_UP),
)


def run(search: Search) -> Outcome:
    """Raises CalledProcessError, with what spin or gcc said, if there is nothing to search."""
    with tempfile.TemporaryDirectory(prefix="linnix-rec-model-") as directory:
        # -o3: each statement is a transition of its own, so that what was not reached is named by statement.
        _said(["spin", "-a", "-o3", *search.defines(), str(MODEL)], directory)
        limits = ["-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}"]
        # -O2 takes longer to compile than it then saves.
        _said(["gcc", "-O1", "-w", *limits, "-o", "pan", "pan.c"], directory)
        began = time.monotonic()
        said = _said(["./pan", f"-m{DEPTH}"], directory)
        return outcome(said, time.monotonic() - began)


def outcome(said: str, seconds: float) -> Outcome:
    error = re.search(r"^pan:\d+: (.*?)(?: \(at depth \d+\))?$", said, re.MULTILINE)
    not_ended = re.search(
        r"not completed|too small|out of memory|memory limit|resource|Bit statespace", said, re.IGNORECASE
    )
    counted = re.search(r"^\s*(\d+) states, stored", said, re.MULTILINE)
    memory = re.search(r"^\s*([\d.]+)\s+total actual memory usage", said, re.MULTILINE)
    whole = (
        "Full statespace search for:" in said
        and "errors: 0" in said
        and "unreached in proctype consumer" in said
    )
    return Outcome(
        complete=whole and not not_ended and counted is not None,
        error=error.group(1) if error else "",
        unreached=frozenset(re.findall(r'"(\w+) = 1"', said)),
        states=int(counted.group(1)) if counted else 0,
        seconds=seconds,
        memory_mb=float(memory.group(1)) if memory else 0.0,
    )


def _said(command: list[str], directory: str) -> str:
    done = subprocess.run(
        command, cwd=directory, check=True, capture_output=True, text=True, timeout=SEARCH_SECONDS
    )
    return done.stdout + done.stderr


def situations() -> frozenset[str]:
    """All that must come about, as the model names them."""
    sources = "".join(source.read_text() for source in MODEL.parent.glob("*.pml"))
    return frozenset(re.findall(r"REACHED\((\w+)\)", sources)) - {"situation"}


def main() -> int:
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            sys.stderr.write(
                f"error: {tool} is needed to check the model; on Debian: apt-get install spin gcc\n"
            )
            return 1
    began = time.monotonic()
    wrong = 0
    reached: frozenset[str] = frozenset()
    searches = ACCEPTED + TWINS
    with ThreadPoolExecutor(AT_ONCE) as at_once:
        for search, future in [(search, at_once.submit(run, search)) for search in searches]:
            try:
                found = future.result()
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                said = f"{error}\n{error.stdout or ''}{error.stderr or ''}"
                sys.stdout.write(f"{search.name:62} WRONG: {said}\n")
                wrong += 1
                continue
            problem = found.verdict(search)
            wrong += bool(problem)
            if not search.refused_by and not problem:
                reached |= situations() - found.unreached
            word = f"WRONG: {problem}" if problem else _word(search)
            figures = f"{found.states:>10,} states {found.seconds:5.1f} s {found.memory_mb:4.0f} MB"
            sys.stdout.write(f"{search.name:62}{figures}  {word}\n")
            sys.stdout.flush()
    for situation in sorted(situations() - reached):
        sys.stdout.write(f"WRONG: {situation} comes about in no search\n")
        wrong += 1
    total = f"{len(ACCEPTED)} sizes, {len(TWINS)} twins, {len(situations())} situations"
    sys.stdout.write(f"{total}; {wrong} wrong; {time.monotonic() - began:.0f} s\n")
    return 1 if wrong else 0


def _word(search: Search) -> str:
    if not search.refused_by:
        return "accepted"
    return f"refused: {'violates' if search.by_claim else 'never reaches'} {search.refused_by}"


if __name__ == "__main__":
    sys.exit(main())
