"""Which pools are looked at although Redis reports nothing of them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from workerpool_operator.attention import moves
from workerpool_operator.decide import NO_HISTORY
from workerpool_operator.model import Backlog, Decision, Policy, Reason

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
RESTING = Policy(min_replicas=2, max_replicas=10)
DECIDED = Decision(2, Reason.MIN_REPLICAS, 0, "enough", NO_HISTORY)


def test_a_pool_at_rest_is_left_to_redis() -> None:
    assert not moves(Backlog(0, workers=2), RESTING, 2, DECIDED, NOON)


@pytest.mark.parametrize(
    ("backlog", "policy", "replicas"),
    [
        pytest.param(Backlog(1), RESTING, 2, id="a job waits"),
        pytest.param(Backlog(0, in_flight=1), RESTING, 2, id="a job runs"),
        pytest.param(Backlog(0, due=1), RESTING, 2, id="a retry is due"),
        pytest.param(Backlog(0, scheduled=1), RESTING, 2, id="a retry will be due"),
        pytest.param(Backlog(0), RESTING, 3, id="more replicas than at rest"),
        pytest.param(
            Backlog(0, workers=1), replace(RESTING, min_replicas=0), 0, id="a worker without pods"
        ),
    ],
)
def test_what_redis_does_not_report_is_looked_after(
    backlog: Backlog, policy: Policy, replicas: int
) -> None:
    assert moves(backlog, policy, replicas, DECIDED, NOON)


def test_replicas_that_are_held_are_waited_for_by_nobody() -> None:
    assert not moves(Backlog(0), replace(RESTING, paused=True), 3, DECIDED, NOON)
    assert not moves(Backlog(0), replace(RESTING, only_up=True), 3, DECIDED, NOON)


def test_missing_cores_are_looked_for() -> None:
    assert moves(Backlog(0), RESTING, 2, replace(DECIDED, shortage="1 core missing"), NOON)
