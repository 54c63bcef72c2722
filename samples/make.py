"""Records the captures of samples/ again: real ones, and for each rule a twin of one of them that breaks it.

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

from linnix_rec.capture.connector_reader import open_messages  # noqa: E402
from linnix_rec.capture.document import DOCUMENT_NAME, Accounts, CaptureDocument  # noqa: E402
from linnix_rec.capture.reader import open_capture  # noqa: E402
from linnix_rec.capture.schema import KIND_CODES, KINDS  # noqa: E402
from linnix_rec.proof import verify_capture  # noqa: E402
from tests.proof import messages, mutations  # noqa: E402

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
    "alive": mutations.exit_dropped,
}
CALLS = "wc -l main.c; ./missing; exit 0"
EVERYTHING = ("--events", "process,syscall,failed-exec", "--prove")
EVIDENCE = ("--prove", "--witness", "perf", "--witness", "connector")


def main() -> None:
    """Record, break, and make sure that each sample is what its name says."""
    with tempfile.TemporaryDirectory() as scratch:
        record("pipeline", ["sh", "-c", PIPELINE], Path(scratch))
        write_project(Path(scratch))
        record("make", ["make", "-s", "-j4"], Path(scratch))
        record("evidence", ["sh", "-c", PIPELINE], Path(scratch), *EVIDENCE)
        record("syscalls", ["sh", "-c", CALLS], Path(scratch), *EVERYTHING)
    for rule in (*BROKEN_ROWS, "digest", "account"):
        break_rule(rule, SAMPLES / "make.lrec", SAMPLES / f"broken-{rule}.lrec")
    for rule in ("witness", "connector"):
        break_rule(rule, SAMPLES / "evidence.lrec", SAMPLES / f"broken-{rule}.lrec")


def record(name: str, command: list[str], directory: Path, *options: str) -> None:
    """Record a command that runs in `directory`, and prove the capture."""
    capture = SAMPLES / f"{name}.lrec"
    recorder = [sys.executable, "-m", "linnix_rec", "record", *options, "--force", "-o", str(capture), "--"]
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
        BROKEN_FILES[rule](broken)
    violated = [result.name for result in verify_capture(open_capture(broken)).rules if result.violated]
    assert violated == [rule], f"{broken} breaks {violated}"


def one_more_issued(accounts: Accounts) -> Accounts:
    """A ticket that the kernel gave out and nobody has."""
    return replace(accounts, issued=accounts.issued + 1)


def witness_counted_more(capture: Path) -> None:
    """Make perf have counted forks that the programs have not seen."""
    path = capture / DOCUMENT_NAME
    document = CaptureDocument.load(path)
    assert document.perf is not None
    outer = {**document.perf.outer, "fork": document.perf.outer["fork"] + 3}
    inner = {**document.perf.inner, "fork": outer["fork"]}
    path.write_bytes(replace(document, perf=replace(document.perf, inner=inner, outer=outer)).dump())


def message_dropped(capture: Path) -> None:
    """Take the message of an exec out, and let the connector know of no loss."""
    document = CaptureDocument.load(capture / DOCUMENT_NAME)
    assert document.connector is not None
    file = open_messages(capture, document.connector)
    assert file is not None
    rows = [row for batch in file.batches() for row in batch.to_pylist()]
    recorded = next(row["tid"] for row in mutations.rows_of_capture(capture) if row["kind"] == "exec")
    dropped = next(row for row in rows if (row["kind"], row["tid"]) == (KIND_CODES["exec"], recorded))
    kept = [{**row, "kind": KINDS[row["kind"]]} for row in rows if row is not dropped]
    window = {name: getattr(document.connector, name) for name in ("first_boot_ns", "end_boot_ns")}
    messages.write_messages(capture, kept, **window)


BROKEN_FILES = {
    "digest": mutations.segment_rewritten,
    "account": lambda capture: mutations.accounts_changed(capture, one_more_issued),
    "witness": witness_counted_more,
    "connector": message_dropped,
}


if __name__ == "__main__":
    main()
