"""One namespace of a cluster as its user sees it: pools, their Deployments, what was written."""

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from support.api_server import ApiServer
from support.pools import pool
from support.waiting import eventually

Document = dict[str, Any]

_MERGE = "application/merge-patch+json"
_POOLS = "/apis/workerpool.dev/v1alpha1/namespaces/{}/workerpools"
_DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
_numbers = itertools.count()


@dataclass(frozen=True)
class Write:
    """A Deployment as one write left it."""

    version: int
    replicas: int
    generation: int


class Shop:
    """A fresh namespace."""

    def __init__(self, api: ApiServer, redis_url: str) -> None:
        self.api = api
        self.redis_url = redis_url
        self.namespace = f"shop-{next(_numbers)}"
        self._request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    # --- pools

    def add(self, name: str = "images", /, **changes: object) -> None:
        """Create a pool whose list has the pool's name; `maxReplicas=3` changes its spec."""
        spec = {
            "spec.queue.list": f"{self.namespace}:{name}",
            "spec.queue.redis": {"url": self.redis_url},
            "spec.maxReplicas": 40,
            "spec.scaleDown": {"stabilizationSeconds": 1},
        }
        spec |= {f"spec.{path.replace('__', '.')}": value for path, value in changes.items()}
        body = pool(spec, name=name)
        self._request("POST", _POOLS.format(self.namespace), body)

    def edit(self, name: str = "images", /, **changes: object) -> None:
        """Change fields of a pool's spec."""
        self._request("PATCH", self._pool(name), {"spec": changes}, _MERGE)

    def remove(self, name: str = "images") -> None:
        """Delete a pool; the Deployment stays, for nobody collects garbage here."""
        self._request("DELETE", self._pool(name))

    def queue(self, name: str = "images") -> str:
        """Return what a pool's list is called."""
        return f"{self.namespace}:{name}"

    def status(self, name: str = "images") -> Document:
        """Return a pool's status."""
        return dict(self._request("GET", self._pool(name)).get("status") or {})

    def condition(self, kind: str, name: str = "images") -> tuple[str, str]:
        """Return a condition's status and reason."""
        for condition in self.status(name).get("conditions", ()):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def await_condition(self, kind: str, status: str, reason: str, name: str = "images") -> None:
        """Wait for a condition."""
        wanted = (status, reason)
        eventually(
            lambda: self.condition(kind, name) == wanted or None,
            lambda: f"{kind} {wanted} of {name}, which is {self.status(name)}",
        )

    def words(self, kind: str, name: str = "images") -> str:
        """Return a condition's message."""
        conditions = {c["type"]: c for c in self.status(name).get("conditions", ())}
        return str(conditions.get(kind, {}).get("message", ""))

    def await_words(self, kind: str, words: str, name: str = "images") -> None:
        """Wait until a condition's message contains these words."""
        eventually(
            lambda: words in self.words(kind, name),
            lambda: f"{words!r} of {name}, which says {self.words(kind, name)!r}",
        )

    def await_reason(self, reason: str, name: str = "images") -> None:
        """Wait for the reason of what was decided."""
        eventually(
            lambda: self.status(name).get("reason") == reason,
            lambda: f"the reason {reason} of {self.status(name)}",
        )

    def await_rest(self, name: str = "images") -> None:
        """Wait until an idle pool has said all that there is to say."""
        self.await_made(name)
        self.await_condition("Ready", "True", "Ready", name)
        self.await_reason("Idle", name)

    def events(self, reason: str = "") -> list[Document]:
        """Return what was told of the pools, oldest first."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        events = sorted(self._request("GET", path)["items"], key=lambda e: str(e["eventTime"]))
        return [e for e in events if reason in ("", e["reason"])]

    def event(self, reason: str) -> Document:
        """Return the only event of a reason: it is written beside the status, maybe after it."""
        (event,) = eventually(lambda: self.events(reason), f"an Event {reason}")
        return event

    # --- Deployments

    def deployment(self, name: str = "images") -> Document | None:
        """Return a pool's Deployment, if there is one."""
        answer = self.api.request("GET", self._deployment(name))
        return answer.body if answer.code == 200 else None

    def existing(self, name: str = "images") -> Document:
        """Return a pool's Deployment, which must be there."""
        found = self.deployment(name)
        assert found is not None, f"{name} has no Deployment"
        return found

    def pod(self, name: str = "images") -> Document:
        """Return the PodSpec in a pool's Deployment."""
        return dict(self.existing(name)["spec"]["template"]["spec"])

    def image(self, name: str = "images") -> str:
        """Return the image of a pool's first container."""
        return str(self.pod(name)["containers"][0]["image"])

    def replicas(self, name: str = "images") -> int | None:
        """Return what a pool's Deployment asks for, if there is one."""
        found = self.deployment(name)
        return None if found is None else int(found["spec"]["replicas"])

    def await_replicas(self, count: int, name: str = "images", *, seconds: float = 60) -> None:
        """Wait until a pool's Deployment asks for `count`."""
        eventually(
            lambda: self.replicas(name) == count, f"{count} replicas of {name}", seconds=seconds
        )

    def await_made(self, name: str = "images") -> None:
        """Wait until a pool's Deployment is made to its last step."""
        eventually(lambda: self._made(name), f"the digest of the Deployment of {name}")

    def _made(self, name: str) -> bool:
        found = self.deployment(name) or {"metadata": {}}
        return "workerpool.dev/manifest-digest" in found["metadata"].get("annotations", {})

    def change_deployment(self, change: Document, name: str = "images") -> Document:
        """Edit a Deployment by hand."""
        return self._request("PATCH", self._deployment(name), change, _MERGE)

    def scale_by_hand(self, count: int, name: str = "images") -> None:
        """Do what `kubectl scale` does."""
        path = f"{self._deployment(name)}/scale"
        self._request("PATCH", path, {"spec": {"replicas": count}}, _MERGE)

    def report_pods(self, ready: int, name: str = "images") -> None:
        """Say what the Deployment controller would say."""
        status = {"status": {"readyReplicas": ready, "replicas": ready}}
        self._request("PATCH", f"{self._deployment(name)}/status", status, _MERGE)

    def create_deployment(self, body: Document) -> Document:
        """Create a Deployment of one's own."""
        return self._request("POST", _DEPLOYMENTS.format(self.namespace), body)

    def remove_deployment(self, name: str = "images") -> None:
        """Delete a pool's Deployment."""
        self._request("DELETE", self._deployment(name))

    @contextlib.contextmanager
    def writes(self) -> Iterator["Writes"]:
        """Record every write of a Deployment from now on; at the end all of them are known."""
        path = _DEPLOYMENTS.format(self.namespace)
        version = self._request("GET", path)["metadata"]["resourceVersion"]
        recorder = Writes(self.api, path, int(version))
        recorder.start()
        try:
            yield recorder
            found = self._request("GET", path)["items"]
            recorder.catch_up(max((_version(item) for item in found), default=0))
        finally:
            recorder.stop()

    # --- Secrets

    def put_secret(self, name: str, **entries: str) -> None:
        """Create or replace a Secret."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        body = {"metadata": {"name": name}, "stringData": entries}
        if self.api.request("POST", path, body).code == 409:
            self._request("PUT", f"{path}/{name}", body)

    # --- plumbing

    def _pool(self, name: str) -> str:
        return f"{_POOLS.format(self.namespace)}/{name}"

    def _deployment(self, name: str) -> str:
        return f"{_DEPLOYMENTS.format(self.namespace)}/{name}-worker"

    def _request(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        content_type: str = "application/json",
    ) -> Document:
        answer = self.api.request(method, path, body, content_type=content_type)
        assert answer.code < 300, f"{method} {path}: {answer.code} {answer.message}"
        return answer.body

    def close(self) -> None:
        """Delete everything in it, so that nobody looks after it any longer."""
        for path in (_POOLS, _DEPLOYMENTS):
            self.api.request("DELETE", path.format(self.namespace))


class Writes(threading.Thread):
    """Watches Deployments, and keeps what each write made of them."""

    def __init__(self, api: ApiServer, path: str, version: int) -> None:
        super().__init__(daemon=True)
        self._connection = api.connection()
        self._connection.timeout = None  # there may be nothing to tell for long
        self._path = f"{path}?watch=1&resourceVersion={version}"
        self._latest = version
        self._seen: list[tuple[str, Write]] = []

    def run(self) -> None:
        try:
            self._connection.request("GET", self._path)
            for line in self._connection.getresponse():
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    self._keep(event["object"])
                if event["type"] != "ERROR":
                    self._latest = _version(event["object"])
        except (OSError, HTTPException, ValueError, AttributeError):
            pass  # stopped

    def catch_up(self, version: int) -> None:
        """Wait for word of all writes up to a version: it comes after they can be read."""
        eventually(lambda: self._latest >= version, f"word of the write {version}")

    def stop(self) -> None:
        """Stop watching."""
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.join(5)
        self._connection.close()

    def _keep(self, body: Document) -> None:
        meta = body["metadata"]
        write = Write(_version(body), int(body["spec"]["replicas"]), int(meta["generation"]))
        self._seen.append((meta["name"].removesuffix("-worker"), write))

    def of(self, name: str = "images") -> Sequence[Write]:
        """Return the writes of one pool's Deployment."""
        return [write for pool_name, write in list(self._seen) if pool_name == name]

    def counts(self, name: str = "images") -> list[int]:
        """Return the replicas after each write that changed them."""
        return [count for count, _ in itertools.groupby(w.replicas for w in self.of(name))]


def _version(body: Document) -> int:
    return int(body["metadata"]["resourceVersion"])
