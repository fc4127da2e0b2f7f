"""WorkerPool as the API server stores it ↔ the frozen records the rest works with.

Pure. The only place that knows the resource's field names; the API server has validated
(`manifests/crd.yaml`), so what `parse` refuses here got in before a rule existed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from workerpool_operator.errors import InvalidResource
from workerpool_operator.model import Policy

GROUP = "workerpool.dev"
VERSION = "v1alpha1"
PLURAL = "workerpools"
KIND = "WorkerPool"
DEFAULT_TARGET = {"backlogPerReplica": 10}
"""Kept here and not in the CRD: a stored default would collide with another kind of target."""


class Key(NamedTuple):
    """What names a pool in the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Redis, as seen by one user: pools that share it share its connection."""

    url: str
    """Never with credentials; the host is qualified, so it means the same everywhere."""
    secret: Key | None = None
    """The Secret that holds `username`, `password` and `ca.crt`, each optional."""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted, and the server's certificate checked."""
        return self.url.startswith("rediss://")


@dataclass(frozen=True, slots=True)
class Cpu:
    """How a worker pod owns processor time."""

    cores: int | None
    """Whole cores of its own (`Exclusive`), or `None` (`Shared`)."""
    request: str | None
    """A Kubernetes quantity (`Shared`), or `None` (`Exclusive`)."""

    @property
    def policy(self) -> str:
        """The policy's name in the resource."""
        return "Shared" if self.cores is None else "Exclusive"


@dataclass(frozen=True, slots=True)
class Job:
    """What one job may take."""

    timeout: timedelta
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A WorkerPool, parsed."""

    key: Key
    uid: str
    generation: int
    policy: Policy
    queue: str
    """The list's name in Redis."""
    endpoint: Endpoint
    redis_url: str
    """As the user wrote it: worker pods live in the pool's namespace and resolve it there."""
    cpu: Cpu
    memory: str
    job: Job
    template: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """A PodTemplateSpec to start from."""


def key_of(body: Mapping[str, Any]) -> Key:
    """Return the namespace and name of any namespaced object."""
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def parse(body: Mapping[str, Any]) -> Pool:
    """Return the pool that `body` describes.

    Raises:
        InvalidResource: naming the field that is missing or has the wrong type.
    """
    meta, spec = body["metadata"], body.get("spec", {})
    key = key_of(body)
    try:
        redis = spec["queue"]["redis"]
        secret = redis.get("secretRef")
        exclusive = spec["cpu"]["policy"] == "Exclusive"
        cores = int(spec["cpu"].get("cores", 1)) if exclusive else None
        return Pool(
            key=key,
            uid=meta["uid"],
            generation=meta["generation"],
            policy=Policy(
                min_replicas=int(spec["minReplicas"]),
                max_replicas=int(spec["maxReplicas"]),
                backlog_per_replica=int(spec.get("target", DEFAULT_TARGET)["backlogPerReplica"]),
                workers_per_replica=cores or 1,
                stabilization=timedelta(seconds=spec["scaleDown"]["stabilizationSeconds"]),
                paused=bool(spec.get("paused", False)),
            ),
            queue=str(spec["queue"]["list"]),
            endpoint=Endpoint(
                _qualify(redis["url"], key.namespace),
                Key(key.namespace, secret["name"]) if secret else None,
            ),
            redis_url=str(redis["url"]),
            cpu=Cpu(cores, None if exclusive else str(spec["cpu"]["request"])),
            memory=str(spec["memory"]),
            job=Job(
                timedelta(seconds=spec["job"]["timeoutSeconds"]),
                int(spec["job"]["maxAttempts"]),
            ),
            template=MappingProxyType(spec.get("template") or {}),
        )
    except KeyError as missing:
        raise InvalidResource(
            f"spec lacks the field {missing}; write the resource again (kubectl apply), so that "
            f"the installed CRD fills in its defaults",
        ) from missing
    except (TypeError, ValueError, AttributeError) as wrong:
        raise InvalidResource(
            f"spec has a field of the wrong type ({wrong}); see kubectl explain workerpool.spec",
        ) from wrong


def _qualify(url: str, namespace: str) -> str:
    """Make a bare service name mean the pool's namespace, as it does inside its pods.

    `redis://redis:6379/0` in namespace `shop` is read at `redis.shop.svc`.
    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or "." in host or ":" in host or host == "localhost":
        return url
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{host}.{namespace}.svc{port}"))


class Condition(NamedTuple):
    """One entry of `status.conditions`, without its bookkeeping."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def merge_conditions(
    previous: Sequence[Mapping[str, Any]],
    conditions: Sequence[Condition],
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """Return `conditions` in the API's form; a transition time moves only with its status.

    https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
    """
    before = {c["type"]: c for c in previous}
    merged = []
    for condition in conditions:
        old = before.get(condition.type)
        same = old is not None and old["status"] == condition.status
        since = old["lastTransitionTime"] if old is not None and same else timestamp(now)
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    return merged


def timestamp(at: datetime) -> str:
    """Return RFC 3339 with whole seconds and a `Z`, as `metav1.Time` has it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
