"""What the operator asks of the API server, and nothing else it could ask.

The only module that knows the Kubernetes client. Answers are plain documents; failures are this
package's errors. Every request has a timeout: the library's own default is five minutes.
"""

import base64
import json
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client, config

from workerpool_operator.errors import (
    ApplyFailed,
    Conflict,
    Forbidden,
    NotFound,
    NotLeading,
    Throttled,
)
from workerpool_operator.resource import GROUP, PLURAL, VERSION, Key
from workerpool_operator.victims import COST_ANNOTATION
from workerpool_operator.workload import MANAGED_BY, MANAGED_BY_LABEL

Document = dict[str, Any]

OWNER = "workerpool-operator"
"""Field manager of what is applied."""
SCALER = "workerpool-scaler"
"""Field manager of `spec.replicas`, so that applying a template never resets it."""

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PAGE = 500
_POOLS = f"/apis/{GROUP}/{VERSION}"
_APPS = "/apis/apps/v1"
_LEASES = "/apis/coordination.k8s.io/v1"


async def connect(*, request_seconds: float, connections: int) -> "Cluster":
    """Return the cluster named by KUBECONFIG, or the one this pod runs in.

    Raises:
        ApplyFailed: neither a kubeconfig nor a service account is there.
    """
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = connections
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise ApplyFailed(
            f"no cluster to talk to ({error}): set KUBECONFIG, or run in a pod with a service "
            f"account",
        ) from error
    return Cluster(client.ApiClient(configuration), request_seconds)


class Cluster:
    """The API server, narrowed to this operator's needs."""

    def __init__(self, api: client.ApiClient, timeout: float) -> None:
        self._api = api
        self._timeout = timeout
        self.write_seconds: Callable[[], float] = lambda: math.inf
        """For how long writes may still begin: asked before each one, and its bound, too."""

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._api.configuration.host)

    async def session(self) -> aiohttp.ClientSession:
        """Return a new HTTP session with this cluster's credentials, for the watch plane."""
        headers: dict[str, str] = {}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        # Each watch keeps a connection, and there are two in every namespace that is looked after:
        # with a limit, those beyond it would never begin. What reads alone opens no others.
        connector = aiohttp.TCPConnector(ssl=self._api.rest_client.ssl_context, limit=0)
        return aiohttp.ClientSession(connector=connector, headers=headers)

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()

    async def list_pools(self, namespaces: Sequence[str]) -> list[Document]:
        """Return all WorkerPools in `namespaces` (none named: in all)."""
        return await self._list(_POOLS, PLURAL, namespaces, {})

    async def list_deployments(self, namespaces: Sequence[str]) -> list[Document]:
        """Return all Deployments this operator manages in `namespaces` (none named: in all)."""
        selector = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}"}
        return await self._list(_APPS, "deployments", namespaces, selector)

    async def read_deployment(self, key: Key) -> Document:
        """Return a Deployment."""
        return await self.request("GET", _path(_APPS, "deployments", key))

    async def list_autoscalers(self, namespace: str) -> list[Document]:
        """Return the HorizontalPodAutoscalers of a namespace."""
        return await self._list(
            "/apis/autoscaling/v2", "horizontalpodautoscalers", [namespace], {}
        )

    async def follow(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, Document]]:
        """Yield all objects at `path` as SEEN, then LISTED, then every change as it comes.

        Raises:
            ApplyFailed: the API server cannot be asked, or has forgotten where this one stood.
        """
        page = {"limit": str(_PAGE), **query}
        while True:
            answer = await self.request("GET", path, query=page)
            for item in answer["items"]:
                yield "SEEN", item
            if not answer["metadata"].get("continue"):
                break
            page["continue"] = answer["metadata"]["continue"]
        yield "LISTED", {}
        watch = {"watch": "1", "allowWatchBookmarks": "true", **query}
        watch["resourceVersion"] = answer["metadata"]["resourceVersion"]
        while True:  # the server ends each watch after some minutes; the next one goes on there
            try:
                async for kind, item in self._watch(path, watch):
                    watch["resourceVersion"] = item["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        yield kind, item
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                words = str(error) or type(error).__name__
                raise ApplyFailed(f"the watch of {path} has ended: {words}") from error

    async def _watch(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, Document]]:
        # Bookmarks come once a minute: a watch that is silent for longer is dead.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=90)
        async with (
            await self.session() as session,
            session.get(
                self.server + path, params=query, timeout=patience, read_bufsize=2**21
            ) as answer,
        ):
            if answer.status >= 300:  # noqa: PLR2004  everything above is no success
                text = await answer.read()
                raise _refusal(answer.status, answer.headers, text, f"watch {path}")
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApplyFailed(f"watch {path}: {event['object'].get('message')}")
                yield event["type"], event["object"]

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

    async def list_pods(self, namespace: str, labels: Mapping[str, str]) -> list[Document]:
        """Return the pods that have all these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return await self._list("/api/v1", "pods", [namespace], {"labelSelector": selector})

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

    async def _list(
        self,
        api: str,
        plural: str,
        namespaces: Sequence[str],
        query: Mapping[str, str],
    ) -> list[Document]:
        paths = [f"{api}/namespaces/{quote(n)}/{plural}" for n in namespaces]
        items: list[Document] = []
        for path in paths or [f"{api}/{plural}"]:
            page: dict[str, str] = {"limit": str(_PAGE), **query}
            while True:
                answer = await self.request("GET", path, query=page)
                items += answer["items"]
                token = answer["metadata"].get("continue")
                if not token:
                    break
                page["continue"] = token
        return items

    async def request(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        *,
        fenced: bool = True,
    ) -> Document:
        """Send one request; a `fenced` one that writes needs the leader's right to write."""
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            method, url, headers, payload, _ = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            timeout = self._timeout
            if method != "GET" and fenced:
                # Last of all, and the bound of all that follows, a wait for a connection included.
                timeout = min(timeout, self.write_seconds())
                if timeout <= 0:
                    raise NotLeading
            answer = await self._api.call_api(
                method, url, headers, payload, _request_timeout=timeout
            )
            text = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError, client.ApiException) as error:
            words = str(error) or type(error).__name__
            raise ApplyFailed(f"the API server cannot be reached: {words}") from error
        if answer.status >= 300:  # noqa: PLR2004  everything above is no success
            raise _refusal(answer.status, answer.headers, text, f"{method} {path}")
        document: Document = json.loads(text)
        return document


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


def _refusal(
    status: int,
    headers: Mapping[str, str],
    text: bytes,
    what: str,
) -> ApplyFailed:
    """Return the error that an answer of the API server stands for.

    https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/#status-v1-meta
    """
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text[:200].decode(errors="replace")
    words = f"{what}: {status} {message}"
    retry_after = headers.get("Retry-After", "")
    patience = float(retry_after) if retry_after.isdecimal() else 1.0  # a proxy may send a date
    match status:
        case 403:
            return Forbidden(words)
        case 404:
            return NotFound(words)
        case 409:
            return Conflict(words)
        case 422 if "metadata.uid:" in message:  # another object under the same name
            return Conflict(words)
        case 429 | 503:
            return Throttled(words, retry_after=patience)
        case _:
            return ApplyFailed(words)
