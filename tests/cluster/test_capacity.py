"""Exclusive cores run out and come back: two nodes, one core each, and nodes that are added.

The first two nodes own a real core each. An added one has real kubelet and pods, but no core that
is not also another's (docs/localcluster.md#more-nodes): it shows where pods are put and what
kubelets do with them, not that nobody disturbs them.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from localcluster.node import SHOWN_CORES_TAINT
from support.cores import affinities_of, core_of, granted_to
from support.kubectl import Document, Kubectl
from support.local_nodes import AddNode
from support.product import CLAIM, Keep, MakePool, PhotoPool, is_ready
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


def _await_limit(pool: PhotoPool, reason: str, words: str) -> str:
    """Wait until the pool tells of this limit; return all that it says."""

    def told() -> str:
        limit = _limit(pool)
        return limit[2] if limit[:2] == ("True", reason) and words in limit[2] else ""

    return eventually(told, pool.story, seconds=60, every=0.2)


def _await_no_limit(pool: PhotoPool) -> None:
    eventually(lambda: _limit(pool)[0] == "False", pool.story, seconds=60, every=0.2)


def _await_shortage(pool: PhotoPool, words: str) -> None:
    _await_limit(pool, "InsufficientCores", words)


def test_a_third_pod_waits_for_a_core_until_a_node_is_added(
    add_node: AddNode, make_pool: MakePool
) -> None:
    pool = make_pool(minReplicas=2, maxReplicas=3, cpu=EXCLUSIVE, memory="128Mi")
    pods = pool.await_ready(2)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    cores = [core_of(pod) for pod in pods]
    assert len(set(cores)) == 2, f"not a physical core each: {cores}"

    pool.apply(minReplicas=3)
    _await_shortage(pool, "1 core missing: 3 replicas wanted, and the nodes have room for 2")
    eventually(lambda: "Insufficient cpu" in _unscheduled(pool), pool.story, every=0.2)
    eventually(lambda: sum(map(is_ready, pool.pods())) == 2, pool.story, every=0.2)
    assert pool.replicas() == 3

    added = add_node("plain")

    pods = pool.await_ready(3)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2", added}
    (third,) = (pod for pod in pods if pod["spec"]["nodeName"] == added)
    assert core_of(third) in cores, "if it has one of its own, say so in this module's docstring"
    _await_no_limit(pool)


def test_a_kubelet_that_gives_out_whole_cores_is_not_asked_again_and_again(
    add_node: AddNode, make_pool: MakePool, keep: Keep
) -> None:
    """Its rejections are real. The two threads of its core are two real cores of this machine."""
    node = add_node("siblings")
    pool = make_pool(
        minReplicas=1, maxReplicas=1, cpu=EXCLUSIVE, memory="128Mi", template=_template(node)
    )
    message = _await_limit(pool, "PodsRejected", "1 of 1 replica has no place: the node")
    assert f"the node {node} gives out whole physical cores only" in message
    assert "set spec.cpu.cores: 2 and spec.cpu.threadsPerCore: 2" in message

    # Nobody is tried for 10 s; how many are made until the operator hears of the first that was
    # turned away is a matter of the machine's speed, and kept for people to see.
    pauses = eventually(lambda: _pauses(pool), pool.story, seconds=120, every=0.5)
    keep("rejections.txt", f"{list(map(str, _rejections(pool)))}\n{pool.story()}")
    assert min(pauses) > timedelta(seconds=8), f"tried again too soon: {pauses}"
    assert _limit(pool)[:2] == ("True", "PodsRejected"), "told until all have a place"

    pool.apply(cpu={**EXCLUSIVE, "cores": 2, "threadsPerCore": 2})

    pod = eventually(lambda: _ready_pod(pool), pool.story, seconds=60, every=0.2)
    assert pod["spec"]["nodeName"] == node
    granted = granted_to(pod)
    assert len(granted) == 2
    each = {frozenset({cpu}) for cpu in granted}
    # The pod is ready as soon as one of its processes is.
    eventually(lambda: set(affinities_of(pod)) == each, lambda: affinities_of(pod), every=0.1)
    _await_no_limit(pool)


def test_a_missing_core_is_told_and_used_as_soon_as_a_node_has_it(
    make_pool: MakePool, kubectl: Kubectl, one_node: str
) -> None:
    pool = make_pool(minReplicas=2, maxReplicas=2, cpu=EXCLUSIVE, memory="128Mi")
    (first,) = eventually(
        lambda: [p for p in pool.pods() if p["spec"].get("nodeName")], pool.story, seconds=60
    )
    assert first["spec"]["nodeName"] != one_node
    _await_shortage(pool, "1 core missing: 2 replicas wanted, and the nodes have room for 1")
    # One waits, for a cluster autoscaler to see.
    eventually(lambda: len(pool.pods()) == 2, pool.story, every=0.2)

    kubectl.run("uncordon", one_node)

    pods = pool.await_ready(2)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    _await_no_limit(pool)


def test_of_ten_pods_without_a_core_one_is_made(make_pool: MakePool) -> None:
    """And it tells how many cores are missing for all."""
    pool = make_pool(minReplicas=0, maxReplicas=12, cpu=EXCLUSIVE, memory="128Mi")
    pool.apply(minReplicas=12)
    _await_shortage(pool, "10 cores missing: 12 replicas wanted, and the nodes have room for 2")

    eventually(
        lambda: sorted(map(is_ready, pool.pods())) == [False, True, True], pool.story, every=0.2
    )
    assert pool.replicas() == 3


def _template(node: str) -> Document:
    """Return what a pool says whose pods are meant for that node, and for no other."""
    toleration = {"key": SHOWN_CORES_TAINT, "operator": "Exists"}
    worker = {
        "name": "worker",
        "volumeMounts": [{"name": "photos", "mountPath": "/photos"}],
    }
    return {
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [toleration],
            "containers": [worker],
            "volumes": [{"name": "photos", "persistentVolumeClaim": {"claimName": CLAIM}}],
        }
    }


def _rejections(pool: PhotoPool) -> list[datetime]:
    """Return when the pods were made that a kubelet turned away, in order."""
    reasons = ((pod["metadata"], pod["status"].get("reason")) for pod in pool.pods())
    return sorted(
        datetime.fromisoformat(metadata["creationTimestamp"])
        for metadata, reason in reasons
        if reason == "SMTAlignmentError"
    )


def _pauses(pool: PhotoPool) -> list[timedelta]:
    """Return how long the pool stayed at zero each time, until it tried again."""
    changes = list(reversed(pool.status().get("history", ())))  # the oldest first
    return [
        datetime.fromisoformat(up["time"]) - datetime.fromisoformat(down["time"])
        for down, up in pairwise(changes)
        if (down["to"], up["to"]) == (0, 1)
    ]


def _ready_pod(pool: PhotoPool) -> Document | None:
    return next(filter(is_ready, pool.pods()), None)


def _unscheduled(pool: PhotoPool) -> str:
    """Return why a pod of the pool cannot be placed; nothing if all are."""
    conditions = [c for pod in pool.pods() for c in pod["status"].get("conditions", [])]
    return next((c["message"] for c in conditions if c.get("reason") == "Unschedulable"), "")
