"""A WorkerPool as kubectl prints it → a frozen record.

Pure.  What is absent in a status is unknown, and stays None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workerpool_cli.errors import ClusterTrouble

RESOURCE = "workerpools.workerpool.dev"
POOL_LABEL = "workerpool.dev/pool"


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of the pool, as the operator sees it."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Pool:
    """What the tool needs to know of a pool."""

    namespace: str
    name: str
    list: str
    redis_url: str
    sentinels: tuple[str, ...]
    """Who knows the master, as `host:port`; with them the URL's host is the name they know."""
    secret: str | None
    min_replicas: int
    max_replicas: int
    paused: bool
    job_timeout_seconds: int
    generation: int
    observed_generation: int
    """The generation that the operator's last status is about."""
    replicas: int | None
    desired: int | None
    ready: int | None
    reason: str
    message: str
    conditions: tuple[Condition, ...]

    @property
    def deployment(self) -> str:
        """The Deployment that the operator makes for it."""
        return f"{self.name}-worker"


def parse(body: Mapping[str, Any]) -> Pool:
    """Read a WorkerPool."""
    try:
        meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
        redis = spec["queue"]["redis"]
        return Pool(
            namespace=meta["namespace"],
            name=meta["name"],
            list=spec["queue"]["list"],
            redis_url=redis["url"],
            sentinels=tuple(redis.get("sentinels") or ()),
            secret=(redis.get("secretRef") or {}).get("name"),
            min_replicas=spec["minReplicas"],
            max_replicas=spec["maxReplicas"],
            paused=spec.get("paused", False),
            job_timeout_seconds=spec["job"]["timeoutSeconds"],
            generation=meta["generation"],
            observed_generation=status.get("observedGeneration", 0),
            replicas=status.get("replicas"),
            desired=status.get("desiredReplicas"),
            ready=status.get("readyReplicas"),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            conditions=tuple(
                Condition(c["type"], c["status"], c["reason"], c["message"])
                for c in status.get("conditions", ())
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ClusterTrouble(
            f"the WorkerPool lacks {error}: is the installed CRD of this version? Apply it and "
            "the pool again"
        ) from error
