"""Redis or the operator goes away while there is work: nothing is lost or scaled wrongly."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from support.photos import Photo, album
from support.product import MakePool, PhotoPool, Product, is_ready
from support.waiting import eventually

SLOW = Photo(999, 4000, 3000)
"""12 megapixels as PNG: about 0.2 s of decoding on one core."""
STABILIZATION_SECONDS = 3


def test_redis_restarts_under_load_and_every_job_is_done(
    product: Product, make_pool: MakePool
) -> None:
    pool = make_pool(maxReplicas=2, target={"backlogPerReplica": 20})
    names = _slow_photos(pool, 60)
    with pool.watch_pool() as status, pool.watch_deployment() as deployment:
        pool.push(names)
        eventually(lambda: pool.counters().done >= 5, pool.story, seconds=60)
        name = f"{product.release}-redis-0"
        before = product.kubectl.get("pod", name, "-n", product.namespace)["metadata"]["uid"]
        product.kubectl.run("delete", "pod", name, "-n", product.namespace, "--wait=false")

        def is_back() -> bool:
            pod = product.kubectl.find("pod", name, "-n", product.namespace)
            return bool(pod and pod["metadata"]["uid"] != before and is_ready(pod))

        eventually(is_back, pool.story, seconds=60, every=0.2)
        counters = pool.await_done(len(names))
        pool.await_zero()
        reachable = [
            next(
                (c["status"] for c in conditions or () if c["type"] == "QueueReachable"), "Unknown"
            )
            for _, conditions in status.values("status", "conditions")
        ]
        lost_at, found_at = _outage(status.values("status", "reason"))
        sizes = deployment.values("spec", "replicas")

    told = [status for status, _ in itertools.groupby(reachable)]
    assert told == ["True", "False", "True"]
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
    pool = make_pool(maxReplicas=3, target={"backlogPerReplica": 10})
    names = _slow_photos(pool, 60)
    with pool.watch_deployment() as deployment, _sampling(pool) as backlogs:
        pool.push(names[:10])
        eventually(lambda: deployment.values("spec", "replicas")[-1][1] == 1, pool.story)
        (operator,) = product.operator_pods()
        words = ("-n", product.namespace, "--force", "--grace-period=0")
        product.kubectl.run("delete", "pod", operator["metadata"]["name"], *words)
        # Nobody is there to see these: the successor must find them by itself.
        pool.push(names[10:])
        product.await_operator(other_than=operator["metadata"]["uid"])
        pool.await_done(len(names))
        pool.await_zero()
        sizes = deployment.values("spec", "replicas")

    counts = [count for _, count in sizes]
    assert counts[:3] == [0, 1, 3]
    downs = [at for (_, a), (at, b) in itertools.pairwise(sizes) if b < a]
    needed_last = max(at for at, remaining in backlogs if remaining > 20)
    assert downs[0] >= needed_last + STABILIZATION_SECONDS - 0.5, "it went down under load"
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


def _outage(reasons: list[tuple[float, str | None]]) -> tuple[float, float]:
    """Return when the status began and when it ceased to say that the queue is unreachable."""
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
