"""The watch plane: copies WorkerPools and their Deployments into the registry.

The only module that knows kopf, and it uses the least of it: raw events, copied. No handlers
that write, no daemons, timers, indices, finalizers or peering: measured at thousands of objects,
they cost 20 to 40 times the CPU and thousands of writes (docs/adr/0001-kopf-only-watches.md).
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import kopf

from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import ApplyFailed, InvalidResource
from workerpool_operator.registry import PoolRecord, Registry, deployment_record, version_of
from workerpool_operator.resource import GROUP, PLURAL, VERSION, Key, key_of, parse
from workerpool_operator.settings import Settings
from workerpool_operator.workload import MANAGED_BY, MANAGED_BY_LABEL

log = logging.getLogger(__name__)


def pool_record(body: Mapping[str, Any]) -> PoolRecord:
    """Return the record of a WorkerPool; one that cannot be parsed says why."""
    meta = body["metadata"]
    identity = key_of(body), str(meta["uid"]), version_of(body), int(meta["generation"])
    status, created = dict(body.get("status") or {}), str(meta.get("creationTimestamp") or "")
    try:
        return PoolRecord(*identity, parse(body), status=status, created=created)
    except InvalidResource as error:
        return PoolRecord(*identity, None, str(error), status, created)


class Seen(NamedTuple):
    """What is kept of a WorkerPool's body."""

    key: Key
    version: int
    record: PoolRecord | None
    """`None` if it is being deleted: what it owned must not be made anew."""


def seen_pool(body: Mapping[str, Any]) -> Seen:
    """Take of a body what is kept."""
    deleted = body["metadata"].get("deletionTimestamp")
    return Seen(key_of(body), version_of(body), None if deleted else pool_record(body))


class Watch:
    """Keeps the registry true to the cluster."""

    def __init__(self, cluster: Cluster, registry: Registry, settings: Settings) -> None:
        self._cluster = cluster
        self._registry = registry
        self._settings = settings

    async def sweep(self) -> None:
        """List everything, and take it in; forget what is gone, as watches miss deletions.

        Raises:
            ApplyFailed: the API server could not be asked.
        """
        namespaces = self._settings.watch_namespaces
        known_pools = {record.key for record in self._registry.pools}
        known_deployments = {record.key for record in self._registry.deployments}
        # Bodies are many times as large as what is kept of them.
        pools = [seen_pool(body) async for body in self._cluster.each_pool(namespaces)]
        deployments = set()
        async for body in self._cluster.each_deployment(namespaces):
            deployments.add(key_of(body))
            self._registry.put_deployment(deployment_record(body))
        for seen in pools:
            self._take_pool(seen)
        # What appeared during the listing is newer than the list: it is kept.
        new_pools = {record.key for record in self._registry.pools} - known_pools
        new_deployments = {record.key for record in self._registry.deployments} - known_deployments
        self._registry.retain(
            new_pools | {seen.key for seen in pools},
            new_deployments | deployments,
        )

    def _take_pool(self, seen: Seen) -> None:
        """Keep a pool, or forget one that is gone."""
        if seen.record is None:
            self._registry.drop_pool(seen.key, seen.version)
        else:
            self._registry.put_pool(seen.record)

    async def sweep_for_ever(self, swept: Callable[[], None]) -> None:
        """Sweep in the safety poll's rhythm, and call `swept` after each."""
        while True:
            pause = self._settings.safety_poll_seconds * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(pause)
            try:
                await self.sweep()
                swept()
            except ApplyFailed as error:
                log.warning("sweep failed: %s", error)
            except Exception:  # the edge of a task: the next sweep may do better
                log.exception("sweep failed unexpectedly")

    async def run(self, stop: Callable[[], Awaitable[None]], ended: asyncio.Event) -> None:
        """Watch until `ended` is set or the process is told to stop, then call `stop`.

        kopf takes the signals.

        `stop` must end every task that began meanwhile: kopf takes them for its own, waits five
        seconds for them, and cancels them.
        """
        namespaces = self._settings.watch_namespaces
        async with AsyncExitStack() as stack:
            await kopf.operator(
                registry=self._handlers(stack, stop, ended),
                settings=self._kopf_settings(),
                namespaces=namespaces,
                clusterwide=not namespaces,
                standalone=True,
                stop_flag=ended,
                # kopf would ask for a user name, which a container's user does not have.
                identity=self._settings.pod_name,  # type: ignore[arg-type]  # a str, renamed
            )

    def _handlers(
        self,
        stack: AsyncExitStack,
        stop: Callable[[], Awaitable[None]],
        ended: asyncio.Event,
    ) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def login(**_: object) -> kopf.AiohttpSession:
            # Asked again when a token has expired: a new session carries the new token.
            session = await stack.enter_async_context(await self._cluster.session())
            return kopf.AiohttpSession(server=self._cluster.server, aiohttp_session=session)

        async def pool_event(event: Mapping[str, Any], **_: object) -> None:
            body = event["object"]
            if event["type"] == "DELETED":
                self._registry.drop_pool(key_of(body), version_of(body))
            else:
                self._take_pool(seen_pool(body))

        async def deployment_event(event: Mapping[str, Any], **_: object) -> None:
            body = event["object"]
            if event["type"] == "DELETED":
                self._registry.drop_deployment(key_of(body), version_of(body))
            else:
                self._registry.put_deployment(deployment_record(body))

        async def cleanup(**_: object) -> None:
            await stop()
            ended.set()  # or else kopf waits five seconds for its own task that waits for this

        kopf.on.login(registry=registry)(login)
        kopf.on.cleanup(registry=registry)(cleanup)
        kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(pool_event)
        kopf.on.event(
            "apps",
            "v1",
            "deployments",
            labels={MANAGED_BY_LABEL: MANAGED_BY},
            registry=registry,
        )(deployment_event)
        return registry

    def _kopf_settings(self) -> kopf.OperatorSettings:
        """Return kopf's settings: the one place where they are made."""
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False  # Events are ours, with our reasons
        settings.scanning.disabled = True  # the CRD is there before us; no right to list CRDs
        settings.networking.error_backoffs = _Backoffs()
        settings.networking.request_timeout = self._settings.request_timeout_seconds * 6
        settings.watching.label_selectors["apps", "v1", "deployments"] = (
            f"{MANAGED_BY_LABEL}={MANAGED_BY}"
        )
        return settings


class _Backoffs:
    """Seconds between attempts, jittered, without end: kopf exits the process where they end."""

    def __iter__(self) -> Iterator[float]:
        return (random.uniform(0.1, 2.0) for _ in itertools.count())  # noqa: S311  jitter
