"""Every pool and Deployment the operator knows, in memory.

Filled by the watch plane and by the answers to the operator's own writes, whichever is newer;
read by everybody else. Holds slim records, no manifests, and does no I/O.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from workerpool_operator.resource import Key, Pool, key_of
from workerpool_operator.workload import DIGEST_ANNOTATION, digest, pool_key

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A WorkerPool as last seen."""

    key: Key
    uid: str
    version: int
    generation: int
    pool: Pool | None
    """`None` if the resource is invalid."""
    problem: str = ""
    """What is wrong with it, if it is invalid."""
    status: Status = field(default_factory=lambda: MappingProxyType({}))
    """Its status as last seen."""
    created: str = ""
    """When it was made, as the API server writes it: of two such texts, the older is less."""


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A worker Deployment as last seen."""

    key: Key
    owner: str
    """The uid of its controller, or an empty string."""
    version: int
    replicas: int
    ready: int
    updated: bool
    """Whether the Deployment controller has seen the latest spec."""
    applied: str
    """The digest of the manifest that was applied last."""
    live: str
    """The digest of its spec as it is, replicas aside: it changes when somebody edits it."""
    uid: str = ""


def deployment_record(body: Mapping[str, Any]) -> DeploymentRecord:
    """Return the record of a Deployment."""
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    owners = meta.get("ownerReferences") or ()
    return DeploymentRecord(
        key=key_of(body),
        owner=next((owner["uid"] for owner in owners if owner.get("controller")), ""),
        version=version_of(body),
        replicas=spec.get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        updated=status.get("observedGeneration", 0) >= meta.get("generation", 0),
        applied=(meta.get("annotations") or {}).get(DIGEST_ANNOTATION, ""),
        live=digest({name: spec[name] for name in spec if name != "replicas"}),
        uid=meta["uid"],
    )


def version_of(body: Mapping[str, Any]) -> int:
    """Return an object's resourceVersion as a number.

    Versions of one resource are comparable numbers, by Kubernetes' own promise since 1.35.
    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    return int(body["metadata"]["resourceVersion"])


class Registry:
    """The pools and Deployments known by now; listeners hear which pool changed.

    Lists, watches and answers to writes overtake each other, so the newest version wins; and a
    list that was taken before a deletion must not bring the deleted back.
    """

    def __init__(self) -> None:
        self._pools: dict[Key, PoolRecord] = {}
        self._deployments: dict[Key, DeploymentRecord] = {}
        self._gone_pools: dict[Key, int] = {}
        self._gone_deployments: dict[Key, int] = {}
        self._listeners: list[Callable[[Key], None]] = []

    def listen(self, listener: Callable[[Key], None]) -> None:
        """Call `listener` with a pool's key after anything known of the pool changed."""
        self._listeners.append(listener)

    def announce(self, pool: Key) -> None:
        """Have everybody look at a pool anew."""
        for listener in self._listeners:
            listener(pool)

    @property
    def pools(self) -> Iterable[PoolRecord]:
        """All pools."""
        return self._pools.values()

    @property
    def deployments(self) -> Iterable[DeploymentRecord]:
        """All worker Deployments."""
        return self._deployments.values()

    def pool(self, key: Key) -> PoolRecord | None:
        """Return the pool, if it is known."""
        return self._pools.get(key)

    def deployment(self, pool: Key) -> DeploymentRecord | None:
        """Return the pool's Deployment, if it is known."""
        return self._deployments.get(pool)

    def put_pool(self, record: PoolRecord) -> None:
        """Keep `record` unless something newer is known already.

        An echo of the operator's own status write tells nobody.
        """
        old = self._pools.get(record.key)
        if record.version < _newest(old, self._gone_pools.get(record.key)):
            return
        self._pools[record.key] = record
        if old is None or (old.uid, old.generation) != (record.uid, record.generation):
            self.announce(record.key)

    def drop_pool(self, key: Key, version: int) -> None:
        """Forget a pool that was deleted at `version`."""
        old = self._pools.get(key)
        if version < _newest(old, self._gone_pools.get(key)):
            return
        self._gone_pools[key] = version
        if old is not None:
            del self._pools[key]
            self.announce(key)

    def put_deployment(self, record: DeploymentRecord, *, pool: Key | None = None) -> None:
        """Keep `record` unless it is no pool's, or something newer is known already.

        Whose it is, its name says; `pool` says it of one that is not the pool's own.
        """
        pool = pool or self._owner(record.key)
        if pool is None:
            return
        old = self._deployments.get(pool)
        if old is not None and old.key != record.key:
            old = None  # the pool names another one by now: versions of two objects say nothing
        if record.version < _newest(old, self._gone_deployments.get(pool)):
            return
        self._deployments[pool] = record
        if record != old:
            self.announce(pool)

    def note_scale(self, pool: Key, replicas: int, version: int) -> None:
        """Take the answer to a scaling, ahead of the watch."""
        old = self._deployments.get(pool)
        if old is not None and old.version < version:
            new = replace(old, replicas=replicas, version=version, updated=False)
            self.put_deployment(new, pool=pool)

    def drop_deployment(self, key: Key, version: int) -> None:
        """Forget a Deployment that was deleted at `version`."""
        pool = self._owner(key)
        if pool is None:
            return
        old = self._deployments.get(pool)
        if version < _newest(old, self._gone_deployments.get(pool)):
            return
        self._gone_deployments[pool] = version
        if old is not None:
            del self._deployments[pool]
            self.announce(pool)

    def _owner(self, deployment: Key) -> Key | None:
        """Return whose Deployment goes by that name; a pool that scales another's has none."""
        pool = pool_key(deployment)
        record = self._pools.get(pool) if pool else None
        if record is not None and record.pool is not None and record.pool.target_deployment:
            return None
        return pool

    def miss_deployment(self, pool: Key) -> None:
        """Forget a Deployment that the API server says does not exist."""
        if self._deployments.pop(pool, None):
            self.announce(pool)

    def retain(self, pools: set[Key], deployments: set[Key]) -> None:
        """Forget whatever a full list did not contain: watches miss deletions."""
        for key in self._pools.keys() - pools:
            del self._pools[key]
            self.announce(key)
        for record in list(self._deployments.values()):
            pool = self._owner(record.key)
            if record.key not in deployments and pool in self._deployments:
                self.miss_deployment(pool)
        # The next list is taken after these deletions.
        self._gone_pools.clear()
        self._gone_deployments.clear()


def _newest(record: PoolRecord | DeploymentRecord | None, gone: int | None) -> int:
    """Return the version that something must have to be news."""
    return max(record.version if record is not None else 0, gone or 0)
