"""How many replicas a pool should have: pure, total, explained.

`decide` computes and performs nothing: no clock, no I/O, no logging, and it never raises. The
steps below run in this order, and each may change the count and name the reason:

    demand → bounds → (downwards only) busy floor → stabilization
"""

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from workerpool_operator.model import (
    Backlog,
    Decision,
    History,
    Observation,
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

    demand = _demand(backlog, policy)
    step = _bound(demand, policy)
    history = _remember(
        history or (Sample(observation.at, replicas),),
        Sample(observation.at, step.replicas),
        oldest=observation.at - policy.stabilization,
    )
    if step.replicas < replicas:
        step = _keep_busy(step, backlog.in_flight, replicas, policy)
        step = _stabilize(step, history, replicas, policy)
    inputs = _describe(backlog, policy, demand)
    message = f"{inputs}{step.words}: {_count(step.replicas)}"
    return Decision(step.replicas, step.reason, demand, message, history)


def _hold(replicas: int, reason: Reason, words: str) -> Decision:
    return Decision(replicas, reason, None, f"{words}: {_count(replicas)} kept", history=())


def _demand(backlog: Backlog, policy: Policy) -> int:
    """Return ⌈jobs ÷ backlog per replica⌉; any job at all asks for one replica."""
    return -(-backlog.jobs // policy.backlog_per_replica)


class _Step(NamedTuple):
    """What the steps so far came to."""

    replicas: int
    reason: Reason
    words: str


def _bound(demand: int, policy: Policy) -> _Step:
    """Stay between minReplicas and maxReplicas."""
    if demand > policy.max_replicas:
        return _Step(policy.max_replicas, Reason.MAX_REPLICAS, ", limited by maxReplicas")
    reason = Reason.BACKLOG if demand else Reason.IDLE
    if demand >= policy.min_replicas:
        return _Step(demand, reason, "")
    lifted = Reason.MIN_REPLICAS if demand else Reason.IDLE
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


def _describe(backlog: Backlog, policy: Policy, demand: int) -> str:
    if not backlog.jobs:
        return "no jobs"
    parts = [f"{backlog.waiting} waiting"]
    if backlog.due:
        parts.append(f"{backlog.due} due again")
    if backlog.in_flight:
        parts.append(f"{backlog.in_flight} in flight")
    if backlog.orphaned:
        parts.append(f"{backlog.orphaned} left by vanished workers")
    per = policy.backlog_per_replica
    return f"{' + '.join(parts)} at {per} per replica ask for {demand}"


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
