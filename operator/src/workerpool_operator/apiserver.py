"""Speaks with the API server: a request, a list, a watch.

The only module that knows the Kubernetes client; it knows no kind of object. Answers are plain
documents; failures are this package's errors. Every request has a timeout: the library's own
default is five minutes.
"""

import json
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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

Document = dict[str, Any]

_PAGE = 500


async def log_in(*, connections: int) -> client.ApiClient:
    """Return a client of the cluster named by KUBECONFIG, or of the one this pod runs in.

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
    return client.ApiClient(configuration)


class ApiServer:
    """The API server of one cluster."""

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

    async def list_all(
        self,
        api: str,
        plural: str,
        namespaces: Sequence[str],
        query: Mapping[str, str],
    ) -> list[Document]:
        """Return all objects of a kind in `namespaces` (none named: in all)."""
        return [item async for item in self.each(api, plural, namespaces, query)]

    async def each(
        self,
        api: str,
        plural: str,
        namespaces: Sequence[str],
        query: Mapping[str, str],
    ) -> AsyncIterator[Document]:
        """Yield them page by page: thousands together take more memory than they are worth."""
        paths = [f"{api}/namespaces/{quote(n)}/{plural}" for n in namespaces]
        for path in paths or [f"{api}/{plural}"]:
            page: dict[str, str] = {"limit": str(_PAGE), **query}
            while True:
                answer = await self.request("GET", path, query=page)
                for item in answer["items"]:
                    yield item
                token = answer["metadata"].get("continue")
                if not token:
                    break
                page["continue"] = token

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
