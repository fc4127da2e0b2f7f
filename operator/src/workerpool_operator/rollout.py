"""Keeps one pool's Deployment as the pool wants it, its replicas aside.

Creates it, corrects edits by others, and never touches a Deployment that is not the pool's.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeGuard

from workerpool_operator import workload
from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import Conflict, NotFound
from workerpool_operator.registry import DeploymentRecord, Registry, deployment_record
from workerpool_operator.report import Document
from workerpool_operator.resource import Key, Pool
from workerpool_operator.writer import Priority, Writer

log = logging.getLogger(__name__)


def complete(deployment: DeploymentRecord | None, pool: Pool) -> TypeGuard[DeploymentRecord]:
    """Return whether there is a Deployment to scale: the pool's own, made to its last step.

    Until the last one (`Cluster.create_deployment`), scaling it would be undone by that step.
    """
    if pool.target_deployment:
        return deployment is not None and deployment.key.name == pool.target_deployment
    return deployment is not None and deployment.owner == pool.uid and bool(deployment.applied)


class Rollout:
    """One pool's manifest, and what is known of its being applied."""

    def __init__(
        self,
        key: Key,
        cluster: Cluster,
        registry: Registry,
        writer: Writer,
        *,
        done: Callable[[str], None],
    ) -> None:
        """Apply through `writer`; call `done` with what was created, or nothing, after each."""
        self._key = key
        self._cluster = cluster
        self._registry = registry
        self._writer = writer
        self._done = done
        self._applying = ""
        """The digest of the manifest whose apply waits or is under way."""
        self._live = ""
        """The digest of the Deployment's spec after the last apply: a difference is an edit."""

    def ensure(self, pool: Pool, manifest: Document) -> None:
        """Have the Deployment created or corrected if it is not as `manifest` says."""
        wanted = manifest["metadata"]["annotations"][workload.DIGEST_ANNOTATION]
        deployment = self._registry.deployment(self._key)
        if complete(deployment, pool):
            self._live = self._live or deployment.live
            if (deployment.applied, deployment.live) == (wanted, self._live):
                self._settle()
                return
            write = partial(self._apply, manifest, deployment)
        else:
            write = partial(self._create, pool, manifest)
        if self._applying == wanted:
            return
        self._applying = wanted
        self._writer.submit((self._key, "workload"), Priority.WORKLOAD, write)

    def missed(self) -> None:
        """Take in that what was to be written to does not exist."""
        self._applying = ""

    def close(self) -> None:
        """Apply nothing any more, unless `ensure` is called again."""
        self._applying = ""
        self._writer.discard((self._key, "workload"))

    def _settle(self) -> None:
        """Drop what would still be applied: the Deployment is as it is wanted."""
        if self._applying:
            self._applying = ""
            self.close()
        self._done("")

    async def _create(self, pool: Pool, manifest: Document) -> None:
        """Create the Deployment, unless the name is taken by somebody else's."""
        key = workload.deployment_key(pool.key)
        replicas = pool.policy.min_replicas
        try:
            found = deployment_record(await self._cluster.read_deployment(key))
        except NotFound:
            found = None
        if found is not None and found.owner != pool.uid:
            raise Conflict(
                f"A Deployment {key} exists and does not belong to this pool: delete or rename "
                f"it, or give the pool another name.",
            )
        if found is not None and found.applied:
            # Made long ago, and news to us: its size is not to be touched any more.
            await self._apply(manifest, found)
            return
        if found is not None:
            replicas = found.replicas
        body = await self._cluster.create_deployment(key, manifest, replicas)
        self._applied(body, created="" if found is not None else key.name)

    async def _apply(self, manifest: Document, seen: DeploymentRecord) -> None:
        """Correct the Deployment that was seen; if it is gone by now, forget it."""
        try:
            body = await self._cluster.apply_deployment(seen.key, manifest, seen.uid)
        except Conflict as error:
            raise NotFound(str(error)) from error
        self._applied(body, created="")

    def _applied(self, body: Document, *, created: str) -> None:
        record = deployment_record(body)
        self._live, self._applying = record.live, ""
        log.info(
            "Deployment applied", extra={"pool": str(self._key), "deployment": record.key.name}
        )
        self._done(created)
        self._registry.put_deployment(record)
