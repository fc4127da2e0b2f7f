"""Pools that scale somebody else's Deployment: is it there, and is its size nobody else's?

Such a Deployment carries no label of ours, so no watch reports it without reporting all of them.
It is looked at every few seconds instead; what is written in between needs its version, so that
nothing is overwritten unseen. Knows what to look for, and nothing of queues and decisions.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import (
    ApplyFailed,
    Forbidden,
    NotFound,
    TargetConflict,
    TargetMissing,
)
from workerpool_operator.registry import (
    DeploymentRecord,
    PoolRecord,
    Registry,
    deployment_record,
)
from workerpool_operator.resource import Key

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How old what is known of such a Deployment may be."""

Found = Callable[[Key, ApplyFailed | None], None]


class Targets:
    """Keeps the registry true to the Deployments that pools name in `spec.targetRef`."""

    def __init__(self, cluster: Cluster, registry: Registry, found: Found) -> None:
        """Tell `found` after each look what is in the way of scaling, or that nothing is."""
        self._cluster = cluster
        self._registry = registry
        self._found = found
        self._wake = asyncio.Event()

    def poke(self) -> None:
        """Have all of them looked at now."""
        self._wake.set()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            self._wake.clear()
            try:
                await self._look_at_all()
            except Exception:  # the edge of a task: the next look may do better
                log.exception("looking at the targets failed unexpectedly")
            # Never asyncio.wait_for(): before Python 3.12 it may swallow a cancellation.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _look_at_all(self) -> None:
        records = [r for r in self._registry.pools if r.pool and r.pool.target_deployment]
        autoscalers: dict[str, Sequence[Mapping[str, Any]]] = {}
        for record in records:
            namespace = record.key.namespace
            try:
                if namespace not in autoscalers:
                    autoscalers[namespace] = await self._cluster.list_autoscalers(namespace)
                await self._look(record, autoscalers[namespace])
            except (Forbidden, TargetMissing) as error:
                self._found(record.key, error)
            except ApplyFailed as error:  # what was known is the best there is
                log.warning("target not read: %s", error, extra={"pool": str(record.key)})

    async def _look(self, record: PoolRecord, autoscalers: Sequence[Mapping[str, Any]]) -> None:
        key = self._target(record)
        try:
            deployment = deployment_record(await self._cluster.read_deployment(key))
        except NotFound as error:
            self._registry.miss_deployment(record.key)
            raise TargetMissing(
                f"There is no Deployment {key}: create it, or name another one in "
                f"spec.targetRef.name",
            ) from error
        if self._registry.pool(record.key) is not record:
            return  # edited or gone meanwhile
        self._found(record.key, self._conflict(record, deployment, autoscalers))
        self._registry.put_deployment(deployment, pool=record.key)

    def _conflict(
        self,
        record: PoolRecord,
        deployment: DeploymentRecord,
        autoscalers: Sequence[Mapping[str, Any]],
    ) -> TargetConflict | None:
        """Return who else decides about the Deployment's size, if somebody does."""
        key = deployment.key
        if deployment.owner:
            return TargetConflict(
                f"The Deployment {key} has a controller already, which decides about it (see its "
                f"ownerReferences): name another one in spec.targetRef.name",
            )
        for autoscaler in autoscalers:
            ref = autoscaler["spec"]["scaleTargetRef"]
            if (ref["kind"], ref["name"]) == ("Deployment", key.name):
                name = autoscaler["metadata"]["name"]
                return TargetConflict(
                    f"The HorizontalPodAutoscaler {name} scales the Deployment {key}, too, and "
                    f"the two would fight: delete one of them",
                )
        rivals = [
            other
            for other in self._registry.pools
            if other.pool and other.pool.target_deployment and self._target(other) == key
        ]
        first = min(rivals, key=lambda r: (r.created, r.key), default=record)
        if first.key == record.key:
            return None
        return TargetConflict(
            f"The WorkerPool {first.key.name} scales the Deployment {key} already: delete one of "
            f"the two pools, or name another Deployment in spec.targetRef.name",
        )

    def _target(self, record: PoolRecord) -> Key:
        assert record.pool is not None  # noqa: S101  asked for those alone
        return Key(record.key.namespace, record.pool.target_deployment)
