"""Which target and window to choose for a trace: the cheapest that keep a promise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from workerpool_operator.model import Policy
from workerpool_simulator.policies import EPOCH, Workerpool
from workerpool_simulator.replay import Outcome, replay
from workerpool_simulator.trace import Trace

DRAINS = (5, 8, 12, 20, 30, 50, 80, 120, 200, 300)
WINDOWS = (0, 30, 60, 300)
HOPELESS = 2.0
"""A drain time that misses the promise by so much is not the last one that could keep it."""


class JobsLeft(Exception):
    """The pool leaves jobs undone whatever its target is; the text says why."""

    def __init__(self, outcome: Outcome, policy: Policy) -> None:
        why = f"maxReplicas {policy.max_replicas} is too few for them: raise it"
        if policy.paused:
            why = "paused: true starts no pod for them: take it out of the pool"
        super().__init__(f"{outcome.undone} of {outcome.jobs} jobs are left undone: {why}")


@dataclass(frozen=True, slots=True)
class Advice:
    """A choice, and what it makes of the trace."""

    drain_seconds: int
    window_seconds: int
    outcome: Outcome


def advise(
    trace: Trace,
    policy: Policy,
    p95_wait: float,
    start_seconds: float,
    begins: datetime = EPOCH,
) -> Advice | None:
    """Return the choice with the fewest worker-hours whose p95 wait is at most `p95_wait` seconds.

    All else is as `policy` says. `None` if none keeps it: more pods, earlier ones, or faster jobs
    are needed.

    Raises:
        JobsLeft: even the choice with the shortest drain time leaves jobs undone.
    """
    tried = _tried(trace, policy, p95_wait, start_seconds, begins)
    first = next(tried)
    if first.outcome.undone:
        raise JobsLeft(first.outcome, policy)
    return min(
        (
            advice
            for advice in (first, *tried)
            if advice.outcome.p95_wait <= p95_wait and not advice.outcome.undone
        ),
        key=lambda advice: advice.outcome.worker_hours,
        default=None,
    )


def _tried(
    trace: Trace, policy: Policy, p95_wait: float, start_seconds: float, begins: datetime
) -> Iterator[Advice]:
    for window in WINDOWS:
        for drain in DRAINS:
            candidate = replace(
                policy, drain=timedelta(seconds=drain), stabilization=timedelta(seconds=window)
            )
            outcome = replay(
                trace,
                Workerpool(candidate, begins=begins),
                start_seconds=start_seconds,
                workers_per_pod=policy.workers_per_replica,
            )
            yield Advice(drain, window, outcome)
            if outcome.p95_wait > HOPELESS * p95_wait:
                break
