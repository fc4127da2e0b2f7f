"""One trace through one policy: who waited for how long, and what it cost."""

import math
from dataclasses import dataclass

from workerpool_simulator.fleet import Fleet
from workerpool_simulator.policies import Decider
from workerpool_simulator.trace import Trace

PATIENCE_SECONDS = 24 * 3600.0
"""A policy that has not finished so long after the last arrival never will."""
LINGER_SECONDS = 3600.0
"""What is left so long after the last job is not for its sake."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a graph shows of one moment."""

    at: float
    waiting: int
    replicas: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of a trace."""

    policy: str
    jobs: int
    """Jobs of the trace."""
    done: int
    """Those that were done; the others have waited until the end, and count so in each wait."""
    p50_wait: float
    p95_wait: float
    max_wait: float
    worker_hours: float
    """From asking for each pod to its end."""
    killed_jobs: int
    """Running jobs that a scale-in ended."""
    scalings: int
    """Changes of the replica count."""
    points: tuple[Point, ...]

    @property
    def undone(self) -> int:
        """Jobs that were not done a day after the last had come."""
        return self.jobs - self.done


def replay(
    trace: Trace, decider: Decider, *, start_seconds: float = 2.0, workers_per_pod: int = 1
) -> Outcome:
    """Return what `decider` makes of `trace`, until the work is done and the pods are at rest."""
    fleet = Fleet(start_seconds, decider.grace_seconds, workers_per_pod)
    jobs = iter(trace.jobs)
    upcoming = next(jobs, None)
    due = 0.0
    points: list[Point] = []
    end = trace.seconds + PATIENCE_SECONDS
    while fleet.now < end:
        at = min(due, upcoming.at) if upcoming else due
        fleet.advance(at)
        arrived = False
        while upcoming and upcoming.at <= at:
            fleet.push(upcoming)
            arrived = True
            upcoming = next(jobs, None)
        if at >= due or (arrived and decider.told):
            fleet.scale(decider.replicas(fleet))
            due = at + decider.interval
            _note(points, fleet)
        if upcoming is None and not fleet.queue and not fleet.in_flight:
            end = min(end, at + LINGER_SECONDS)
            if fleet.replicas <= decider.low:
                break
    fleet.settle()
    waits = sorted(fleet.waits)
    return Outcome(
        policy=decider.name,
        jobs=len(trace.jobs),
        done=fleet.done,
        p50_wait=_rank(waits, 0.5),
        p95_wait=_rank(waits, 0.95),
        max_wait=waits[-1] if waits else 0.0,
        worker_hours=fleet.worker_seconds / 3600,
        killed_jobs=fleet.killed,
        scalings=fleet.scalings,
        points=tuple(points),
    )


def _note(points: list[Point], fleet: Fleet) -> None:
    """Keep a point a second, and every change of the count."""
    changed = not points or points[-1].replicas != fleet.replicas
    if changed or fleet.now - points[-1].at >= 1:
        points.append(Point(fleet.now, len(fleet.queue), fleet.replicas))


def _rank(ordered: list[float], share: float) -> float:
    """Return the value that `share` of all do not exceed (nearest rank)."""
    if not ordered:
        return 0.0
    return ordered[math.ceil(len(ordered) * share) - 1]
