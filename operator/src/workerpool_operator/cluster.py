"""What the operator asks of the API server, and nothing else it could ask.

Knows the paths, the bodies and who owns which field; not how a request is sent.
"""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from workerpool_operator.apiserver import ApiServer, Document, log_in
from workerpool_operator.resource import GROUP, PLURAL, VERSION, Key
from workerpool_operator.victims import COST_ANNOTATION
from workerpool_operator.workload import MANAGED_BY, MANAGED_BY_LABEL

OWNER = "workerpool-operator"
"""Field manager of what is applied."""
SCALER = "workerpool-scaler"
"""Field manager of `spec.replicas`, so that applying a template never resets it."""
TAKEN_OVER_ANNOTATION = f"{GROUP}/taken-over-at-version"
"""On a Deployment whose closed pods were called back by another operator than had closed them."""

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_POOLS = f"/apis/{GROUP}/{VERSION}"
_APPS = "/apis/apps/v1"
_LEASES = "/apis/coordination.k8s.io/v1"


async def connect(*, request_seconds: float, connections: int) -> "Cluster":
    """Return the cluster named by KUBECONFIG, or the one this pod runs in.

    Raises:
        ApplyFailed: neither a kubeconfig nor a service account is there.
    """
    return Cluster(await log_in(connections=connections), request_seconds)


def label_query(selector: Mapping[str, Any]) -> str:
    """Write a selector as the API takes it in a query.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#list-and-watch-filtering
    """
    words = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], ",".join(rule.get("values") or ())
        words.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[rule["operator"]]
        )
    return ",".join(words)


class Cluster(ApiServer):
    """The API server, in this operator's words."""

    def each_pool(self, namespaces: Sequence[str]) -> AsyncIterator[Document]:
        """Yield all WorkerPools in `namespaces` (none named: in all)."""
        return self.each(_POOLS, PLURAL, namespaces, {})

    def each_deployment(self, namespaces: Sequence[str]) -> AsyncIterator[Document]:
        """Yield all Deployments this operator manages in `namespaces` (none named: in all)."""
        selector = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}"}
        return self.each(_APPS, "deployments", namespaces, selector)

    async def read_deployment(self, key: Key) -> Document:
        """Return a Deployment."""
        return await self.request("GET", _path(_APPS, "deployments", key))

    async def list_autoscalers(self, namespace: str) -> list[Document]:
        """Return the HorizontalPodAutoscalers of a namespace."""
        return await self.list_all(
            "/apis/autoscaling/v2", "horizontalpodautoscalers", [namespace], {}
        )

    async def create_deployment(self, key: Key, manifest: Document, replicas: int) -> Document:
        """Create a Deployment with `replicas`, and keep that count out of later applies.

        Applied without a count, a new Deployment would start at one replica. So the owner sends
        it once, and the scaler claims the same value at once: what the owner leaves out of its
        next apply then stays, because somebody else still holds it. The digest comes with the
        claim, so that a Deployment without one is known to lack its last step.
        """
        metadata = {n: v for n, v in manifest["metadata"].items() if n != "annotations"}
        spec = manifest["spec"] | {"replicas": replicas}
        await self._apply_as(OWNER, key, manifest | {"metadata": metadata, "spec": spec})
        claim = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": key.name, "annotations": manifest["metadata"]["annotations"]},
            "spec": {"replicas": replicas},
        }
        return await self._apply_as(SCALER, key, claim)

    async def apply_deployment(self, key: Key, manifest: Document, uid: str) -> Document:
        """Make the Deployment of that `uid` look like `manifest`, its replicas aside.

        Without the uid, one that was deleted meanwhile would be made anew by this very request,
        and without a count the API server starts it at one replica.

        Raises:
            Conflict: there is no Deployment of that uid (any more).
        """
        metadata = manifest["metadata"] | {"uid": uid}
        return await self._apply_as(OWNER, key, manifest | {"metadata": metadata})

    async def scale_deployment(self, key: Key, replicas: int, version: int) -> Document:
        """Set the replicas of a Deployment that was seen at `version`; return the Scale.

        Raises:
            Conflict: it has changed since, so what was decided then may be wrong now.
        """
        path = _path(_APPS, "deployments", key) + "/scale"
        body = {"metadata": {"resourceVersion": str(version)}, "spec": {"replicas": replicas}}
        return await self.request("PATCH", path, body, _MERGE, {"fieldManager": SCALER})

    async def touch_deployment(self, key: Key, version: int) -> None:
        """Change nothing that matters of a Deployment that was read at `version`.

        From then on the API server refuses a scale that was decided before.
        """
        metadata = {"annotations": {TAKEN_OVER_ANNOTATION: str(version)}}
        query = {"fieldManager": SCALER}
        path = _path(_APPS, "deployments", key)
        await self.request("PATCH", path, {"metadata": metadata}, _MERGE, query)

    async def list_pods(self, namespace: str, selector: Mapping[str, Any]) -> list[Document]:
        """Return the pods that a Deployment's selector chooses."""
        query = {"labelSelector": label_query(selector)}
        return await self.list_all("/api/v1", "pods", [namespace], query)

    async def price_pod(self, key: Key, cost: int) -> None:
        """Say how dear a pod is to be to its ReplicaSet when that has to delete some."""
        metadata = {"annotations": {COST_ANNOTATION: str(cost)}}
        query = {"fieldManager": SCALER}
        path = _path("/api/v1", "pods", key)
        await self.request("PATCH", path, {"metadata": metadata}, _MERGE, query)

    async def write_status(self, key: Key, status: Document) -> None:
        """Merge `status` into a pool's; a field of `None` is removed."""
        path = _path(_POOLS, PLURAL, key) + "/status"
        query = {"fieldManager": OWNER}
        await self.request("PATCH", path, {"status": status}, _MERGE, query)

    async def create_event(self, namespace: str, event: Document) -> None:
        """Record an Event."""
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        await self.request("POST", path, event)

    async def read_secret(self, key: Key) -> dict[str, str]:
        """Return a Secret's entries, decoded; what is no text is left out."""
        secret = await self.request("GET", _path("/api/v1", "secrets", key))
        entries = {}
        for name, value in (secret.get("data") or {}).items():
            with suppress(UnicodeDecodeError):
                entries[name] = base64.b64decode(value).decode()
        return entries

    async def _apply_as(self, manager: str, key: Key, manifest: Document) -> Document:
        query = {"fieldManager": manager, "force": "true"}
        path = _path(_APPS, "deployments", key)
        return await self.request("PATCH", path, manifest, _APPLY, query)


class LeaseInCluster:
    """One Lease of the cluster; writing it is what gives the right to write."""

    def __init__(self, cluster: Cluster, key: Key) -> None:
        self._cluster = cluster
        self._key = key

    async def read_lease(self) -> Document:
        """Return it.

        Raises:
            NotFound: there is none.
        """
        return await self._cluster.request("GET", _path(_LEASES, "leases", self._key))

    async def write_lease(self, spec: Document, version: str) -> Document:
        """Replace it if it has `version`; create it if that is empty.

        Raises:
            Conflict: it has another version, or exists already.
        """
        metadata = {"name": self._key.name, "namespace": self._key.namespace}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
        if version:
            method, path = "PUT", _path(_LEASES, "leases", self._key)
            metadata["resourceVersion"] = version
        else:
            method, path = "POST", f"{_LEASES}/namespaces/{quote(self._key.namespace)}/leases"
        return await self._cluster.request(
            method, path, body | {"metadata": metadata}, fenced=False
        )


def _path(api: str, plural: str, key: Key) -> str:
    return f"{api}/namespaces/{quote(key.namespace)}/{plural}/{quote(key.name)}"
