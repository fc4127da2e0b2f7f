"""What people read about a pool: its status, its conditions, its Events. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workerpool_operator import isolation, placement
from workerpool_operator.decide import LOSS_HOLD
from workerpool_operator.errors import ApplyFailed, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog, Decision, Loss, Reason
from workerpool_operator.registry import DeploymentRecord, PoolRecord
from workerpool_operator.resource import (
    GROUP,
    KIND,
    VERSION,
    Condition,
    Pool,
    merge_conditions,
    timestamp,
)

Document = dict[str, Any]

CHANGES_KEPT = 10
"""In `status.history`."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one pool."""

    record: PoolRecord
    deployment: DeploymentRecord | None
    reading: Backlog | Unreadable | None
    """`None` before the first reading."""
    decision: Decision | None
    trouble: ApplyFailed | None
    """Why the Deployment could not be written, if it could not."""
    scaled_at: datetime | None
    survey: Survey | Unreadable | None = None
    """What the workers tell of their cores."""
    changes: Sequence[Document] = ()
    """The last changes of scale, newest first."""
    loss: Loss | None = None
    """The last time Redis lost its data."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is written to the Deployment."""
        return self.record.pool is not None and self.record.pool.dry_run


def status_document(situation: Situation, previous: Mapping[str, Any], now: datetime) -> Document:
    """Return the status to merge into the resource; a field of `None` is unknown, and removed."""
    record, deployment, decision = situation.record, situation.deployment, situation.decision
    backlog = situation.reading if isinstance(situation.reading, Backlog) else None
    counted = backlog and not (record.pool and record.pool.at_most_once)
    if not record.pool:
        reason, message = "InvalidSpec", record.problem
    elif decision:
        reason = str(decision.reason)
        message = _sentence(decision, pretended=situation.dry_run)
    elif situation.trouble:
        reason, message = situation.trouble.reason, str(situation.trouble)
    else:
        reason, message = "Starting", "The queue has not been read yet."
    scaled_at = situation.scaled_at
    survey = situation.survey if isinstance(situation.survey, Survey) else None
    return {
        "observedGeneration": record.generation,
        "waiting": backlog.waiting if backlog else None,
        "due": backlog.due if backlog and counted else None,
        "busy": backlog.in_flight if backlog and counted else None,
        "replicas": deployment.replicas if deployment else None,
        "desiredReplicas": decision.desired if decision else None,
        "readyReplicas": deployment.ready if deployment else None,
        "externalWorkers": survey.external(record.key) if survey else None,
        "reason": reason,
        "message": message,
        "lastScaleTime": timestamp(scaled_at) if scaled_at else previous.get("lastScaleTime"),
        "history": list(situation.changes),
        "conditions": merge_conditions(
            previous.get("conditions") or (),
            [
                _ready(situation),
                _queue_reachable(situation),
                _scaling_limited(situation),
                _data_lost(situation, now),
                *(_of_workers(record.pool, situation.survey) if record.pool else ()),
                *_in_flight_known(situation),
            ],
            record.generation,
            now,
        ),
    }


def _ready(situation: Situation) -> Condition:
    """Whether the pool does what its spec says; a pool at zero for lack of work does."""
    obstacle = _obstacle(situation)
    if obstacle:
        return Condition("Ready", "False", *obstacle)
    if situation.dry_run:
        words = "dryRun: true: nothing is written to the Deployment; status tells what would be."
        return Condition("Ready", "True", "DryRun", words)
    deployment = situation.deployment
    if not deployment or situation.reading is None:
        return Condition("Ready", "Unknown", "Starting", "The pool is being set up.")
    words = f"{deployment.ready} of {deployment.replicas} worker pods are ready."
    if situation.decision is not None and situation.decision.shortage:
        words += " Others have no place: see the condition ScalingLimited."
    elif not deployment.replicas:
        return Condition("Ready", "True", "Ready", words)
    if not deployment.ready:
        return Condition("Ready", "False", "WorkersNotReady", words)
    return Condition("Ready", "True", "Ready", words)


def _obstacle(situation: Situation) -> tuple[str, str] | None:
    """Return the reason and the words of what keeps the pool from doing what its spec says."""
    record, trouble = situation.record, situation.trouble
    if trouble:
        return trouble.reason, str(trouble)
    if not record.pool:
        return "InvalidSpec", record.problem
    if isinstance(situation.reading, Unreadable):
        return "QueueUnreachable", str(situation.reading)
    return None


def _queue_reachable(situation: Situation) -> Condition:
    kind, decision = "QueueReachable", situation.decision
    match situation.reading:
        case Unreadable() as error:
            raised = decision is not None and decision.reason is Reason.FALLBACK
            follows = "At least the fallback is there." if raised else "The replicas are held."
            return Condition(kind, "False", error.reason, f"{error}. {follows}")
        case Backlog():
            return Condition(kind, "True", "Connected", "The queue's length is known.")
        case None:
            return Condition(kind, "Unknown", "Starting", "The queue has not been read yet.")


def _of_workers(pool: Pool, survey: Survey | Unreadable | None) -> list[Condition]:
    """What follows from what the workers tell of themselves."""
    region = placement.condition(pool, survey)
    return [*isolation.conditions(pool, survey), *([region] if region else [])]


def _scaling_limited(situation: Situation) -> Condition:
    kind, decision, pool = "ScalingLimited", situation.decision, situation.record.pool
    if decision is None or pool is None:
        obstacle = _obstacle(situation)
        if obstacle is not None:
            words = "Nothing is decided: see the condition Ready."
            return Condition(kind, "Unknown", obstacle[0], words)
        return Condition(kind, "Unknown", "Starting", "Nothing has been decided yet.")
    limit = _limit(decision, pool)
    if limit is not None:
        return Condition(kind, "True", *limit)
    if decision.demand is None:
        words = "What is called for is unknown, so nobody can tell whether a limit would cut it."
        return Condition(kind, "Unknown", str(decision.reason), words)
    return Condition(kind, "False", "WithinLimits", "No limit cuts the replicas.")


def _limit(decision: Decision, pool: Pool) -> tuple[str, str] | None:
    """Return the reason and the words of what cuts the replicas, if that is known."""
    if decision.shortage:
        # What comes after that step may give another reason; the cores are lacking all the same.
        refused = decision.reason is Reason.PODS_REJECTED
        reason = decision.reason if refused else Reason.INSUFFICIENT_CORES
        return str(reason), decision.shortage
    called = f"{decision.demand} replicas are called for"
    if decision.reason is Reason.SCALE_UP_LIMITED:
        words = f"{called}; spec.scaleUp.limit keeps the pool at {decision.desired} for now."
        return str(decision.reason), words
    if decision.demand is not None and decision.demand > pool.policy.max_replicas:
        # Likewise, while those that are too many are on their way down.
        words = f"{called}; spec.maxReplicas allows {pool.policy.max_replicas}."
        return str(Reason.MAX_REPLICAS), words
    return None


def _data_lost(situation: Situation, now: datetime) -> Condition:
    loss = situation.loss
    if loss is None or now - loss.at >= LOSS_HOLD:
        words = "No loss of jobs in Redis was seen lately."
        return Condition("DataLost", "False", "NoLossSeen", words)
    return Condition("DataLost", "True", "DataLost", loss_words(loss))


def loss_told(status: Mapping[str, Any], now: datetime) -> Loss | None:
    """Return the loss that a predecessor told of in a status and that may still hold its pool.

    It counts as seen now: the condition says since when it is true, not when Redis lost data for
    the last time.
    """
    conditions = status.get("conditions") or ()
    lost = any(c["type"] == "DataLost" and c["status"] == "True" for c in conditions)
    return Loss(now, None) if lost else None


def loss_words(loss: Loss) -> str:
    """Say what was lost and what to do about it."""
    return (
        f"Redis restarted and came back without {loss.words} that it had: push them again, and "
        f"turn on its append-only file (appendonly yes), so that it keeps what it is given. No "
        f"worker is scaled away for {round(LOSS_HOLD.total_seconds())} s."
    )


def _sentence(decision: Decision, *, pretended: bool) -> str:
    """Return why, marked where it is only told and not done."""
    return f"dry run: {decision.message}" if pretended else decision.message


def change_document(
    before: int, decision: Decision, now: datetime, *, pretended: bool
) -> Document:
    """Return an entry of `status.history`."""
    return {
        "time": timestamp(now),
        "from": before,
        "to": decision.desired,
        "reason": str(decision.reason),
        "message": _sentence(decision, pretended=pretended),
    }


def _in_flight_known(situation: Situation) -> list[Condition]:
    """Whether jobs that run are counted; of a Deployment that is not ours, nobody knows before."""
    pool, backlog = situation.record.pool, situation.reading
    kind = "InFlightKnown"
    if pool is not None and pool.at_most_once:
        words = (
            "spec.queue.delivery is at-most-once: a job that a worker took off the list is not "
            "seen any more, and a scale-in counts only what waits. A worker that is told to end "
            "finishes its job first, within job.timeoutSeconds. Let "
            "spec.scaleDown.stabilizationSeconds be longer than the longest job."
        )
        return [Condition(kind, "False", "AtMostOnce", words)]
    if pool is None or not pool.target_deployment:
        return []
    if isinstance(backlog, Backlog) and (backlog.workers or backlog.in_flight):
        words = "The workers report what they work on, and keep their replicas meanwhile."
        return [Condition(kind, "True", "WorkersReport", words)]
    if (
        not isinstance(backlog, Backlog)
        or not situation.deployment
        or not situation.deployment.ready
    ):
        words = "No worker is ready yet, so it is not known whether workers report."
        return [Condition(kind, "Unknown", "NoWorkers", words)]
    words = (
        "No worker reports to this queue: a job that a worker took off the list is not seen any "
        "more, and a scale-in may end its worker. Let spec.scaleDown.stabilizationSeconds be "
        "longer than the longest job, or use workers that follow docs/protocol.md."
    )
    return [Condition(kind, "False", "NoWorkerReports", words)]


def event_document(
    record: PoolRecord,
    *,
    reason: str,
    note: str,
    warning: bool,
    now: datetime,
    instance: str,
) -> Document:
    """Return an Event about a pool, as `events.k8s.io/v1` has it."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{record.key.name}-", "namespace": record.key.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "note": note[:1024],
        "action": "Scaling",
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance,
        "regarding": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": record.key.name,
            "namespace": record.key.namespace,
            "uid": record.uid,
        },
    }
