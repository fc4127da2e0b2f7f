"""WorkerPool as the API server stores it ↔ the frozen records the rest works with.

Pure. The only place that knows the resource's field names; the API server has validated
(`manifests/crd.yaml`), so what `parse` refuses here got in before a rule existed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from workerpool_operator.fields import Field
from workerpool_operator.limits import fallback, rate_limit, schedule
from workerpool_operator.model import Policy

GROUP = "workerpool.dev"
VERSION = "v1alpha1"
PLURAL = "workerpools"
KIND = "WorkerPool"
AT_LEAST_ONCE = "at-least-once"
AT_MOST_ONCE = "at-most-once"
SENTINEL_PORT = 26379
MASTER_URL = re.compile(r"rediss?://[A-Za-z0-9._-]+(/[0-9]*)?")
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
    sentinels: tuple[tuple[str, int], ...] = ()
    """Who says where the server is; then the URL has no host, but the master's name."""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted, and the server's certificate checked."""
        return self.url.startswith("rediss://")

    @property
    def master(self) -> str:
        """The name that the Sentinels know the server by; to them case matters."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Cpu:
    """How a worker pod owns processor time."""

    cores: int | None
    """Whole cores of its own (`Exclusive`), or `None` (`Shared`)."""
    request: str | None
    """A Kubernetes quantity (`Shared`), or `None` (`Exclusive`)."""
    threads_per_core: int = 1
    """Cores, as Kubernetes counts them, that one worker process is given."""

    @property
    def policy(self) -> str:
        """The policy's name in the resource."""
        return "Shared" if self.cores is None else "Exclusive"

    @property
    def requested(self) -> float:
        """Cores that one pod asks for."""
        if self.cores is not None:
            return float(self.cores)
        request = self.request or "0"
        return float(request.removesuffix("m")) / (1000 if request.endswith("m") else 1)


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
    at_most_once: bool = False
    """Whether workers take jobs for good: then nobody knows what is in flight."""
    template: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """A PodTemplateSpec to start from."""
    dry_run: bool = False
    """Whether decisions are only told, and nothing is written to the Deployment."""
    redis_sentinels: tuple[str, ...] = ()
    """As the user wrote them, likewise."""
    target_deployment: str = ""
    """The Deployment to scale, if it is somebody else's; else the pool has one of its own."""


def key_of(body: Mapping[str, Any]) -> Key:
    """Return the namespace and name of any namespaced object."""
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def parse(body: Mapping[str, Any]) -> Pool:
    """Return the pool that `body` describes.

    Raises:
        InvalidResource: naming the field that is missing or wrong.
    """
    meta, key = body["metadata"], key_of(body)
    spec = Field(body.get("spec"), "spec")
    queue, cpu, job = spec["queue"], spec["cpu"], spec["job"]
    redis, secret = queue["redis"], queue["redis"].get("secretRef")
    exclusive = cpu["policy"].text() == "Exclusive"
    cores = cpu.get("cores", 1).number() if exclusive else None
    threads = max(1, cpu.get("threadsPerCore", 1).number())
    url, sentinels = redis["url"], redis.get("sentinels", []).items()
    target = spec.get("target", DEFAULT_TARGET)
    drains, hurries = "drainSeconds" in target.mapping(), "maxWaitSeconds" in target.mapping()
    template, foreign = spec.get("template", {}), spec.get("targetRef")
    _check_template(template)
    return Pool(
        key=key,
        uid=meta["uid"],
        generation=meta["generation"],
        policy=Policy(
            min_replicas=spec["minReplicas"].number(),
            max_replicas=spec["maxReplicas"].number(),
            backlog_per_replica=1 if drains else target["backlogPerReplica"].number(),
            workers_per_replica=max(1, (cores or 1) // threads),
            stabilization=spec["scaleDown"]["stabilizationSeconds"].seconds(),
            paused=spec.get("paused", default=False).flag(),
            drain=target["drainSeconds"].seconds() if drains else None,
            max_wait=target["maxWaitSeconds"].seconds() if hurries else None,
            assumed_job=job.get("assumedSeconds", 1).seconds(),
            standby=spec.get("standbyReplicas", 0).number(),
            up_limit=rate_limit(spec.get("scaleUp", {}).get("limit")),
            down_limit=rate_limit(spec["scaleDown"].get("limit")),
            only_up=spec["scaleDown"].get("disabled", default=False).flag(),
            schedules=tuple(map(schedule, spec.get("schedules", []).items())),
            fallback=fallback(spec.get("fallback")),
        ),
        queue=queue["list"].text(),
        at_most_once=queue.get("delivery", AT_LEAST_ONCE).text() == AT_MOST_ONCE,
        endpoint=Endpoint(
            _master(url) if sentinels else _qualify(url, key.namespace),
            Key(key.namespace, secret["name"].text()) if secret.value is not None else None,
            tuple(_sentinel(address, key.namespace) for address in sentinels),
        ),
        redis_url=url.text(),
        redis_sentinels=tuple(address.text() for address in sentinels),
        cpu=Cpu(cores, None if exclusive else cpu["request"].text(), threads),
        memory=spec["memory"].text(),
        job=Job(job["timeoutSeconds"].seconds(), job["maxAttempts"].number()),
        template=MappingProxyType(template.mapping()),
        dry_run=spec.get("dryRun", default=False).flag(),
        target_deployment="" if foreign.value is None else foreign["name"].text(),
    )


def _check_template(template: Field) -> None:
    """Check what `workload` relies on; everything else is the API server's to judge.

    The CRD keeps `template.spec` as it was written, so anything may stand there.
    """
    template.get("metadata", {}).get("labels", {}).mapping()
    spec = template.get("spec", {})
    spec.get("terminationGracePeriodSeconds", 0).number()
    for volume in spec.get("volumes", []).items():
        volume["name"].text()
    for container in spec.get("initContainers", []).items():
        container.mapping()
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    for term in required.get("nodeSelectorTerms", []).items():
        for expression in term.get("matchExpressions", []).items():
            expression.get("values", []).items()
    for container in spec.get("containers", []).items():
        container["name"].text()
        for variable in container.get("env", []).items():
            variable["name"].text()
        for mount in container.get("volumeMounts", []).items():
            mount["mountPath"].text()


def _qualify(url: Field, namespace: str) -> str:
    """Make a bare service name mean the pool's namespace, as it does inside its pods.

    `redis://redis:6379/0` in namespace `shop` is read at `redis.shop.svc`.
    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
    """
    try:
        parts = urlsplit(url.text())
        host, port, database = parts.hostname, parts.port, parts.path.strip("/")
    except ValueError as error:
        raise url.wrong("redis://host[:port][/db]") from error
    if parts.scheme not in {"redis", "rediss"} or not host or not f"{database}0".isdecimal():
        raise url.wrong("redis://host[:port][/db]")
    qualified = _in_namespace(host, namespace)
    if qualified == host:
        return url.text()
    suffix = f":{port}" if port else ""
    return urlunsplit(parts._replace(netloc=f"{qualified}{suffix}"))


def _master(url: Field) -> str:
    """Check an address whose host is a name that Sentinels know, and no host."""
    if not MASTER_URL.fullmatch(url.text()):
        raise url.wrong("redis://NAME-OF-THE-MASTER[/db] where sentinels are given")
    return url.text()


def _sentinel(address: Field, namespace: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address.text()}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise address.wrong("host[:port]") from error
    if not host or parts.username or parts.path:
        raise address.wrong("host[:port]")
    return _in_namespace(host, namespace), port or SENTINEL_PORT


def _in_namespace(host: str, namespace: str) -> str:
    if "." in host or ":" in host or host == "localhost":
        return host
    return f"{host}.{namespace}.svc"


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
