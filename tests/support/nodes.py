"""Nodes and bound pods where nobody runs a kubelet: written by hand into an API server."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from support.api_server import ApiServer, Document

_MERGE = "application/merge-patch+json"
_NODES = "/api/v1/nodes"
_numbers = itertools.count()


class Nodes:
    """What the tests made of them; all are taken away when the context ends."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._names: list[str] = []
        self._pods: list[str] = []

    def add(self, cores: int, *, labels: Mapping[str, str] | None = None) -> str:
        """Create a node that is ready, with so many cores to give; return its name."""
        name = f"by-hand-{next(_numbers)}"
        self._send("POST", _NODES, {"metadata": {"name": name, "labels": dict(labels or {})}})
        self._names.append(name)
        given = {"cpu": str(cores), "memory": "64Gi", "pods": "110"}
        status = {"status": {"allocatable": given, "capacity": given}}
        self._send("PATCH", f"{_NODES}/{name}/status", status)
        # The API server itself taints every new node as not ready yet.
        self._send("PATCH", f"{_NODES}/{name}", {"spec": {"taints": None}})
        return name

    def cordon(self, name: str, *, unschedulable: bool) -> None:
        """Do what `kubectl cordon` and `uncordon` do."""
        self._send("PATCH", f"{_NODES}/{name}", {"spec": {"unschedulable": unschedulable}})

    def bind(
        self, namespace: str, node: str, *, pool: str = "", cpu: str = "1", memory: str = "512Mi"
    ) -> str:
        """Create a pod that is bound to a node already; return its path."""
        name = f"pod-{next(_numbers)}"
        resources = {"requests": {"cpu": cpu, "memory": memory}}
        labels = {"workerpool.dev/pool": pool} if pool else {}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "nodeName": node,
                "containers": [
                    {"name": "worker" if pool else "main", "image": "i:1", "resources": resources}
                ],
            },
        }
        self._send("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self._pods.append(path)
        return path

    def take_in(self, path: str) -> None:
        """Do what a kubelet does with a pod that it is about to start."""
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        worker = {
            "name": "worker",
            "image": "i:1",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": waiting,
        }
        self._answer(path, {"phase": "Pending", "containerStatuses": [worker]})

    def turn_away(self, path: str, reason: str, message: str, *, minutes: float = 0) -> None:
        """Do what a kubelet does with a pod that it cannot take, or did so many minutes ago."""
        status = {"phase": "Failed", "reason": reason, "message": message}
        self._answer(path, status, minutes)

    def end(self, path: str) -> None:
        """Ask a pod to end; without a kubelet it goes on ending."""
        self._send("DELETE", path)

    def remove(self, path: str) -> None:
        """Take a pod away at once."""
        self._api.request("DELETE", f"{path}?gracePeriodSeconds=0")
        if path in self._pods:
            self._pods.remove(path)

    def clear(self) -> None:
        """Take everything away."""
        for path in list(self._pods):
            self.remove(path)
        for name in self._names:
            self._api.request("DELETE", f"{_NODES}/{name}")

    def _answer(self, path: str, status: Document, minutes: float = 0) -> None:
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        start = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._send("PATCH", f"{path}/status", {"status": status | {"startTime": start}})

    def _send(self, method: str, path: str, body: Document | None = None) -> None:
        kind = _MERGE if method == "PATCH" else "application/json"
        answer = self._api.request(method, path, body, content_type=kind)
        assert answer.code < 300, f"{method} {path}: {answer.code} {answer.message}"


@contextlib.contextmanager
def nodes_of(api: ApiServer) -> Iterator[Nodes]:
    """Return nodes for a while."""
    nodes = Nodes(api)
    try:
        yield nodes
    finally:
        nodes.clear()
