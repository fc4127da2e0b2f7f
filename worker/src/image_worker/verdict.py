"""What a run that did not do its job means for it.

Pure: a result and the job's history go in, what to tell the queue comes out.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import assert_never

from image_worker import wire
from image_worker.backoff import full_jitter
from image_worker.keeper import Died, NotStarted, TimedOut

RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 300.0


class Action(StrEnum):
    """The calls of the protocol that end a lease; what was done is told by the next claim."""

    FAIL = "fail"
    BURY = "bury"
    CRASH = "crash"
    RELEASE = "release"
    HAND_BACK = "hand back"
    """As RELEASE, of a job that was certainly not begun."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One action, with the machine reason and the sentence that are kept with the job."""

    action: Action
    outcome: str
    """The word for metrics and logs: rejected, failed, timeout, crashed, released."""
    reason: str
    sentence: str
    delay: timedelta = timedelta()
    """Before the next attempt; only for FAIL."""


Undone = wire.Rejected | wire.Failed | Died | TimedOut | NotStarted


def judge(
    result: Undone, *, attempts: int, job_timeout: timedelta, we_killed: bool, chance: Random
) -> Verdict:
    """Say what becomes of a job that has failed `attempts` times before this run."""

    def failed(outcome: str, reason: str, sentence: str) -> Verdict:
        seconds = full_jitter(
            attempts + 1,
            base_seconds=RETRY_BASE_SECONDS,
            cap_seconds=RETRY_CAP_SECONDS,
            chance=chance,
        )
        return Verdict(Action.FAIL, outcome, reason, sentence, timedelta(seconds=seconds))

    match result:
        case wire.Rejected(reason, sentence):
            return Verdict(Action.BURY, "rejected", reason, sentence)
        case wire.Failed(reason, sentence):
            return failed("failed", reason, sentence)
        case TimedOut():
            sentence = f"it took longer than {job_timeout.total_seconds():g} s"
            return failed("timeout", "Timeout", sentence)
        case Died(how) if not we_killed:
            return Verdict(Action.CRASH, "crashed", "Crash", f"its child {how}")
        case Died() | NotStarted():
            # The job did nothing wrong: its child was gone before, or we killed it ourselves.
            begun = isinstance(result, Died)
            action = Action.RELEASE if begun else Action.HAND_BACK
            return Verdict(action, "released", "", "handed back uncounted")
        case _:
            assert_never(result)
