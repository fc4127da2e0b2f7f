"""Pool → Deployment: the manifest the operator applies. Pure.

The user's `template` is the base. Over it go, first, defaults where the template is silent
(image, security, probes, volumes), then what the operator must own (labels, resources, the
queue's environment, the grace period).

`spec.replicas` is deliberately absent: replicas are written through `/scale` alone, so applying
a template can never undo a scaling (server-side apply owns only the fields it sends).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from workerpool_operator.placement import REGION, required_regions
from workerpool_operator.resource import AT_MOST_ONCE, GROUP, KIND, VERSION, Key, Pool

CONTAINER = "worker"
HTTP_PORT = 8081
USER = 65532
"""The image's user; `nonroot` in distroless images, and far from any real account."""
GRACE_SECONDS = 10
"""Beyond the job's timeout: to hand back, to say goodbye, to exit."""
CA_FOLDER = "/etc/workerpool/redis"
POOL_LABEL = f"{GROUP}/pool"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "workerpool-operator"
DIGEST_ANNOTATION = f"{GROUP}/manifest-digest"
PROTECTION = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""What keeps cluster autoscalers from emptying a node whose pods may be at work."""

_SUFFIX = "-worker"

Manifest = dict[str, Any]


def deployment_key(pool: Key) -> Key:
    """Return what the pool's Deployment is called."""
    return Key(pool.namespace, f"{pool.name}{_SUFFIX}")


def pool_key(deployment: Key) -> Key | None:
    """Return whose Deployment goes by that name; `None` if no pool's can.

    The name says it and not the label: labels are copied along with a manifest.
    """
    if not deployment.name.endswith(_SUFFIX):
        return None
    return Key(deployment.namespace, deployment.name.removesuffix(_SUFFIX))


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a short digest of a manifest, the same for equal manifests."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def deployment(pool: Pool, *, image: str, pull_policy: str, protected: bool = False) -> Manifest:
    """Return the Deployment for `pool`, to be applied server-side.

    `protected`: ask those who tidy up nodes to leave the pods alone, as scale-in does.
    """
    labels = {
        "app.kubernetes.io/name": "image-worker",
        MANAGED_BY_LABEL: MANAGED_BY,
        POOL_LABEL: pool.key.name,
    }
    key = deployment_key(pool.key)
    manifest: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": labels,
            "ownerReferences": [_owner(pool)],
        },
        "spec": {
            "selector": {"matchLabels": {POOL_LABEL: pool.key.name}},
            "revisionHistoryLimit": 2,
            "template": _pod_template(pool, labels, image, pull_policy),
        },
    }
    if pool.cpu.cores is not None:
        # A pod more than asked for would wait for a core that only those to be replaced can give.
        surge = {"maxSurge": 0, "maxUnavailable": "25%"}
        manifest["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": surge}
    if protected:
        metadata = manifest["spec"]["template"]["metadata"]
        metadata["annotations"] = PROTECTION | (metadata.get("annotations") or {})
    manifest["metadata"]["annotations"] = {DIGEST_ANNOTATION: digest(manifest)}
    return manifest


def _owner(pool: Pool) -> Manifest:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": pool.key.name,
        "uid": pool.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod_template(
    pool: Pool,
    labels: Mapping[str, str],
    image: str,
    pull_policy: str,
) -> Manifest:
    metadata = dict(pool.template.get("metadata") or {})
    spec = dict(pool.template.get("spec") or {})
    containers = [dict(c) for c in spec.get("containers") or []]
    worker = next((c for c in containers if c.get("name") == CONTAINER), None)
    if worker is None:
        worker = {"name": CONTAINER}
        containers.insert(0, worker)
    ours = "image" not in worker
    _complete_worker(worker, pool, image, pull_policy)

    volumes = list(spec.get("volumes") or [])
    if not any(volume["name"] == "tmp" for volume in volumes):
        volumes.append({"name": "tmp", "emptyDir": {}})
    if pool.endpoint.secret and pool.endpoint.tls:
        volumes.append(_ca_volume(pool.endpoint.secret.name))
    grace = int(pool.job.timeout.total_seconds()) + GRACE_SECONDS
    return {
        "metadata": metadata | {"labels": {**(metadata.get("labels") or {}), **labels}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _pod_security(),
            **_processes(spec, containers, ours=ours),
            **spec,
            "restartPolicy": "Always",  # a Deployment takes no other
            "containers": containers,
            "volumes": volumes,
            "terminationGracePeriodSeconds": max(
                grace,
                spec.get("terminationGracePeriodSeconds") or 0,
            ),
        },
    }


def _processes(spec: Manifest, containers: list[Manifest], *, ours: bool) -> Manifest:
    """Have the worker be an ordinary process, so that no word to end is lost while it starts.

    The kernel drops a SIGTERM for process 1 of a namespace that has not asked for it yet. Not with
    another container beside it: what decodes strangers' images must not see that one's processes.
    Nor for an image that is not ours: it may count on being process 1.
    """
    beside = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    return {"shareProcessNamespace": True} if ours and len(containers + beside) == 1 else {}


def _complete_worker(worker: Manifest, pool: Pool, image: str, pull_policy: str) -> None:
    """Fill in `worker`, the template's container of that name, in place."""
    if "image" not in worker:
        worker.setdefault("imagePullPolicy", pull_policy)
        worker["image"] = image
        worker.setdefault("ports", [{"name": "http", "containerPort": HTTP_PORT}])
        worker.setdefault("readinessProbe", _probe("/readyz", period=2, failures=3))
        worker.setdefault("livenessProbe", _probe("/healthz", period=10, failures=6))
    worker.setdefault("securityContext", _container_security())
    worker["resources"] = _resources(pool)
    owned = _environment(pool)
    names = {variable["name"] for variable in owned}
    kept = [v for v in worker.get("env") or [] if v["name"] not in names]
    worker["env"] = owned + kept
    mounts = list(worker.get("volumeMounts") or [])
    if not any(mount["mountPath"] == "/tmp" for mount in mounts):  # noqa: S108  a path in the pod
        mounts.append({"name": "tmp", "mountPath": "/tmp"})  # noqa: S108  likewise
    if pool.endpoint.secret and pool.endpoint.tls:
        mounts.append({"name": "redis-ca", "mountPath": CA_FOLDER, "readOnly": True})
    worker["volumeMounts"] = mounts


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _resources(pool: Pool) -> Manifest:
    """Return requests and limits.

    Exclusive: requests equal limits and the cores are whole, so the pod is Guaranteed and the
    kubelet's static CPU manager gives it cores of its own.
    https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/
    Shared: a request for its fair share, and no limit, so that idle cores are not wasted.
    """
    memory = {"memory": pool.memory}
    if pool.cpu.cores is None:
        return {"requests": {"cpu": pool.cpu.request, **memory}, "limits": memory}
    cores = {"cpu": str(pool.cpu.cores), **memory}
    return {"requests": cores, "limits": cores}


def _environment(pool: Pool) -> list[Manifest]:
    plain = {
        "WORKERPOOL_QUEUE": pool.queue,
        "WORKERPOOL_REDIS_URL": pool.redis_url,
        "WORKERPOOL_JOB_TIMEOUT_SECONDS": str(int(pool.job.timeout.total_seconds())),
        "WORKERPOOL_JOB_MAX_ATTEMPTS": str(pool.job.max_attempts),
        "WORKERPOOL_CPU_POLICY": pool.cpu.policy,
        "WORKERPOOL_NAMESPACE": pool.key.namespace,
        "WORKERPOOL_POOL": pool.key.name,
    }
    if pool.redis_sentinels:
        plain["WORKERPOOL_REDIS_SENTINELS"] = ",".join(pool.redis_sentinels)
        plain["WORKERPOOL_REDIS_SENTINEL_MASTER"] = pool.endpoint.master
    if pool.at_most_once:
        plain["WORKERPOOL_DELIVERY"] = AT_MOST_ONCE
    if pool.cpu.cores is not None:
        plain["WORKERPOOL_CORES"] = str(pool.cpu.cores)
        plain["WORKERPOOL_THREADS_PER_CORE"] = str(pool.cpu.threads_per_core)
    fields = {"WORKERPOOL_POD": "metadata.name", "WORKERPOOL_NODE": "spec.nodeName"}
    if required_regions(pool.template.get("spec") or {}) is not None:
        fields["WORKERPOOL_REGION"] = f"metadata.labels['{REGION}']"  # empty before 1.35
    variables: list[Manifest] = [{"name": n, "value": v} for n, v in plain.items()]
    variables += [
        {"name": n, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for n, path in fields.items()
    ]
    if pool.endpoint.secret:
        secret = pool.endpoint.secret.name
        for name, entry in (
            ("WORKERPOOL_REDIS_USERNAME", "username"),
            ("WORKERPOOL_REDIS_PASSWORD", "password"),
        ):
            reference = {"name": secret, "key": entry, "optional": True}
            variables.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    if pool.endpoint.secret and pool.endpoint.tls:
        variables.append({"name": "WORKERPOOL_REDIS_CA_FILE", "value": f"{CA_FOLDER}/ca.crt"})
    return variables


def _ca_volume(secret: str) -> Manifest:
    """Mount `ca.crt` of the Secret if it has one; nothing else of it becomes a file."""
    items = [{"key": "ca.crt", "path": "ca.crt"}]
    return {
        "name": "redis-ca",
        "secret": {"secretName": secret, "items": items, "optional": True},
    }


def _pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
