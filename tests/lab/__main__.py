"""Boots other kernels and tries the recorder on them: `make lab`, `make lab-scale`, or python -m tests.lab.

Ends with 0 if all that was asked for holds, with 1 if not, with 2 if nothing was asked for, and with 69 if it
could not be tried: no QEMU, no kernel, no network to fetch them.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.lab.kernels import Kernel, UnavailableError, fetch_kernel
from tests.lab.results import table, told
from tests.lab.scale import run_scaled, scale_table
from tests.lab.suite import CHECKOUT, NothingToRunError, Suite, collect, provide_programs, run_suite
from tests.lab.tools import provide_tools

CACHE = CHECKOUT / "build" / "lab"
UNAVAILABLE = 69  # EX_UNAVAILABLE in sysexits.h


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # and the guests with it
    own, tests = split(arguments)
    parser = _parser()
    chosen = parser.parse_args(own)
    if chosen.what == "suite" and len(chosen.cpus) != 1:
        parser.error("the tests run in guests of one number of CPUs")
    try:
        virtme = provide_tools(CACHE)
        kernels = {series: fetch_kernel(series, CACHE) for series in chosen.kernels}
        if chosen.what == "scale":
            return scale(kernels, chosen, virtme)
        return suite(kernels, chosen, tests, virtme)
    except NothingToRunError as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    except UnavailableError as why:
        print(f"error: {why}", file=sys.stderr)
        return UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The lab's own arguments, and those behind `--`, which are pytest's."""
    behind = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:behind], arguments[behind + 1 :]


def suite(kernels: dict[str, Kernel], chosen: argparse.Namespace, tests: list[str], virtme: Path) -> int:
    """Run the kernel tests in a guest of each kernel, all guests at once, and print how they went."""
    host = collect(tests)
    (cpus,) = chosen.cpus
    wanted = Suite(tuple(tests), provide_programs(CACHE), cpus, 60 * chosen.minutes)
    rooms = {series: CACHE / f"tests-{series}" for series in kernels}
    for series, room in rooms.items():
        print(f"{series}: {len(host)} tests to run; follow with tail -f {_near(room)}/tests", flush=True)
    runs = run_suite(kernels, wanted, host, rooms, virtme)
    print(table(runs))
    for line in (line for ended in runs for line in told(ended)):
        print(line)
    return 0 if all(ended.holds for ended in runs) else 1


def scale(kernels: dict[str, Kernel], chosen: argparse.Namespace, virtme: Path) -> int:
    """Repeat the paper's experiment in guests of each number of CPUs, one after another."""
    broken = 0
    for series, kernel in kernels.items():
        guests = []
        for cpus in chosen.cpus:
            room = CACHE / f"scale-{series}-{cpus}"
            print(f"{series}, {cpus} CPUs: {chosen.forks} forks through each channel", flush=True)
            guests.append(run_scaled(kernel, cpus, chosen.forks, room, virtme, 60 * chosen.minutes))
            broken += bool(guests[-1].complaint)
        print(f"\nLinux {kernel.release}, QEMU without KVM\n{scale_table(guests)}", flush=True)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tests.lab", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=["suite", "scale"], help="the kernel tests, or the paper's table")
    parser.add_argument("--kernels", nargs="+", default=["6.1", "6.12"], metavar="SERIES")
    parser.add_argument("--cpus", nargs="+", type=int, default=[8], metavar="N")
    parser.add_argument(
        "--forks", type=int, default=5000, metavar="N", help="of all workers together (scale)"
    )
    parser.add_argument("--minutes", type=float, default=240, metavar="N", help="that each guest may take")
    parser.epilog = "Behind -- stand arguments for pytest: -- -k tree"
    return parser


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
