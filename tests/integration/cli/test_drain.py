"""A pool that a fake kubectl keeps, a real worker as its only pod, a real Redis."""

import signal
from datetime import timedelta

import pytest
import redis

from image_worker.keys import keys_of
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.settings import RedisSettings
from integration.cli.conftest import Tool, Workers
from support.photos import Photo
from support.waiting import eventually
from unit.cli.stage import Cluster, pool_body
from workerpool_cli.pool import RESOURCE
from workerpool_cli.queues import Queue


@pytest.fixture
def pooled(tool: Tool, cluster: Cluster) -> Tool:
    """Return the tool with a pool `images` for its queue."""
    tool.environ |= {"KUBECTL": cluster.program, "FAKE_KUBECTL": str(cluster.folder)}
    tool.environ["KUBERNETES_SERVICE_HOST"] = "inside"  # no port-forward
    place(tool, cluster)
    return tool


def place(tool: Tool, cluster: Cluster, **state: object) -> None:
    queue = {"list": tool.name, "redis": {"url": tool.server.url}}
    body = pool_body(queue=queue, job={"timeoutSeconds": 20, "maxAttempts": 5})
    cluster.set(deployment={"images-worker": {}}, **{RESOURCE: {"images": body}}, **state)


def verbs(cluster: Cluster) -> list[str]:
    return [next(word for word in call if not word.startswith("--")) for call in cluster.calls]


def test_workers_leave_without_losing_a_job(
    pooled: Tool, cluster: Cluster, workers: Workers, queue: Queue
) -> None:
    photo = Photo(1, width=2000, height=1500)
    (workers.photos / photo.filename).write_bytes(photo.jpeg())
    worker = workers.start()
    pooled.run("push", "-", stdin=f"{photo.filename}\n" * 10_000)
    eventually(lambda: queue.snapshot().stats.done, "a first photo is done")
    place(pooled, cluster, worker=worker.pid)
    done = pooled.run("drain", "images")
    assert done.returncode == 0, done.stderr
    assert "shop/images is drained: paused, no pods, nothing in flight" in done.stdout
    assert worker.wait(60) == 0
    seen = queue.snapshot()
    assert (seen.in_flight, seen.workers, seen.stats.failed) == ((), (), 0)
    assert seen.waiting
    assert seen.stats.done + seen.waiting == 10_000
    assert f"{seen.waiting:,} jobs for later" in done.stderr
    assert "workerpool resume images -n shop" in done.stderr
    assert cluster.state[RESOURCE]["images"]["spec"]["paused"] is True
    assert verbs(cluster).index("patch") < verbs(cluster).index("scale")


def test_finish_works_everything_off_before_it_pauses(
    pooled: Tool, cluster: Cluster, workers: Workers, queue: Queue
) -> None:
    for number in range(10):
        photo = Photo(number, width=64, height=48)
        (workers.photos / photo.filename).write_bytes(photo.jpeg())
    pooled.run("push", str(workers.photos))
    worker = workers.start()
    place(pooled, cluster, worker=worker.pid)
    done = pooled.run("drain", "images", "--finish", "--timeout", "50s")
    assert done.returncode == 0, done.stderr
    assert queue.snapshot().stats.done == 10
    assert "for later" not in done.stderr


def test_finish_that_takes_too_long_changes_nothing(
    pooled: Tool, cluster: Cluster, queue: Queue
) -> None:
    queue.push([b"{}"])
    done = pooled.run("drain", "images", "--finish", "--timeout", "1s")
    assert done.returncode == 4
    assert "nothing was changed" in done.stderr
    assert "patch" not in verbs(cluster)


def test_a_paused_pool_without_workers_will_never_finish(
    pooled: Tool, cluster: Cluster, queue: Queue
) -> None:
    queue.push([b"{}"])
    assert pooled.run("drain", "images").returncode == 0
    done = pooled.run("drain", "images", "--finish")
    assert done.returncode == 1
    assert "workerpool resume images" in done.stderr
    resumed = pooled.run("resume", "images")
    assert resumed.stdout == "shop/images is back: the operator scales it again\n"
    assert cluster.state[RESOURCE]["images"]["spec"]["paused"] is False
    assert pooled.run("resume", "images").stdout == "shop/images is not paused\n"


def test_a_pod_that_does_not_end_is_waited_for_and_named(
    pooled: Tool, cluster: Cluster, leases: Leases, queue: Queue
) -> None:
    queue.push([b"{}"])
    leases.claim("worker@stuck", "worker@stuck-1")
    place(pooled, cluster, pods=["stuck"])
    done = pooled.run("drain", "images", "--timeout", "10s")
    assert done.returncode == 4
    assert "1 pod left, 1 job of theirs in flight" in done.stderr


def test_jobs_of_workers_elsewhere_are_told_and_not_waited_for(
    pooled: Tool, leases: Leases, queue: Queue
) -> None:
    queue.push([b"1", b"2", b"3"])
    leases.claim("machine", "machine-1")
    leases.claim("worker+5f0c1a2b@another-pod", "worker+5f0c1a2b@another-pod-1")
    done = pooled.run("drain", "images", "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert "2 jobs in flight with workers that are not in its pods" in done.stderr
    assert "1 job for later" in done.stderr
    assert "ended hard" not in done.stderr


def test_a_job_of_a_pod_that_is_gone_is_waited_for_until_its_lease_ends(
    pooled: Tool, cluster: Cluster, client: "redis.Redis", queue: Queue, leases: Leases
) -> None:
    lease = "worker@images-worker-1-1"
    queue.push([b"{}"])
    leases.claim("worker@images-worker-1", lease)
    client.zadd(queue.keys.inflight, {lease: 9e15})
    place(pooled, cluster, pods=["images-worker-1"])
    process = pooled.start("drain", "images")
    eventually(lambda: "scale" in verbs(cluster), "it has met the pod")
    cluster.change(pods=[])
    before = len(verbs(cluster))
    eventually(lambda: len(verbs(cluster)) > before + 2, "it has seen that the pod is gone")
    assert process.poll() is None
    client.zadd(queue.keys.inflight, {lease: 1})
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "1 job of workers that ended hard" in told


def test_jobs_that_a_killed_worker_left_behind_are_reported(pooled: Tool, queue: Queue) -> None:
    link = connect(RedisSettings(pooled.server.url, None, None, None), "test")
    short = Leases(link, keys_of(pooled.name), timedelta(milliseconds=200))
    queue.push([b"{}"])
    short.claim("worker", "worker-1")
    link.close()
    done = pooled.run("drain", "images")
    assert done.returncode == 0
    assert "1 job of workers that ended hard" in done.stderr


def test_a_foreign_deployment_is_never_scaled(pooled: Tool, cluster: Cluster) -> None:
    state = cluster.state
    del state["deployment"]
    cluster.set(**state)
    done = pooled.run("drain", "images")
    assert done.returncode == 0
    assert "made no Deployment images-worker" in done.stderr
    assert "scale" not in verbs(cluster)


def test_an_interrupted_drain_can_be_taken_up_again(pooled: Tool, cluster: Cluster) -> None:
    place(pooled, cluster, pods=["slow"])
    process = pooled.start("drain", "images")
    eventually(lambda: "pods" in str(cluster.calls), "it waits for the pods")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    cluster.change(pods=[])
    assert pooled.run("drain", "images").returncode == 0
