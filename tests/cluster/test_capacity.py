"""Exclusive cores run out and come back: two nodes, one core each, one of them cordoned."""

from collections.abc import Iterator

import pytest

from support.kubectl import Kubectl
from support.product import MakePool, PhotoPool, is_ready
from support.waiting import eventually

EXCLUSIVE = {"policy": "Exclusive"}


@pytest.fixture
def one_node(kubectl: Kubectl) -> Iterator[str]:
    """Take one of the two nodes out of scheduling; return its name."""
    kubectl.run("cordon", "node-2")
    yield "node-2"
    kubectl.run("uncordon", "node-2")


def _limit(pool: PhotoPool) -> tuple[str, str, str]:
    found = (c for c in pool.status().get("conditions", ()) if c["type"] == "ScalingLimited")
    return next(((c["status"], c["reason"], c["message"]) for c in found), ("", "", ""))


def _await_shortage(pool: PhotoPool, words: str) -> None:
    def told() -> bool:
        status, reason, message = _limit(pool)
        return (status, reason) == ("True", "InsufficientCores") and words in message

    eventually(told, pool.story, seconds=60, every=0.2)


def test_a_missing_core_is_told_and_used_as_soon_as_a_node_has_it(
    make_pool: MakePool, kubectl: Kubectl, one_node: str
) -> None:
    pool = make_pool(minReplicas=2, maxReplicas=2, cpu=EXCLUSIVE, memory="128Mi")
    (first,) = eventually(
        lambda: [p for p in pool.pods() if p["spec"].get("nodeName")], pool.story, seconds=60
    )
    assert first["spec"]["nodeName"] != one_node
    _await_shortage(pool, "1 core missing: 2 replicas wanted, and the nodes have room for 1")
    assert len(pool.pods()) == 2, "one waits, for a cluster autoscaler to see"

    kubectl.run("uncordon", one_node)

    pods = pool.await_ready(2)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    eventually(lambda: _limit(pool)[0] == "False", pool.story, seconds=60, every=0.2)


def test_of_ten_pods_without_a_core_one_is_made(make_pool: MakePool) -> None:
    """And it tells how many cores are missing for all."""
    pool = make_pool(minReplicas=0, maxReplicas=12, cpu=EXCLUSIVE, memory="128Mi")
    pool.apply(minReplicas=12)
    _await_shortage(pool, "10 cores missing: 12 replicas wanted, and the nodes have room for 2")

    eventually(lambda: sum(map(is_ready, pool.pods())) == 2, pool.story, seconds=60, every=0.2)
    assert (pool.replicas(), len(pool.pods())) == (3, 3)
