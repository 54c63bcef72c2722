"""Claims about `linnix-rec verify`: the exit status, and lines that say what to do next."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from linnix_rec.capture.document import Channel
from linnix_rec.cli import main
from tests.story import Row, Story, arrived, write_capture


def story(*, lost: int = 0, twice: bool = False) -> Story:
    told = Story()
    shell = told.task(100)
    child = told.fork(shell, 101)
    told.exec(child, "/bin/true", ["true"])
    told.exit(child)
    if twice:
        told.exit(child)
    if lost:
        told.gap(lost)
    told.exit(shell)
    return told


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "whole.lrec", story())


@pytest.fixture
def lossy(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "lossy.lrec", story(lost=3))


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "wrong.lrec", story(twice=True))


def verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_whole_capture_is_proven(whole: Path) -> None:
    result = verify(whole)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "proven: 5 events, 0 lost, in causal order"
    assert [line.split()[0] for line in result.stdout.splitlines()[:-1]] == [
        *("sequence", "birth", "death", "parent", "once", "digest", "account")
    ]
    assert result.stderr == ""


def test_violation_is_named_with_its_seq_and_where_to_look(wrong: Path) -> None:
    result = verify(wrong)
    assert result.exit_code == 1
    assert "            seq 4: " in result.stdout
    assert result.stdout.splitlines()[-1] == f"look there: linnix-rec show --seq 0:14 {wrong}"


def test_loss_is_not_proven_unless_allowed(lossy: Path) -> None:
    assert verify(lossy).exit_code == 1
    assert "not proven: 3 tickets lost in 1 gap (5 events)" in verify(lossy).stdout
    assert verify("--allow-loss", lossy).exit_code == 0


def test_allowed_loss_excuses_nothing_else(wrong: Path) -> None:
    assert verify("--allow-loss", wrong).exit_code == 1


def test_unfinished_capture_is_not_proven(tmp_path: Path) -> None:
    result = verify(write_capture(tmp_path / "cut.lrec", story(), finished=False))
    assert result.exit_code == 1
    assert "the recording was not finished" in result.stdout


def test_worst_status_of_several_counts(whole: Path, wrong: Path, tmp_path: Path) -> None:
    assert verify(whole, wrong).exit_code == 1
    result = verify(tmp_path / "missing.lrec", wrong, whole)
    assert result.exit_code == 3
    assert result.stdout.splitlines()[0] == str(tmp_path / "missing.lrec")
    assert str(whole) in result.stdout.splitlines()
    assert result.stderr.count("\n") == 1
    assert "does not exist" in result.stderr


def test_quiet_prints_nothing(whole: Path, wrong: Path) -> None:
    for path, status in ((whole, 0), (wrong, 1)):
        result = verify("-q", path)
        assert (result.exit_code, result.output) == (status, "")


def test_json_is_one_document(whole: Path, wrong: Path) -> None:
    result = verify("--format", "json", whole, wrong)
    assert result.exit_code == 1
    assert [told["verdict"] for told in json.loads(result.stdout)["captures"]] == ["proven", "not proven"]


def test_junit_is_well_formed(wrong: Path) -> None:
    result = verify("--format", "junit", wrong)
    (suite,) = ET.fromstring(result.stdout)  # noqa: S314
    assert suite.get("name") == str(wrong)
    assert int(suite.get("failures", "0")) >= 1


def test_lying_document_is_unreadable(whole: Path) -> None:
    document = whole / "capture.json"
    document.write_text(document.read_text().replace('"ring_slots": ', '"ring_slots": -'))
    result = verify(whole)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "ring_slots" in result.stderr


def test_a_capture_that_may_not_be_entered_is_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(SystemExit) as ending:
        main(["verify", str(tmp_path)])
    assert ending.value.code == 3
    assert f"error: can't read {tmp_path}: Permission denied" in capsys.readouterr().err


def digest_of(path: Path) -> str:
    return verify("-q", "--digest", path).stdout.split()[0]


def test_quiet_digest_is_one_line_for_scripts(whole: Path, wrong: Path) -> None:
    result = verify("-q", "--digest", whole)
    assert (result.exit_code, result.stdout) == (0, f"{digest_of(whole)}  {whole}\n")
    assert digest_of(whole).startswith("sha256:")
    assert (verify("-q", "--digest", wrong).exit_code, verify("-q", whole).stdout) == (1, "")


def test_digest_comes_before_the_verdict_and_names_the_capture(whole: Path, wrong: Path) -> None:
    printed = verify("--digest", whole, wrong).stdout.splitlines()
    assert printed[0] == f"{digest_of(whole)}  {whole}"
    assert printed[printed.index("") + 1] == f"{digest_of(wrong)}  {wrong}"
    assert printed.count(str(whole)) == 0
    told = json.loads(verify("--digest", "--format", "json", whole).stdout)["captures"][0]
    assert told["digest"] == digest_of(whole)


def test_expected_digest_holds_until_a_byte_changes(whole: Path) -> None:
    noted = digest_of(whole)
    assert verify("--expect", noted, whole).exit_code == 0
    assert verify("-q", "--expect", noted.removeprefix("sha256:").upper(), whole).exit_code == 0
    document = whole / "capture.json"
    document.write_text(document.read_text().replace("testhost", "otherhost"))
    assert verify(whole).exit_code == 0
    result = verify("--expect", noted, whole)
    assert result.exit_code == 1
    assert f"expected {noted}, found {digest_of(whole)}" in result.stdout


def test_a_digest_to_expect_is_one_and_of_one_capture(
    whole: Path, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, complaint in (
        (["--expect", "12", whole], "'12' is no digest"),
        (["--expect", digest_of(whole), whole, wrong], "verify the captures one by one"),
    ):
        with pytest.raises(SystemExit) as ending:
            main(["verify", *map(str, arguments)])
        assert ending.value.code == 2
        assert complaint in capsys.readouterr().err


def test_verbose_prints_each_identity_with_both_sides(whole: Path) -> None:
    assert "filtered + claimed" not in verify(whole).stdout
    told = [line.split() for line in verify("-v", whole).stdout.splitlines()]
    assert ["forks", "seen", "1", "=", "1", "filtered", "+", "claimed"] in told


# ---- sources without tickets -----------------------------------------------------------------------------


def unnumbered(directory: Path, rows: list[Row], source: str = "perf") -> Path:
    channel = Channel(1 << 17, 2, "watermark", "100 ms", "time")
    return write_capture(directory / f"{source}.lrec", rows, source=source, ordered=False, channel=channel)


def test_a_whole_capture_of_perf_is_causal_and_no_more(tmp_path: Path) -> None:
    path = unnumbered(tmp_path, arrived(story()))
    result = verify(path)
    assert result.exit_code == 0
    printed = result.stdout.splitlines()
    assert printed[-1] == "causal; complete by the kernel's counts, order not proven: 5 events"
    assert [line.split()[0] for line in printed[:-1]] == [
        *("birth", "death", "parent", "once", "digest", "account")
    ]
    assert verify(unnumbered(tmp_path, arrived(story()), "connector")).stdout.splitlines()[-1] == (
        "causal; completeness unknown: 5 events"
    )


def test_an_inversion_is_named_with_where_to_look(tmp_path: Path) -> None:
    path = unnumbered(tmp_path, arrived(story(), 2))
    result = verify("--allow-loss", path)
    assert result.exit_code == 1
    assert "            seq 0: exec of task 101 before its fork (seq 2)" in result.stdout.splitlines()
    assert result.stdout.splitlines()[-2:] == [
        "not proven: birth is violated once (5 events)",
        f"look there: linnix-rec show --seq 0:10 {path}",
    ]


def test_what_perf_lost_is_told_in_events(tmp_path: Path) -> None:
    told = story()
    told.gap(3, "dropped")
    path = unnumbered(tmp_path, arrived(told))
    assert verify(path).exit_code == 1
    assert "not proven: 3 events lost in 1 gap (5 events)" in verify(path).stdout
    assert verify("--allow-loss", path).exit_code == 0


def test_readers_claim_no_order_of_a_source_without_tickets(tmp_path: Path) -> None:
    told = story()
    told.gap(3, "dropped")
    path = unnumbered(tmp_path, arrived(told))
    shown = CliRunner().invoke(main, ["show", str(path)]).stdout
    assert "3 lost (dropped: the channel had no room for them)" in shown
    summary = CliRunner().invoke(main, ["show", "--summary", str(path)]).stdout.splitlines()
    assert "lost        3 events in 1 gap: 3 dropped" in summary
    assert (
        "channel     perf, 128 KiB in 2 buffers, wake-ups: watermark, polled: 100 ms, merged: time" in summary
    )
    assert summary[-2].endswith("(seq is the order of arrival, which proves none)")
    replayed = CliRunner().invoke(main, ["replay", str(path)])
    assert replayed.exit_code == 0
    assert replayed.stderr.splitlines()[-2:] == [
        (
            "linnix-rec: 2 processes: 1 whole (fork to exit); 1 existed before; "
            "3 events lost, which may hide forks and exits"
        ),
        "linnix-rec: causal, order not proven: 5 events, 3 lost, birth, death, parent and once hold",
    ]


def test_replay_ends_1_on_inversions_and_shows_the_tree_all_the_same(tmp_path: Path) -> None:
    path = unnumbered(tmp_path, arrived(story(), 3, 2))
    replayed = CliRunner().invoke(main, ["replay", str(path)])
    assert replayed.exit_code == 1
    assert "true" in replayed.stdout
    assert "not causal: birth is violated 2 times (first at seq 0)" in replayed.stderr
