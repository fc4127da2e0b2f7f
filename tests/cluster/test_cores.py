"""One process, one core: what the pool asks for, what the kubelet grants, what the kernel does."""

from support.cores import core_of
from support.kubectl import Document, Kubectl
from support.photos import album
from support.product import MakePool, PhotoPool
from support.waiting import eventually

TOLD_SECONDS = 150
"""A queue at rest is read every 30 s, and only who is known by then is asked, every 10 s."""


def test_each_process_of_an_exclusive_pool_has_a_core_of_its_own(
    make_pool: MakePool, kubectl: Kubectl
) -> None:
    """Two nodes, one exclusive core each: a pod per node."""
    _refuse_occupied_cores(kubectl)
    pool = make_pool(minReplicas=2, maxReplicas=2, cpu={"policy": "Exclusive"}, memory="256Mi")
    pods = pool.await_ready(2)
    names = pool.put(album(20))
    pool.push(names)
    pool.await_done(len(names))

    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    assert {pod["status"]["qosClass"] for pod in pods} == {"Guaranteed"}
    cores = [core_of(pod) for pod in pods]
    assert len(set(cores)) == 2, f"not a core each: {cores}"
    # Each tells in its own time.
    both = "2 of 2 workers that tell of their cores are pinned to a core each."
    eventually(
        lambda: (_condition(pool, "CPUPinned") or {}).get("message") == both,
        pool.story,
        seconds=TOLD_SECONDS,
        every=0.5,
    )
    isolated = eventually(lambda: _condition(pool, "Isolated"), pool.story, every=0.5)
    # This machine is shared with everything else that the tests run: that may well be seen.
    assert isolated["reason"] in {"Undisturbed", "Crowded", "Stolen"}, isolated


def test_a_pool_that_must_stay_in_a_region_says_that_it_does(make_pool: MakePool) -> None:
    """Both nodes stand in the region `local`; the API server tells the pods so."""
    here = {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["local"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [here]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    pool = make_pool(minReplicas=1, maxReplicas=1, template={"spec": {"affinity": affinity}})
    pool.await_ready(1)
    inside = eventually(
        lambda: _condition(pool, "InRegion"), pool.story, seconds=TOLD_SECONDS, every=0.5
    )
    assert (inside["status"], inside["reason"]) == ("True", "Inside"), inside
    assert inside["message"] == "All 1 workers that tell are in local."


def _condition(pool: PhotoPool, kind: str) -> Document | None:
    """Return a condition of the pool, once workers have told of their cores."""
    told: list[Document] = pool.status().get("conditions", [])
    found = (c for c in told if c["type"] == kind and c["reason"] != "NoEvidence")
    return next(found, None)


def _refuse_occupied_cores(kubectl: Kubectl) -> None:
    """Any other pod's request, however small, leaves less than the one whole core of its node."""
    for pod in kubectl.get("pods", "--all-namespaces")["items"]:
        for container in pod["spec"]["containers"]:
            cpu = container.get("resources", {}).get("requests", {}).get("cpu", "0")
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            assert cpu == "0", f"{name} requests {cpu} of a core: run `make down` first"
