"""A rollout where every exclusive core is in use: one has to leave before the next can come."""

from random import Random

from support.kubectl import Document
from support.product import MakePool, PhotoPool, is_ready
from support.scale_in import Load, template
from support.waiting import eventually

MARK = {"shop.example.com/rolled": "yes"}


def test_a_full_exclusive_pool_is_rolled_out_and_no_job_is_cut_short(make_pool: MakePool) -> None:
    """Two nodes, one core each, a pod and a job on both."""
    pool = make_pool(
        maxReplicas=2, cpu={"policy": "Exclusive"}, memory="256Mi", template=template()
    )
    # Enough to do that both have a job whenever they are told to go, be that late.
    load = Load(pool, Random(1), shortest=2.0, longest=4.0)
    load.prepare()
    pool.apply(minReplicas=2)
    old = {pod["metadata"]["name"] for pod in pool.await_ready(2)}
    load.push(12)
    eventually(lambda: pool.counters().in_flight == 2, pool.story, every=0.05)

    pool.apply(template={**template(), "metadata": {"annotations": MARK}})

    pods = eventually(lambda: _rolled(pool), pool.story, seconds=60, every=0.2)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    load.await_done(seconds=90)
    stats = pool.counters().stats
    assert {name: stats.get(name, 0) for name in ("crashed", "failed", "dead")} == {
        "crashed": 0,
        "failed": 0,
        "dead": 0,
    }
    lived = load.lived()
    done = [line["job"] for lines in lived.values() for line in lines if "outcome" in line]
    assert len(done) == load.pushed, "each ran once"
    cut = {pod for pod, _ in load.interrupted()}
    assert cut, "told to go in the middle of a job, and finished it"
    assert cut <= old
    rejected = [pod["status"].get("reason") for pod in _all(pool)]
    assert set(rejected) == {None}, "no node turned a pod away"


def _all(pool: PhotoPool) -> list[Document]:
    found: list[Document] = pool.kubectl.get("pods", "-n", pool.namespace)["items"]
    return found


def _rolled(pool: PhotoPool) -> list[Document] | None:
    """Return the pods once both are of the new template and ready."""
    pods = pool.pods()
    marked = [p for p in pods if MARK.items() <= p["metadata"].get("annotations", {}).items()]
    return pods if len(pods) == len(marked) == 2 and all(map(is_ready, pods)) else None
