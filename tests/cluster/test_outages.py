"""Redis or the operator goes away while there is work: nothing is lost or scaled wrongly."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from support.photos import Photo, album
from support.product import MakePool, PhotoPool, Product, is_ready, processes_of
from support.waiting import eventually

SLOW = Photo(999, 4000, 3000)
"""12 megapixels as PNG: about 0.2 s of decoding on one core."""
STABILIZATION_SECONDS = 10
LATE_SECONDS = 5
"""An operator that gets no processor for so long sees that little is left when it is."""


def test_redis_restarts_under_load_and_every_job_is_done(make_pool: MakePool) -> None:
    pool = make_pool(maxReplicas=2, target={"backlogPerReplica": 20})
    names = _slow_photos(pool, 60)
    with pool.watch_pool() as status, pool.watch_deployment() as deployment:
        pool.push(names)
        eventually(lambda: pool.counters().done >= 5, pool.story)
        with _without_redis(pool):
            eventually(lambda: _reason(pool) == "QueueUnreachable", pool.status, every=0.2)
        eventually(lambda: _reason(pool) != "QueueUnreachable", pool.status, every=0.2)
        counters = pool.await_done(len(names))
        pool.await_zero()
        status.caught_up()
        deployment.caught_up()
        reachable = [
            next(
                (c["status"] for c in conditions or () if c["type"] == "QueueReachable"), "Unknown"
            )
            for _, conditions in status.values("status", "conditions")
        ]
        lost_at, found_at = _outage(status.versions("status", "reason"))
        sizes = deployment.versions("spec", "replicas")

    assert (reachable[0], reachable[-1]) == ("True", "True")
    assert set(reachable) == {"True", "False"}
    assert [count for at, count in sizes if lost_at <= at <= found_at] == [], "held meanwhile"
    assert [count for at, count in sizes if at < lost_at] == [0, 2]
    assert counters.done == len(names)
    assert counters.stats.get("dead", 0) == 0
    assert {file.name for file in pool.thumbnails()} == {f"{name}.jpg" for name in names}
    notes = [event["reason"] for event in pool.events()]
    assert notes.index("QueueUnreachable") < notes.index("QueueReachable")


def test_an_operator_deleted_in_a_scale_out_is_replaced_without_a_jitter(
    product: Product, make_pool: MakePool
) -> None:
    pool = make_pool(
        maxReplicas=3,
        target={"backlogPerReplica": 10},
        scaleDown={"stabilizationSeconds": STABILIZATION_SECONDS},
    )
    names = _slow_photos(pool, 60)
    with pool.watch_deployment() as deployment, _sampling(pool) as backlogs:
        pool.push(names[:10])
        eventually(lambda: deployment.values("spec", "replicas")[-1][1] == 1, pool.story)
        (operator,) = product.operator_pods()
        words = ("-n", product.namespace, "--force", "--grace-period=0")
        product.kubectl.run("delete", "pod", operator["metadata"]["name"], *words)
        # Nobody is there to see these: the successor must find them by itself.
        pool.push(names[10:])
        with _idling(pool):
            product.await_operator(other_than=operator["metadata"]["uid"])
            eventually(lambda: deployment.values("spec", "replicas")[-1][1] == 3, pool.story)
        pool.await_done(len(names))
        pool.await_zero()
        deployment.caught_up()
        sizes = deployment.values("spec", "replicas")

    counts = [count for _, count in sizes]
    assert counts[:3] == [0, 1, 3]
    downs = [at for (_, a), (at, b) in itertools.pairwise(sizes) if b < a]
    needed_last = max(at for at, remaining in backlogs if remaining > 20)
    least_seconds = STABILIZATION_SECONDS - LATE_SECONDS
    assert downs[0] >= needed_last + least_seconds, "it went down under load"
    assert counts[2:] == sorted(counts[2:], reverse=True), f"it went up and down: {counts}"
    counters = pool.counters()
    assert counters.done == len(names)
    assert counters.stats.get("crashed", 0) == 0
    assert {file.name for file in pool.thumbnails()} == {f"{name}.jpg" for name in names}


def _slow_photos(pool: PhotoPool, count: int) -> list[str]:
    """Store one slow photo under many names."""
    first, *others = [f"IMG_{photo.number:04}.png" for photo in album(count)]
    pool.store(first, SLOW.png())
    for name in others:
        os.link(pool.folder / "in" / first, pool.folder / "in" / name)
    return [first, *others]


@contextmanager
def _without_redis(pool: PhotoPool) -> Iterator[None]:
    """End the Redis; start it again in the end."""
    run, name = pool.kubectl.run, f"statefulset/{pool.product.release}-redis"
    words = ("-n", pool.product.namespace)
    run("scale", name, "--replicas=0", *words)
    try:
        yield
    finally:
        run("scale", name, "--replicas=1", *words)
        run("rollout", "status", name, *words, "--timeout=120s", seconds=130)

    def answers() -> bool:
        try:
            return bool(pool.queue.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # the Service leads nowhere yet
            return False

    eventually(answers, "Redis does not answer", every=0.2)


@contextmanager
def _idling(pool: PhotoPool) -> Iterator[None]:
    """Hold the first worker there is, so that the work is not over before anybody has seen it."""
    pod = eventually(lambda: next(filter(is_ready, pool.pods()), None), pool.story, every=0.1)
    (child,) = [process for process in processes_of(pod) if process.is_child]
    child.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        child.signal(signal.SIGCONT)


def _reason(pool: PhotoPool) -> str:
    return str(pool.status()["reason"])


def _outage(reasons: list[tuple[int, str | None]]) -> tuple[int, int]:
    """Return the versions that began and ceased to say that the queue is unreachable."""
    lost = next(n for n, (_, reason) in enumerate(reasons) if reason == "QueueUnreachable")
    return reasons[lost][0], reasons[lost + 1][0]


@contextmanager
def _sampling(pool: PhotoPool) -> Iterator[list[tuple[float, int]]]:
    """Write down how many jobs remain, many times a second."""
    samples: list[tuple[float, int]] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            samples.append((time.monotonic(), pool.counters().remaining))

    thread = threading.Thread(target=sample, name="samples", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join(10)
