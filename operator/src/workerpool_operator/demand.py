"""How many replicas a backlog calls for, before any limit: by count, or by time.

Pure, like `decide`, whose first steps these are.
"""

import math
from datetime import timedelta
from typing import NamedTuple

from workerpool_operator.model import Backlog, Observation, Pace, Policy, Reason


class Step(NamedTuple):
    """What the steps so far came to."""

    replicas: int
    reason: Reason
    words: str


def demand(backlog: Backlog, observation: Observation, policy: Policy) -> Step:
    """Return the replicas called for by the target, the longest wait and the standby."""
    step = _hurry(_by_target(backlog, observation.pace, policy), backlog, observation, policy)
    return _stand_by(step, policy)


def _by_target(backlog: Backlog, pace: Pace, policy: Policy) -> Step:
    """Return the replicas that the target asks for; any job at all asks for one."""
    workers, words = (
        _by_count(backlog, policy)
        if policy.drain is None
        else _by_time(backlog, pace, policy, policy.drain)
    )
    replicas = max(_round_up(workers / policy.workers_per_replica), min(backlog.jobs, 1))
    reason = Reason.BACKLOG if replicas else Reason.IDLE
    return Step(replicas, reason, f"{words} ask for {replicas}" if replicas else _rest(backlog))


def _by_count(backlog: Backlog, policy: Policy) -> tuple[float, str]:
    """Return the workers for jobs ÷ `backlog_per_replica`."""
    per = policy.backlog_per_replica
    replicas = backlog.jobs / per
    return replicas * policy.workers_per_replica, f"{_describe(backlog)} at {per} per replica"


def _by_time(backlog: Backlog, pace: Pace, policy: Policy, drain: timedelta) -> tuple[float, str]:
    """Return the workers to be done with what is there within `drain`, by Little's law.

    Arrival rate times job time keeps up with what comes; backlog times job time, divided by the
    drain time, catches up with what is there. There is no use in more workers than jobs.
    https://en.wikipedia.org/wiki/Little%27s_law
    """
    rate = pace.arrivals_per_second or 0.0
    job = (pace.job or policy.assumed_job).total_seconds()
    keep_up = rate * job
    catch_up = backlog.jobs * job / drain.total_seconds()
    useful = backlog.jobs + rate * drain.total_seconds()
    known = "" if pace.job else " assumed"
    words = f"{_describe(backlog)} of {job:.3g} s{known} each within {drain.total_seconds():g} s"
    if rate:
        words += f", with {rate:.3g}/s arriving,"
    return min(keep_up + catch_up, useful), words


def _hurry(step: Step, backlog: Backlog, observation: Observation, policy: Policy) -> Step:
    """Call for a worker for every job when the oldest has waited too long."""
    wait = observation.pace.oldest_wait
    if policy.max_wait is None or wait is None or wait < policy.max_wait:
        return step
    every = _round_up(backlog.jobs / policy.workers_per_replica)
    if every <= step.replicas:
        return step
    words = f"{step.words}, but the oldest has waited {wait.total_seconds():.0f} s"
    return Step(every, Reason.MAX_WAIT, words)


def _stand_by(step: Step, policy: Policy) -> Step:
    """Have some more at hand for the next jobs, for as long as there are any."""
    if not step.replicas or not policy.standby:
        return step
    words = f"{step.words}, and {policy.standby} stand by"
    return Step(step.replicas + policy.standby, Reason.STANDBY, words)


def _round_up(count: float) -> int:
    """Return the next whole number; what exceeds one by less than a millionth is that one."""
    return math.ceil(count - 1e-6)


def _rest(backlog: Backlog) -> str:
    """Say what there is when nothing is to be done now."""
    return (
        f"no jobs now, {backlog.scheduled} to be retried later" if backlog.scheduled else "no jobs"
    )


def _describe(backlog: Backlog) -> str:
    parts = [f"{backlog.waiting} waiting"]
    if backlog.due:
        parts.append(f"{backlog.due} due again")
    if backlog.in_flight:
        parts.append(f"{backlog.in_flight} in flight")
    if backlog.orphaned:
        parts.append(f"{backlog.orphaned} left by vanished workers")
    return " + ".join(parts)
