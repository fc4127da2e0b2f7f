"""Each step of a decision has a word of its own, and people can look it up."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from workerpool_operator.decide import decide
from workerpool_operator.model import (
    Backlog,
    Fallback,
    History,
    Loss,
    Observation,
    Pace,
    Places,
    Policy,
    RateLimit,
    Reason,
    Sample,
    Schedule,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
AT_ONCE = Policy(max_replicas=20, backlog_per_replica=1, stabilization=timedelta(0))
ALL_DAY = Schedule("0 0 * * *", ZoneInfo("UTC"), timedelta(hours=24), 5)
SLOW = RateLimit(MINUTE, replicas=2)
NONE, SOME, MANY = Backlog(0), Backlog(7), Backlog(99)

SITUATIONS = [
    (Reason.BACKLOG, AT_ONCE, Observation(NOW, 0, SOME), 7),
    (
        Reason.MAX_WAIT,
        Policy(backlog_per_replica=10, max_wait=MINUTE),
        Observation(NOW, 1, SOME, Pace(oldest_wait=MINUTE)),
        7,
    ),
    (Reason.STANDBY, Policy(backlog_per_replica=1, standby=2), Observation(NOW, 0, SOME), 9),
    (Reason.IDLE, AT_ONCE, Observation(NOW, 9, NONE), 0),
    (Reason.MIN_REPLICAS, Policy(min_replicas=3), Observation(NOW, 0, SOME), 3),
    (Reason.SCHEDULE, Policy(schedules=(ALL_DAY,)), Observation(NOW, 0, SOME), 5),
    (Reason.MAX_REPLICAS, AT_ONCE, Observation(NOW, 0, MANY), 20),
    (
        Reason.SCALE_UP_LIMITED,
        Policy(backlog_per_replica=1, up_limit=SLOW),
        Observation(NOW, 1, SOME),
        3,
    ),
    (
        Reason.BUSY,
        Policy(stabilization=timedelta(0)),
        Observation(NOW, 9, Backlog(0, in_flight=4)),
        4,
    ),
    (Reason.DATA_LOST, AT_ONCE, Observation(NOW, 9, NONE, loss=Loss(NOW - MINUTE, 40)), 9),
    (
        Reason.SCALE_DOWN_DISABLED,
        Policy(only_up=True, stabilization=timedelta(0)),
        Observation(NOW, 9, NONE),
        9,
    ),
    (Reason.STABILIZING, Policy(stabilization=MINUTE), Observation(NOW, 9, NONE), 6),
    (
        Reason.SCALE_DOWN_LIMITED,
        Policy(down_limit=SLOW, stabilization=timedelta(0)),
        Observation(NOW, 9, NONE),
        7,
    ),
    (
        Reason.INSUFFICIENT_CORES,
        AT_ONCE,
        Observation(NOW, 0, SOME, places=Places(total=3, cores=1)),
        4,
    ),
    (
        Reason.PODS_REJECTED,
        AT_ONCE,
        Observation(NOW, 3, SOME, places=Places(total=3, cores=1, refusal="a node refused")),
        3,
    ),
    (Reason.PAUSED, Policy(paused=True), Observation(NOW, 9, MANY), 9),
    (Reason.QUEUE_UNREACHABLE, AT_ONCE, Observation(NOW, 9, None), 9),
    (Reason.FALLBACK, Policy(fallback=Fallback(5, MINUTE)), Observation(NOW, 1, None), 5),
]
PAST = History(
    since=NOW - MINUTE,
    called=(Sample(NOW - MINUTE / 2, 6),),
    highs=(Sample(NOW - MINUTE / 2, 9),),
    lows=(Sample(NOW - MINUTE / 2, 1),),
    unread_since=NOW - MINUTE,
)
OF_THE_WAY_DOWN = {Reason.RETIRING, Reason.ROLLING_OUT}
"""What is said after the decision, while pods are chosen (`retirement.py`)."""


@pytest.mark.parametrize(
    ("reason", "policy", "observation", "desired"), SITUATIONS, ids=[s[0] for s in SITUATIONS]
)
def test_a_step_that_decides_names_its_reason(
    reason: Reason, policy: Policy, observation: Observation, desired: int
) -> None:
    decision = decide(observation, policy, PAST)

    assert (decision.reason, decision.desired) == (reason, desired)


def test_every_reason_has_a_situation() -> None:
    assert {situation[0] for situation in SITUATIONS} == set(Reason) - OF_THE_WAY_DOWN


def test_every_reason_is_explained_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "decisions.md").read_text()
    table = text.partition("## The reasons")[2].partition("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(Reason)
