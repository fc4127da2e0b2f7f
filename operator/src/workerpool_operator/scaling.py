"""Carries out the decided scale of one pool's Deployment.

Knows what was asked for last and what became of it, and that only idle pods may go; not why the
count is what it is.
"""

from collections.abc import Callable
from functools import partial

from workerpool_operator.apiserver import Document
from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import Conflict
from workerpool_operator.model import Decision, Reason
from workerpool_operator.registry import (
    DeploymentRecord,
    Registry,
    deployment_record,
    version_of,
)
from workerpool_operator.resource import Key, Pool
from workerpool_operator.retirement import Retirement
from workerpool_operator.rollout import complete
from workerpool_operator.writer import Priority, Writer

Done = Callable[[int, Decision, float | None], None]
"""Told after each scale: the count before, the decision, and when Redis reported the change."""


class Scaling:
    """The scale of one pool's Deployment."""

    def __init__(
        self,
        key: Key,
        cluster: Cluster,
        registry: Registry,
        writer: Writer,
        retirement: Retirement | None,
        *,
        done: Done,
    ) -> None:
        """Write through `writer`; without a `retirement`, a scale-in takes any pods."""
        self._key = key
        self._cluster = cluster
        self._registry = registry
        self._writer = writer
        self._retirement = retirement
        self._done = done
        self.wanted: int | None = None
        """The count of a write that waits or is under way."""

    def allowed(self, pool: Pool, decision: Decision) -> Decision:
        """Return as much of a decision as may be carried out without touching running work."""
        deployment = self._registry.deployment(self._key)
        chooser = self._chooser(pool, decision)
        if chooser is None or not deployment or pool.dry_run:
            self.rest()
            return decision
        return chooser.allow(decision, deployment, pool.queue)

    def rest(self) -> None:
        """Let nobody be sent away for what was decided before."""
        if self._retirement is not None:
            self._retirement.rest()

    def ask(self, deployment: DeploymentRecord, decision: Decision, told: float | None) -> None:
        """Have a Deployment scaled, instead of what was asked for before."""
        priority = Priority.DOWN
        if decision.desired > deployment.replicas:
            priority = Priority.UP if deployment.replicas else Priority.WAKE
        self.wanted = decision.desired
        write = partial(self._carry_out, decision, told)
        self._writer.submit((self._key, "scale"), priority, write)

    def withdraw(self) -> None:
        """Take back what was asked for and has not begun."""
        if self.wanted is not None:
            self.wanted = None
            self._writer.discard((self._key, "scale"))

    def missed(self) -> None:
        """Take in that what was to be written to does not exist."""
        self.wanted = None

    def close(self) -> None:
        """Write nothing any more."""
        self.withdraw()
        if self._retirement is not None:
            self._retirement.close()

    async def call_back(self) -> None:
        """After `close`, give pods their work back that were closed and will not go."""
        if self._retirement is not None:
            await self._retirement.call_back()

    async def _carry_out(self, decision: Decision, told: float | None) -> None:
        # As known now, not when it was decided: what became known since led to this same count.
        record, deployment = self._registry.pool(self._key), self._registry.deployment(self._key)
        pool = record.pool if record is not None else None
        if pool is None or not complete(deployment, pool):
            self.wanted = None
            return
        try:
            scale = await self._write(pool, deployment, decision)
        except Conflict:
            # Somebody else wrote meanwhile: look at it, and decide anew.
            self.wanted = None
            body = await self._cluster.read_deployment(deployment.key)
            self._registry.put_deployment(deployment_record(body), pool=self._key)
            # The watch may have told of it already, while this write was under way.
            self._registry.announce(self._key)
            return
        if scale is None:  # to be decided anew, by what is true by now
            self.wanted = None
            return
        if self.wanted == decision.desired:
            self.wanted = None
        self._done(deployment.replicas, decision, told)
        replicas = scale["spec"].get("replicas", 0)  # the API leaves a zero out
        self._registry.note_scale(self._key, replicas, version_of(scale))

    async def _write(
        self, pool: Pool, deployment: DeploymentRecord, decision: Decision
    ) -> Document | None:
        """Return the Scale as written; `None` if the pods that were to go may not go now."""
        key, version, replicas = deployment.key, deployment.version, decision.desired
        chooser = self._chooser(pool, decision)
        if chooser is None or replicas >= deployment.replicas:
            return await self._cluster.scale_deployment(key, replicas, version)
        async with chooser.lowering(replicas) as looked_at:
            if looked_at is None:
                return None
            return await self._cluster.scale_deployment(key, replicas, looked_at or version)

    def _chooser(self, pool: Pool, decision: Decision) -> Retirement | None:
        """Return who chooses the pods that go, if it matters which."""
        # Who keeps no leases is not known to be idle, and the Redis of others is not written to.
        if pool.at_most_once:
            return None
        # What no kubelet took in has no job, goes before all others, and must not wait: each
        # moment another one is made and turned away.
        return None if decision.reason is Reason.PODS_REJECTED else self._retirement
