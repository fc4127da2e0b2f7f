from datetime import timedelta
from random import Random

import pytest

from image_worker import wire
from image_worker.keeper import Died, NotStarted, TimedOut
from image_worker.verdict import Action, Undone, judge


@pytest.mark.parametrize(
    ("result", "action", "outcome", "reason", "sentence"),
    [
        (wire.Rejected("BadJson", "no JSON"), Action.BURY, "rejected", "BadJson", "no JSON"),
        (wire.Failed("Storage", "disk full"), Action.FAIL, "failed", "Storage", "disk full"),
        (TimedOut(), Action.FAIL, "timeout", "Timeout", "longer than 120 s"),
        (Died("was killed by SIGSEGV"), Action.CRASH, "crashed", "Crash", "child was killed"),
        (NotStarted(), Action.HAND_BACK, "released", "", "uncounted"),
    ],
)
@pytest.mark.parametrize("attempts", [0, 4])
def test_each_result_has_one_consequence(
    result: Undone, action: Action, outcome: str, reason: str, sentence: str, attempts: int
) -> None:
    verdict = judge(
        result,
        attempts=attempts,
        job_timeout=timedelta(seconds=120),
        we_killed=False,
        chance=Random(1),
    )
    assert (verdict.action, verdict.outcome, verdict.reason) == (action, outcome, reason)
    assert sentence in verdict.sentence
    assert timedelta() <= verdict.delay <= timedelta(seconds=2**attempts)


def test_a_job_whose_child_we_killed_ourselves_is_handed_back_uncounted() -> None:
    verdict = judge(
        Died("was killed by SIGKILL"),
        attempts=0,
        job_timeout=timedelta(seconds=1),
        we_killed=True,
        chance=Random(1),
    )
    assert verdict.action is Action.RELEASE
