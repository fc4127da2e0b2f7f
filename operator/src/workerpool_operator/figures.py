"""What is measured of one pool, for `/metrics`. Pure."""

from datetime import timedelta

from workerpool_operator import isolation
from workerpool_operator.evidence import Survey
from workerpool_operator.meter import Usage
from workerpool_operator.model import Backlog
from workerpool_operator.report import Situation


def figures(
    situation: Situation, oldest_wait: timedelta | None, used: Usage, price: float
) -> dict[str, float]:
    """Return a pool's gauges by name; what is unknown is left out. `price` is per core-hour."""
    backlog, survey = situation.reading, situation.survey
    values: dict[str, float] = {"queue_reachable": isinstance(backlog, Backlog)}
    if isinstance(backlog, Backlog):
        values["waiting"] = backlog.waiting
        values["due"] = backlog.due
        values["in_flight"] = backlog.in_flight
        values["buried"] = backlog.buried
        if oldest_wait is not None or not backlog.waiting:
            values["oldest_wait_seconds"] = oldest_wait.total_seconds() if oldest_wait else 0.0
    if situation.decision is not None:
        values["desired_replicas"] = situation.decision.desired
    if situation.deployment is not None:
        values["replicas"] = situation.deployment.replicas
        values["ready_replicas"] = situation.deployment.ready
    if isinstance(survey, Survey):
        values.update(isolation.gauges(situation.record.key, survey))
    values["worker_seconds"] = used.worker_seconds
    pool = situation.record.pool
    if pool is not None and pool.target_deployment:
        return values  # what somebody else's pods take of a node, nobody here says
    values["core_seconds"] = used.core_seconds
    if price:
        values["cost"] = used.core_seconds / 3600 * price
    return values
