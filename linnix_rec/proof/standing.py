"""How it stands with every task at one place between two rows; knows no rule and no listing."""

import copy
from dataclasses import dataclass
from enum import Enum

import numpy as np

from linnix_rec.proof.births import BirthWindow
from linnix_rec.proof.lives import ALIVE, DEAD, Judge
from linnix_rec.proof.living import Living, Tasks
from linnix_rec.proof.rows import Gaps


class Past(Enum):
    """What is known of an identity that is not certainly alive."""

    ENDED = "has exited"
    UNBORN = "was never born"
    FORGOTTEN = "has exited, or was never born"
    UNHEARD = "is older than the recording, and did nothing"
    DOUBTFUL = "may be alive"


@dataclass(frozen=True)
class Standing:
    """The tasks that are certainly alive by their births and acts, and what is known of the others.

    Of elders, older than the recording, only those are among the living that did something. True until
    the next row is checked.
    """

    tasks: Tasks
    gaps: Gaps
    _judge: Judge
    _births: BirthWindow

    def past(self, tid: int, tgid: int, start_ns: int) -> Past:
        """Tell what became of an identity that is not among the living."""
        judge = self._judge
        life = judge.lives.get(tid, {}).get(start_ns)
        if life is not None:
            return Past.ENDED if life.over else Past.DOUBTFUL
        if judge.taken_over(tid, tgid, start_ns):
            return Past.ENDED
        if not judge.is_young(start_ns):
            return Past.DOUBTFUL if judge.forgot_takeovers and tid != tgid else Past.UNHEARD
        if self._births.marks(tid, start_ns) is not None:
            return Past.ENDED
        if start_ns > self._births.floor:
            return Past.UNBORN
        return Past.DOUBTFUL if judge.forgot_lives else Past.FORGOTTEN

    def changes_identity(self, tid: int, tgid: int) -> bool:
        """Say whether a task may have become another one unseen, as its process's leader has exited.

        Whoever takes a process over waits for that first (fs/exec.c: de_thread()), and has the leader's
        identity some time before its exec is traced; if that fails, it is not traced at all.
        """
        leaders = self._judge.lives.get(tgid, {}).values()
        return any(life.certain != ALIVE and (life.possible != DEAD or tid != tgid) for life in leaders)


def standing_of(living: Living, judge: Judge, births: BirthWindow, gaps: Gaps) -> Standing:
    """Put together what the fast check, the judge and the window of births know."""
    odd = [
        life
        for lives in judge.lives.values()
        for life in lives.values()
        if life.certain == ALIVE and not life.deferred
    ]
    tasks = Tasks(
        np.append(living.tid, np.array([life.tid for life in odd], np.uint32)),
        np.append(living.tgid, np.array([life.tgid for life in odd], np.uint32)),
        np.append(living.start_ns, np.array([life.start_ns for life in odd], np.uint64)),
    )
    return Standing(tasks, copy.copy(gaps), judge, births)
