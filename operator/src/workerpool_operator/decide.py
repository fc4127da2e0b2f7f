"""How many replicas a pool should have: pure, total, explained.

`decide` computes and performs nothing: no clock, no I/O, no logging, and it never raises. The
steps below run in this order, and each may change the count and name the reason:

    demand → longest wait → bounds → (downwards only) busy floor → stabilization
"""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from workerpool_operator.model import (
    Backlog,
    Decision,
    History,
    Observation,
    Pace,
    Policy,
    Reason,
    Sample,
)

HISTORY_LIMIT = 64
"""Samples kept at most; beyond it the two oldest merge, which only ever delays a scale-in."""


def decide(observation: Observation, policy: Policy, history: History = ()) -> Decision:
    """Return the replicas that `policy` calls for under `observation`.

    An empty `history` means that the past is unknown (a restart): the present replica count is
    taken for the window's maximum, so a restart never scales down sooner than no restart. A hold
    returns an empty one for the same reason: nobody knows what was called for meanwhile.
    """
    replicas, backlog = observation.replicas, observation.backlog
    if policy.paused:
        return _hold(replicas, Reason.PAUSED, "paused: true holds the replicas")
    if backlog is None:
        words = "the queue cannot be read, so its backlog is unknown"
        return _hold(replicas, Reason.QUEUE_UNREACHABLE, words)

    step = _hurry(_demand(backlog, observation.pace, policy), observation, policy)
    demand, inputs = step.replicas, step.words
    step = _bound(step._replace(words=""), policy)
    history = _remember(
        history or (Sample(observation.at, replicas),),
        Sample(observation.at, step.replicas),
        oldest=observation.at - policy.stabilization,
    )
    if step.replicas < replicas:
        step = _keep_busy(step, backlog.in_flight, replicas, policy)
        step = _stabilize(step, history, replicas, policy)
    message = f"{inputs}{step.words}: {_count(step.replicas)}"
    return Decision(step.replicas, step.reason, demand, message, history)


def _hold(replicas: int, reason: Reason, words: str) -> Decision:
    return Decision(replicas, reason, None, f"{words}: {_count(replicas)} kept", history=())


class _Step(NamedTuple):
    """What the steps so far came to."""

    replicas: int
    reason: Reason
    words: str


def _demand(backlog: Backlog, pace: Pace, policy: Policy) -> _Step:
    """Return the replicas that the backlog calls for; any job at all asks for one."""
    workers, words = (
        _by_count(backlog, policy)
        if policy.drain is None
        else _by_time(backlog, pace, policy, policy.drain)
    )
    demand = max(_round_up(workers / policy.workers_per_replica), min(backlog.jobs, 1))
    reason = Reason.BACKLOG if demand else Reason.IDLE
    return _Step(demand, reason, f"{words} ask for {demand}" if demand else "no jobs")


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


def _hurry(step: _Step, observation: Observation, policy: Policy) -> _Step:
    """Call for a worker for every job when the oldest has waited too long."""
    wait, backlog = observation.pace.oldest_wait, observation.backlog
    if policy.max_wait is None or wait is None or wait < policy.max_wait or backlog is None:
        return step
    every = _round_up(backlog.jobs / policy.workers_per_replica)
    if every <= step.replicas:
        return step
    words = f"{step.words}, but the oldest has waited {wait.total_seconds():.0f} s"
    return _Step(every, Reason.MAX_WAIT, words)


def _round_up(count: float) -> int:
    """Return the next whole number; what exceeds one by less than a millionth is that one."""
    return math.ceil(count - 1e-6)


def _bound(step: _Step, policy: Policy) -> _Step:
    """Stay between minReplicas and maxReplicas."""
    if step.replicas > policy.max_replicas:
        return _Step(policy.max_replicas, Reason.MAX_REPLICAS, ", limited by maxReplicas")
    if step.replicas >= policy.min_replicas:
        return step
    lifted = Reason.MIN_REPLICAS if step.replicas else Reason.IDLE
    return _Step(policy.min_replicas, lifted, ", lifted by minReplicas")


def _keep_busy(step: _Step, in_flight: int, replicas: int, policy: Policy) -> _Step:
    """Never take away more replicas than could be idle."""
    needed = -(-in_flight // policy.workers_per_replica)
    floor = min(needed, replicas, policy.max_replicas)
    if floor <= step.replicas:
        return step
    return _Step(floor, Reason.BUSY, f", but {in_flight} in flight keep their workers")


def _stabilize(step: _Step, history: History, replicas: int, policy: Policy) -> _Step:
    """Go down no further than the highest count called for within the window."""
    peak = max(sample.replicas for sample in history)
    floor = min(peak, replicas, policy.max_replicas)
    if floor <= step.replicas:
        return step
    seconds = round(policy.stabilization.total_seconds())
    words = f", but up to {_count(peak)} called for within the last {seconds} s"
    return _Step(floor, Reason.STABILIZING, words)


def _remember(history: History, sample: Sample, oldest: datetime) -> History:
    """Add `sample`, drop what is out of the window or can never be its maximum again."""
    kept = [s for s in history if s.at > oldest and s.replicas > sample.replicas]
    kept.append(sample)
    while len(kept) > HISTORY_LIMIT:
        kept[:2] = [replace(kept[1], replicas=kept[0].replicas)]
    return tuple(kept)


def _describe(backlog: Backlog) -> str:
    parts = [f"{backlog.waiting} waiting"]
    if backlog.due:
        parts.append(f"{backlog.due} due again")
    if backlog.in_flight:
        parts.append(f"{backlog.in_flight} in flight")
    if backlog.orphaned:
        parts.append(f"{backlog.orphaned} left by vanished workers")
    return " + ".join(parts)


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
