"""Which target and window to choose for a trace: the cheapest that keep a promise."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from workerpool_operator.model import Policy
from workerpool_simulator.policies import Workerpool
from workerpool_simulator.replay import Outcome, replay
from workerpool_simulator.trace import Trace

DRAINS = (5, 10, 20, 30, 60, 120)
WINDOWS = (0, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class Advice:
    """A choice, and what it makes of the trace."""

    drain_seconds: int
    window_seconds: int
    outcome: Outcome


def advise(trace: Trace, policy: Policy, p95_wait: float, start_seconds: float) -> Advice | None:
    """Return the choice with the fewest worker-hours whose p95 wait is at most `p95_wait` seconds.

    `None` if none keeps it: more pods, earlier ones, or faster jobs are needed.
    """
    return min(
        (a for a in _tried(trace, policy, start_seconds) if a.outcome.p95_wait <= p95_wait),
        key=lambda advice: advice.outcome.worker_hours,
        default=None,
    )


def _tried(trace: Trace, policy: Policy, start_seconds: float) -> Iterable[Advice]:
    for drain in DRAINS:
        for window in WINDOWS:
            candidate = replace(
                policy, drain=timedelta(seconds=drain), stabilization=timedelta(seconds=window)
            )
            outcome = replay(trace, Workerpool(candidate), start_seconds=start_seconds)
            yield Advice(drain, window, outcome)
