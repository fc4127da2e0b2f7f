"""What is remembered of one pool between two calls.

Knows what was seen, learnt, decided and refused, and by which parts the pool is served. It must
not decide, write or ask anything.
"""

from dataclasses import dataclass, field
from datetime import datetime

from workerpool_operator.capacity import Needs, parse_needs
from workerpool_operator.decide import NO_HISTORY
from workerpool_operator.errors import ApplyFailed, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.learn import NOTHING, Learnt
from workerpool_operator.model import Backlog, Decision, History
from workerpool_operator.notices import Chronicle, StatusBoard
from workerpool_operator.registry import DeploymentRecord, PoolRecord
from workerpool_operator.report import Document, Situation
from workerpool_operator.resource import Key, Pool
from workerpool_operator.rollout import Rollout, complete
from workerpool_operator.scaling import Scaling


@dataclass(slots=True)
class PoolState:
    """One pool, as the reconciler knows it."""

    record: PoolRecord
    board: StatusBoard
    rollout: Rollout
    scaling: Scaling
    chronicle: Chronicle
    manifest: Document | None = None
    """The Deployment as the pool wants it; `None` if the pool is invalid."""
    reading: Backlog | Unreadable | None = None
    survey: Survey | Unreadable | None = None
    history: History = NO_HISTORY
    learnt: Learnt = NOTHING
    decision: Decision | None = None
    scaled_at: datetime | None = None
    troubles: dict[str, ApplyFailed] = field(default_factory=dict)
    """Why a kind of write fails, while it does."""
    needs: Needs | None = field(default=None, init=False)
    """What its pods ask of a node, if they want whole cores."""

    @property
    def key(self) -> Key:
        """The pool's name."""
        return self.record.key

    def take(self, record: PoolRecord, manifest: Document | None) -> None:
        """Take the pool as it is from now on, and the Deployment as it wants it."""
        if pretends(self.record) is not pretends(record):
            self.history, self.decision = NO_HISTORY, None  # what was pretended is not there
        self.record, self.manifest = record, manifest
        self.needs = _needs(record.pool, manifest)

    def forget_queue(self) -> None:
        """Know nothing of a queue: what was known of another one says nothing of this."""
        self.survey = None
        self.reading, self.history, self.decision = None, NO_HISTORY, None
        self.learnt = NOTHING

    def replicas(self, pool: Pool, deployment: DeploymentRecord | None) -> int | None:
        """Return the present count; in a dry run what it would be; unknown while it is made."""
        if pool.dry_run and self.decision is not None:
            return self.decision.desired
        if complete(deployment, pool):
            return deployment.replicas
        return 0 if pool.dry_run else None

    def situation(self, deployment: DeploymentRecord | None) -> Situation:
        """Return all that a report on the pool is made of."""
        return Situation(
            self.record,
            deployment,
            self.reading,
            self.decision,
            next(iter(self.troubles.values()), None),
            self.scaled_at,
            self.survey,
            self.chronicle.changes,
            self.learnt.loss,
        )


def pretends(record: PoolRecord) -> bool:
    """Say whether a pool only shows what would be done (`spec.dryRun`)."""
    return record.pool is not None and record.pool.dry_run


def _needs(pool: Pool | None, manifest: Document | None) -> Needs | None:
    """Return what pods of an exclusive pool need; shares of a core are not counted."""
    if pool is None or manifest is None or pool.cpu.cores is None:
        return None
    return parse_needs(manifest["spec"]["template"]["spec"], pool.cpu.cores)
