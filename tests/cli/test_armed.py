"""armed's output: a line for each pin, or one JSON document; and exit 1 if one of them can't be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linnix_rec.session import armed
from linnix_rec.session.armed import Armed

SINCE = "2026-09-21T14:16:00.123456Z"
WHOLE = Armed("host", SINCE, "all", 1 << 20, 3_500_000, 3)
DEAD = Armed("job", SINCE, "pid", 4096, 4000, 3, "/captures/\x1b[31mjob.lrec", unread=1200)
LIVE = Armed("web", SINCE, "all", 4096, 9000, 3, "/captures/web.lrec", unread=7, recorded=True)
ENDED = Armed("end", SINCE, "all", 4096, 9000, 0, "/captures/end.lrec", unread=7)
BROKEN = Armed("old", problem="old was pinned by a newer linnix-rec: use that one")


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[Armed]:
    """What is pinned."""
    found: list[Armed] = []
    monkeypatch.setattr(armed, "armed", lambda: found)
    return found


def test_nothing_is_a_line_on_stderr(pinned: list[Armed], run: Any) -> None:
    ended = run("armed")
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert ended.stderr == "linnix-rec: nothing is armed, and nothing pinned\n"


def test_each_pin_is_a_line(pinned: list[Armed], run: Any) -> None:
    pinned += [WHOLE, DEAD, LIVE, ENDED]
    ended = run("armed")
    assert ended.exit_code == 0
    died = "its recorder has died: `record --resume /captures/\\x1b[31mjob.lrec`, 1,200 tickets to read"
    left = "it has ended, and its recorder died: `record --resume /captures/end.lrec`, 7 tickets to read"
    assert ended.stdout.splitlines() == [
        "NAME  SINCE                 WHAT  SLOTS      TICKETS    LAPS  STATE",
        "host  2026-09-21T14:16:00Z  all   1,048,576  3,500,000  3     armed",
        f"job   2026-09-21T14:16:00Z  pid   4,096      4,000      0     {died}",
        "web   2026-09-21T14:16:00Z  all   4,096      9,000      2     being recorded to /captures/web.lrec",
        f"end   2026-09-21T14:16:00Z  all   4,096      9,000      2     {left}",
    ]


def test_what_can_t_be_read_says_why_and_is_status_1(pinned: list[Armed], run: Any) -> None:
    pinned += [WHOLE, BROKEN]
    ended = run("armed")
    assert ended.exit_code == 1
    assert ended.stdout.splitlines()[-1].split(maxsplit=1) == ["old", BROKEN.problem]


def test_json_has_all_that_is_known(pinned: list[Armed], run: Any) -> None:
    pinned += [DEAD, BROKEN]
    ended = run("armed", "--format", "json")
    assert ended.exit_code == 1
    first, second = json.loads(ended.stdout)["armed"]
    assert Armed(**first) == DEAD
    assert (second["name"], second["problem"]) == ("old", BROKEN.problem)


def test_nothing_is_an_empty_list_in_json(pinned: list[Armed], run: Any) -> None:
    assert json.loads(run("armed", "--format", "json").stdout) == {"armed": []}
