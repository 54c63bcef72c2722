"""Records the captures of samples/ again: two real ones, and of the second one broken twin for each rule.

Run as root on a kernel with BTF, from the repository's top (`make samples`). What is recorded runs in a
temporary directory with a bare environment, so that nothing of this machine gets into the captures.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "samples"
sys.path.insert(0, str(REPOSITORY))

from linnix_rec.capture.document import Accounts  # noqa: E402
from linnix_rec.capture.reader import open_capture  # noqa: E402
from linnix_rec.proof import verify_capture  # noqa: E402
from tests.proof import mutations  # noqa: E402

PATHS = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
PIPELINE = "seq 1000 | sort -rn | awk '$1 % 7 == 0' | head -3 | tac"
SOURCES = ("main", "parse", "print", "sum", "words", "lines")

# One fault for each rule; the rows' numbers, the files' hashes and the accounts agree with it otherwise.
BROKEN_ROWS = {
    "sequence": mutations.ticket_skipped,
    "birth": mutations.birth_dropped,
    "death": mutations.exit_moved_before_exec,
    "parent": mutations.exit_moved_before_fork,
    "once": mutations.birth_doubled,
}


def main() -> None:
    """Record, break, and make sure that each sample is what its name says."""
    with tempfile.TemporaryDirectory() as scratch:
        record("pipeline", ["sh", "-c", PIPELINE], Path(scratch))
        write_project(Path(scratch))
        record("make", ["make", "-s", "-j4"], Path(scratch))
    for rule in (*BROKEN_ROWS, "digest", "account"):
        break_rule(rule, SAMPLES / "make.lrec", SAMPLES / f"broken-{rule}.lrec")


def record(name: str, command: list[str], directory: Path) -> None:
    """Record a command that runs in `directory`, and prove the capture."""
    capture = SAMPLES / f"{name}.lrec"
    recorder = [sys.executable, "-m", "linnix_rec", "record", "--force", "-o", str(capture), "--"]
    bare = ["env", "-i", *(f"{key}={value}" for key, value in PATHS.items()), *command]
    where = {"PYTHONPATH": str(REPOSITORY), **PATHS}
    subprocess.run([*recorder, *bare], cwd=directory, env=where, check=True)
    assert verify_capture(open_capture(capture)).proven, f"{capture} is not proven"


def write_project(directory: Path) -> None:
    """A small C program of some files, with a makefile that can build them at once."""
    for name in SOURCES:
        body = "int main(void) { return 0; }" if name == "main" else f"int {name}(int n) {{ return n; }}"
        (directory / f"{name}.c").write_text(body + "\n")
    objects = " ".join(f"{name}.o" for name in SOURCES)
    (directory / "Makefile").write_text(f"program: {objects}\n\tcc -o $@ $^\n")


def break_rule(rule: str, whole: Path, broken: Path) -> None:
    """Write a twin of `whole` that breaks this rule and no other."""
    shutil.rmtree(broken, ignore_errors=True)
    if rule in BROKEN_ROWS:
        mutated = BROKEN_ROWS[rule](mutations.rows_of_capture(whole))
        mutations.write_mutated(broken, whole, mutated.rows)
    else:
        shutil.copytree(whole, broken)
        if rule == "digest":
            mutations.segment_rewritten(broken)
        else:
            mutations.accounts_changed(broken, one_more_issued)
    violated = [result.name for result in verify_capture(open_capture(broken)).rules if result.violated]
    assert violated == [rule], f"{broken} breaks {violated}"


def one_more_issued(accounts: Accounts) -> Accounts:
    """A ticket that the kernel gave out and nobody has."""
    return replace(accounts, issued=accounts.issued + 1)


if __name__ == "__main__":
    main()
