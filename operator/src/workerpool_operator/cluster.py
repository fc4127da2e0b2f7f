"""What the operator asks of the API server, and nothing else it could ask.

The only module that knows the Kubernetes client. Answers are plain documents; failures are this
package's errors. Every request has a timeout: the library's own default is five minutes.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
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
    Throttled,
)
from workerpool_operator.resource import GROUP, PLURAL, VERSION, Key
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
        return await self._request("GET", _path(_APPS, "deployments", key))

    async def create_deployment(self, key: Key, manifest: Document, replicas: int) -> Document:
        """Create a Deployment with `replicas`, and keep that count out of later applies.

        Applied without a count, a new Deployment would start at one replica. So the owner sends
        it once, and the scaler claims the same value at once: what the owner leaves out of its
        next apply then stays, because somebody else still holds it. The digest comes with the
        claim, so that a Deployment without one is known to lack its last step.
        """
        metadata = {n: v for n, v in manifest["metadata"].items() if n != "annotations"}
        spec = manifest["spec"] | {"replicas": replicas}
        await self.apply_deployment(key, manifest | {"metadata": metadata, "spec": spec})
        claim = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": key.name, "annotations": manifest["metadata"]["annotations"]},
            "spec": {"replicas": replicas},
        }
        return await self._apply(_path(_APPS, "deployments", key), claim, SCALER)

    async def apply_deployment(self, key: Key, manifest: Document) -> Document:
        """Make a Deployment look like `manifest`, its replicas aside."""
        return await self._apply(_path(_APPS, "deployments", key), manifest, OWNER)

    async def scale_deployment(self, key: Key, replicas: int) -> Document:
        """Set a Deployment's replicas; return the Scale."""
        path = _path(_APPS, "deployments", key) + "/scale"
        body = {"spec": {"replicas": replicas}}
        return await self._request("PATCH", path, body, _MERGE, {"fieldManager": SCALER})

    async def write_status(self, key: Key, status: Document) -> None:
        """Merge `status` into a pool's; a field of `None` is removed."""
        path = _path(_POOLS, PLURAL, key) + "/status"
        query = {"fieldManager": OWNER}
        await self._request("PATCH", path, {"status": status}, _MERGE, query)

    async def create_event(self, namespace: str, event: Document) -> None:
        """Record an Event."""
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        await self._request("POST", path, event)

    async def read_secret(self, key: Key) -> dict[str, str]:
        """Return a Secret's entries, decoded; what is no text is left out."""
        secret = await self._request("GET", _path("/api/v1", "secrets", key))
        entries = {}
        for name, value in (secret.get("data") or {}).items():
            with suppress(UnicodeDecodeError):
                entries[name] = base64.b64decode(value).decode()
        return entries

    async def _apply(self, path: str, manifest: Document, manager: str) -> Document:
        query = {"fieldManager": manager, "force": "true"}
        return await self._request("PATCH", path, manifest, _APPLY, query)

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
                answer = await self._request("GET", path, query=page)
                items += answer["items"]
                token = answer["metadata"].get("continue")
                if not token:
                    break
                page["continue"] = token
        return items

    async def _request(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Document:
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
            answer = await self._api.call_api(
                method, url, headers, payload, _request_timeout=self._timeout
            )
            text = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError, client.ApiException) as error:
            words = str(error) or type(error).__name__
            raise ApplyFailed(f"the API server cannot be reached: {words}") from error
        if answer.status >= 300:  # noqa: PLR2004  everything above is no success
            raise _refusal(answer.status, answer.headers, text, f"{method} {path}")
        document: Document = json.loads(text)
        return document


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
        case 429 | 503:
            return Throttled(words, retry_after=patience)
        case _:
            return ApplyFailed(words)
