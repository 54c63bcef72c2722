"""Claims about a capture's figures."""

from linnix_rec.replay.summary import summarise
from tests.story import CLONE_THREAD, Story, rows_to_batch


def test_summary_counts_kinds_commands_and_losses_over_batches() -> None:
    story = Story()
    shell = story.task(100)
    for tid in (101, 102):
        child = story.fork(shell, tid)
        story.exec(child, "/bin/true")
        story.exit(child)
    story.fork(shell, 103, CLONE_THREAD)
    story.gap(5)
    story.gap(2, "abandoned")
    summary = summarise(rows_to_batch([row]) for row in story.rows)
    assert summary.events == {"task": 1, "fork": 3, "exec": 2, "exit": 2, "gap": 2}
    assert (summary.processes_born, summary.threads_born) == (2, 1)
    assert summary.commands == {"/bin/true": 2}
    assert summary.lost == {"lapped": 5, "abandoned": 2}
    assert summary.largest_inversion_ns == 0


def test_largest_inversion_reaches_across_batches() -> None:
    story = Story()
    shell = story.task(100)
    story.fork(shell, 101)
    story.fork(shell, 102)
    story.rows[2]["boot_ns"] = story.rows[0]["boot_ns"] - 700
    for parts in ([story.rows], [[row] for row in story.rows]):
        summary = summarise(rows_to_batch(part) for part in parts)
        assert summary.largest_inversion_ns == story.rows[1]["boot_ns"] - story.rows[2]["boot_ns"]
        assert summary.first_boot_ns == story.rows[2]["boot_ns"]
