"""Pods that are told to go while their container starts, and what became of each.

A start is seen in the control groups of this machine, milliseconds after the runtime has made the
container's first process: the API server hears of it up to a second later, when all is over.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from kubernetes.aio import client, config

from localcluster import cgroups
from localcluster.layout import CGROUP
from workerpool_operator.cluster import Cluster

KILLED = 137
"""Exit code of a process that did not end within its grace period."""
AT_ONCE = 3
LATEST_SECONDS = 0.3
"""From the first process of a container to the word to go: Python has not even loaded by then."""
START_SECONDS = 60.0
REQUEST_SECONDS = 20.0
POLL_SECONDS = 0.005
_LABEL = "workerpool.dev/test-start"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a pod that was told to go."""

    pod: str
    told_after: float
    """Seconds from the container's first process to the word to go."""
    stayed: float
    """Seconds from then until the pod was gone."""
    exit_code: int | None
    """The container's; `None` if it never ran."""


@dataclass
class Starts:
    """Starts pods of one template in a namespace, and tells each to go at a random moment."""

    kubeconfig: Path
    namespace: str
    template: Mapping[str, Any]
    chance: Random
    name: str = "start"
    fates: list[Fate] = field(default_factory=list)
    _told: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def run(self, count: int) -> list[Fate]:
        """Start so many, some at a time, and return what became of each."""
        configuration = client.Configuration()
        await config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        cluster = Cluster(client.ApiClient(configuration), timeout=REQUEST_SECONDS)
        grace = self.template["spec"]["terminationGracePeriodSeconds"]
        watch = asyncio.create_task(self._watch(cluster, count))
        try:
            turns = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._one(cluster, turns, n) for n in range(count)))
            async with asyncio.timeout(grace + 60):
                await watch
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await cluster.close()
        return self.fates

    async def _one(self, cluster: Cluster, turns: asyncio.Semaphore, number: int) -> None:
        async with turns:
            path = f"/api/v1/namespaces/{self.namespace}/pods"
            metadata = {"name": f"{self.name}-{number}", "labels": {_LABEL: self.name}}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
            made = await cluster.request("POST", path, pod | {"spec": self.template["spec"]})
            uid, name = made["metadata"]["uid"], made["metadata"]["name"]
            async with asyncio.timeout(START_SECONDS):
                while not _container_has_begun(uid):  # noqa: ASYNC110  a control group tells nobody
                    await asyncio.sleep(POLL_SECONDS)
            seconds = self.chance.uniform(0, LATEST_SECONDS)
            await asyncio.sleep(seconds)
            self._told[name] = (seconds, asyncio.get_running_loop().time())
            await cluster.request("DELETE", f"{path}/{name}")

    async def _watch(self, cluster: Cluster, count: int) -> None:
        """Take in how pods go, until so many have gone."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        query = {"labelSelector": f"{_LABEL}={self.name}"}
        async for kind, pod in cluster.follow(path, query):
            if kind == "DELETED":
                name = pod["metadata"]["name"]
                seconds, at = self._told[name]
                stayed = asyncio.get_running_loop().time() - at
                self.fates.append(Fate(name, seconds, stayed, _exit_code(pod)))
            if len(self.fates) == count:
                return


def _container_has_begun(uid: str) -> bool:
    """Tell whether a pod has the first process of a container beside its sandbox."""
    tree = cgroups.mounted().processes / CGROUP
    for folder in tree.glob(f"*/kubepods/*/pod{uid}"):  # its own requests make it Burstable
        if sum(bool(_processes(group)) for group in folder.iterdir() if group.is_dir()) > 1:
            return True
    return False


def _processes(group: Path) -> str:
    try:
        return (group / "cgroup.procs").read_text()
    except OSError:
        return ""


def _exit_code(pod: Mapping[str, Any]) -> int | None:
    for status in pod["status"].get("containerStatuses") or ():
        ended = status["state"].get("terminated")
        if ended is not None:
            return int(ended["exitCode"])
    return None
