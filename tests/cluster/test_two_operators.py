"""Two operators: one leads, and when it is killed under load the other goes on from there."""

import itertools
import json
import signal
from collections.abc import Iterator
from datetime import datetime
from random import Random

import pytest

from support.kubectl import Document
from support.product import CHART, Keep, MakePool, Product, is_ready, processes_of
from support.scale_in import Load, template
from support.waiting import eventually

LEASES = "/apis/coordination.k8s.io/v1/namespaces"
MOST_REPLICAS = 4


@pytest.fixture
def operators(product: Product) -> Iterator[list[Document]]:
    """Have the release run two operators, and one again when the test is over."""
    try:
        yield _operators(product, 2)
    finally:
        _operators(product, 1)
        product.await_operator()


def test_when_the_leader_is_killed_the_other_goes_on_from_there(
    product: Product, operators: list[Document], make_pool: MakePool, keep: Keep
) -> None:
    pool = make_pool(
        maxReplicas=MOST_REPLICAS, target={"backlogPerReplica": 2}, template=template()
    )
    load = Load(pool, Random(3), 1.0, 2.0)
    load.prepare()
    name = f"{product.release}-operator"
    collection = f"{LEASES}/{product.namespace}/leases"
    with product.kubectl.watch(collection, name) as lease, pool.watch_deployment() as deployment:
        lease.started()
        load.push(4)
        eventually(lambda: deployment.values("spec", "replicas")[-1][1] == 2, pool.story)
        leader = str(lease.values("spec", "holderIdentity")[-1][1])
        (pod,) = [pod for pod in operators if pod["metadata"]["name"] == leader]
        (other,) = {str(pod["metadata"]["name"]) for pod in operators} - {leader}
        for process in processes_of(pod):
            process.signal(signal.SIGKILL)  # so that it cannot give the lease back
        words = ("-n", product.namespace, "--force", "--grace-period=0")
        product.kubectl.run("delete", "pod", leader, *words)
        # Nobody leads for the lease's 10 s. Two workers do 20 of these by then, at the most: also
        # a leader that comes late finds work for four.
        load.push(16 * MOST_REPLICAS)
        load.await_done(seconds=120)
        pool.await_zero()
        lease.caught_up()
        deployment.caught_up()
        holders = [holder for _, holder in lease.values("spec", "holderIdentity")]
        terms = {sight.object["spec"]["holderIdentity"]: sight for sight in lease.sights}
        sizes = [count for _, count in deployment.values("spec", "replicas")]

    assert holders[-1] == other, "a standby that was warm, and not the newcomer"
    assert [holder for holder in holders if holder] == [leader, other], "one after the other"
    last, first = (terms[name].object["spec"] for name in (leader, other))
    silence = _time(first["acquireTime"]) - _time(last["renewTime"])
    keep("two_operators.json", json.dumps({"silence_seconds": silence, "sizes": sizes}))
    assert [count for count, _ in itertools.groupby(sizes)] == sizes
    top = sizes.index(MOST_REPLICAS)
    assert sizes[: top + 1] == [0, 2, MOST_REPLICAS], "nothing was forgotten, and nothing repeated"
    assert sizes[top:] == sorted(sizes[top:], reverse=True), f"it went up and down: {sizes}"
    assert sizes[-1] == 0
    counters = pool.counters()
    assert (counters.done, counters.remaining, counters.dead) == (load.pushed, 0, 0)
    assert counters.stats.get("crashed", 0) == 0
    assert load.interrupted() == []


def _operators(product: Product, count: int) -> list[Document]:
    """Have the release run so many, by helm, and return them when they are ready.

    Others of these tests apply the plain manifests, so that parts of the CRD are kubectl's.
    """
    product.kubectl.helm(
        *("upgrade", product.release, str(CHART), "--namespace", product.namespace),
        *("--reuse-values", f"--set=operator.replicas={count}", "--force-conflicts"),
        *("--wait", "--timeout=90s"),
    )

    def ready() -> list[Document] | None:
        pods = product.operator_pods()
        return pods if len(pods) == count and all(map(is_ready, pods)) else None

    return eventually(
        ready,
        lambda: product.kubectl.run("get", "pods", "-n", product.namespace, "-o", "wide"),
        every=0.2,
    )


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
