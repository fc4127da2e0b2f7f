"""How long from RPUSH to `spec.replicas`, as somebody who watches the Deployment sees it.

Each sample starts at zero replicas and at a random phase: 200 jobs are pushed in one command,
and a watch on the Deployment says when the first replicas, and when all 40, were written. Next
to each sample, in the same run, the bare round trip of one scale PATCH on another Deployment is
timed: the least that any operator could take.

Runs the operator as a process of this machine against the cluster in KUBECONFIG and a Redis of
its own. Prints one JSON line last.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import redis

from support.redis_server import RedisServer
from workerpool_operator.cluster import Cluster, connect
from workerpool_operator.errors import Conflict
from workerpool_operator.registry import version_of
from workerpool_operator.resource import Key

NAMESPACE = "bench-reaction"
JOBS, PER_REPLICA = 200, 5
REPLICAS = JOBS // PER_REPLICA
QUEUE = "queue:bench"
KUBECTL = os.environ.get("KUBECTL", "kubectl")
WAIT_SECONDS = 60.0


def kubectl(*arguments: str, document: dict[str, Any] | None = None) -> str:
    """Run kubectl and return what it prints."""
    done = subprocess.run(
        [KUBECTL, *arguments],
        input=json.dumps(document) if document else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    if done.returncode != 0:
        sys.exit(f"kubectl {' '.join(arguments)}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return done.stdout


def check_cluster() -> None:
    """End with a word on what to do, unless there is a cluster of which no operator takes care."""
    if "KUBECONFIG" not in os.environ:
        sys.exit(
            "which cluster? Start one: `python3 -m localcluster up`, and "
            "KUBECONFIG=.cluster/kubeconfig make bench-reaction"
        )
    of_ours = ("--all-namespaces", "--selector", "app.kubernetes.io/name=workerpool")
    if found := kubectl("get", "deployments", *of_ours, "-o", "name"):
        sys.exit(f"{found.strip()} would scale the pool, too: remove it, or `make down` first")


def pool(redis_url: str) -> dict[str, Any]:
    """Return the pool under test; its pods stay unscheduled, so that nothing but writes counts."""
    return {
        "apiVersion": "workerpool.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "bench", "namespace": NAMESPACE},
        "spec": {
            "queue": {"list": QUEUE, "redis": {"url": redis_url}},
            "maxReplicas": 100,
            "target": {"backlogPerReplica": PER_REPLICA},
            "scaleDown": {"stabilizationSeconds": 0},
            "cpu": {"policy": "Shared", "request": "1m"},
            "memory": "16Mi",
            "template": {"spec": {"nodeSelector": {"workerpool.dev/bench": "nowhere"}}},
        },
    }


def bare_deployment() -> dict[str, Any]:
    """Return a Deployment to time the bare PATCH on."""
    container = {"name": "none", "image": "none"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bare", "namespace": NAMESPACE},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "bare"}},
            "template": {
                "metadata": {"labels": {"app": "bare"}},
                "spec": {
                    "containers": [container],
                    "nodeSelector": {"workerpool.dev/bench": "nowhere"},
                },
            },
        },
    }


@contextlib.contextmanager
def operator_process(log: Path) -> Iterator[None]:
    """Run the operator for this benchmark's namespace alone."""
    environment = os.environ | {
        "WORKERPOOL_WORKER_IMAGE": "none",
        "WORKERPOOL_WATCH_NAMESPACES": NAMESPACE,
        "WORKERPOOL_HTTP_PORT": "18099",
        # What is measured is the way of a decision, not room for pods that no node needs to run.
        "WORKERPOOL_CAPACITY": "false",
        "PYTHONWARNINGS": "default",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workerpool_operator"], env=environment, stderr=output
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


class ReplicaWatch:
    """Remembers when each replica count of the pool's Deployment was first seen."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._url = f"{cluster.server}/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
        self._session = session
        self._changed = asyncio.Condition()
        self.seen: list[tuple[float, int]] = []

    async def run(self) -> None:
        """Watch until cancelled."""
        query = {"watch": "true", "fieldSelector": "metadata.name=bench-worker"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._url, params=query, timeout=timeout) as answer:
            async for line in answer.content:
                at, replicas = time.perf_counter(), json.loads(line)["object"]["spec"]["replicas"]
                async with self._changed:
                    if not self.seen or self.seen[-1][1] != replicas:
                        self.seen.append((at, replicas))
                    self._changed.notify_all()

    async def until(self, replicas: int) -> None:
        """Wait for the latest count to be `replicas`."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.seen and self.seen[-1][1] == replicas)


@contextlib.asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[ReplicaWatch]:
    """Watch the pool's Deployment."""
    async with await cluster.session() as session:
        watch = ReplicaWatch(cluster, session)
        task = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            task.cancel()


async def patch(cluster: Cluster, deployment: Key, replicas: int) -> float:
    """Return the milliseconds of a request that writes the replicas."""
    while True:
        version = version_of(await cluster.read_deployment(deployment))
        start = time.perf_counter()
        try:
            await cluster.scale_deployment(deployment, replicas, version)
        except Conflict:
            continue  # the Deployment's own controller has just written
        return (time.perf_counter() - start) * 1000


async def measure(server: RedisServer, samples: int) -> dict[str, list[float]]:
    """Return the milliseconds of every sample."""
    figures: dict[str, list[float]] = {"first": [], "full": [], "patch": [], "writes": []}
    queue = redis.Redis.from_url(server.url)
    cluster = await connect(request_seconds=5, connections=4)
    bare = Key(NAMESPACE, "bare")
    try:
        async with watching(cluster) as watch:
            await watch.until(0)
            for number in range(samples):
                await asyncio.sleep(random.uniform(0.3, 0.8))  # the phase, not a wait
                figures["patch"].append(await patch(cluster, bare, 1 + number % 2))
                await asyncio.sleep(random.uniform(0.1, 0.4))  # likewise
                watch.seen.clear()
                start = time.perf_counter()
                queue.rpush(QUEUE, *range(JOBS))
                await watch.until(REPLICAS)
                counts = [(at, n) for at, n in watch.seen if n]
                figures["first"].append((counts[0][0] - start) * 1000)
                figures["full"].append((counts[-1][0] - start) * 1000)
                figures["writes"].append(len(counts))
                queue.delete(QUEUE)
                await watch.until(0)
    finally:
        await cluster.close()
    return figures


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)


def main() -> None:
    """Set up, measure, clean up, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--samples", type=int, default=50)
    options = arguments.parse_args()
    check_cluster()
    log = Path(".build/bench-reaction.log")
    log.parent.mkdir(exist_ok=True)
    kubectl("apply", "-f", "manifests/crd.yaml")
    kubectl("wait", "--for=condition=Established", "crd/workerpools.workerpool.dev")
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    kubectl("create", "namespace", NAMESPACE)
    try:
        with RedisServer() as server:
            kubectl("apply", "-f", "-", document=bare_deployment())
            kubectl("apply", "-f", "-", document=pool(server.url))
            with operator_process(log):
                kubectl(
                    "-n", NAMESPACE, "wait", "--for=condition=Ready", "wp/bench", "--timeout=60s"
                )
                figures = asyncio.run(measure(server, options.samples))
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--timeout=80s")
    version = json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    result = {
        "benchmark": "reaction",
        "samples": options.samples,
        "first_ms_p50": round(statistics.median(figures["first"]), 1),
        "first_ms_p99": percentile(figures["first"], 0.99),
        "full_ms_p50": round(statistics.median(figures["full"]), 1),
        "full_ms_p99": percentile(figures["full"], 0.99),
        "patch_ms_p50": round(statistics.median(figures["patch"]), 1),
        "patch_ms_p99": percentile(figures["patch"], 0.99),
        "writes_per_scale_out": statistics.mean(figures["writes"]),
        "ran_on": f"{os.cpu_count()} cores, {platform.machine()}, Kubernetes {version}, "
        f"Python {platform.python_version()}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
