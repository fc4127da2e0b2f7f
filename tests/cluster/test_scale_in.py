"""Scale-in on real kubelets: idle pods go, and nobody's job is touched.

`make cluster-soak` does the same for longer, with jobs of 1 to 20 s.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from support.product import Keep, MakePool, PhotoPool, Product
from support.scale_in import Load, template
from support.waiting import eventually

CYCLES = int(os.environ.get("SCALE_IN_CYCLES", "4"))
LONGEST_SECONDS = float(os.environ.get("SCALE_IN_LONGEST_SECONDS", "6"))
SHORTEST_SECONDS = 1.0
MOST_REPLICAS = int(os.environ.get("SCALE_IN_REPLICAS", "6"))
LEAST_SCALE_INS = int(os.environ.get("SCALE_IN_LEAST", str(CYCLES)))
PATIENCE_SECONDS = 60 + 2 * LONGEST_SECONDS
SEED = int(os.environ.get("SCALE_IN_SEED", "1"))


@pytest.fixture
def load(make_pool: MakePool) -> Load:
    """A pool that follows its load down at once, with a worker for every job."""
    pool = make_pool(
        maxReplicas=MOST_REPLICAS,
        target={"backlogPerReplica": 1},
        scaleDown={"stabilizationSeconds": 0},
        template=template(),
    )
    load = Load(pool, Random(SEED), SHORTEST_SECONDS, LONGEST_SECONDS)
    load.prepare()
    return load


@pytest.mark.timeout(120 + CYCLES * PATIENCE_SECONDS, func_only=True)
def test_no_scale_in_interrupts_a_job(load: Load, keep: Keep) -> None:
    began = time.monotonic()
    for cycle in range(CYCLES):
        load.push(load.chance.randrange(MOST_REPLICAS // 2, 3 * MOST_REPLICAS // 2))
        load.await_begun()
        if cycle % 2:
            load.deed()
        load.await_most_done(seconds=PATIENCE_SECONDS)
        keep("scale_in.json", json.dumps(_figures(load, cycle + 1, began)))
    load.await_done(seconds=PATIENCE_SECONDS)
    load.pool.await_zero(seconds=PATIENCE_SECONDS)

    figures = _figures(load, CYCLES, began)
    keep("scale_in.json", json.dumps(figures))
    assert load.interrupted() == []
    assert figures["crashed"] == 0, "whoever was told to go finished its job or handed it back"
    counters = load.pool.counters()
    assert (counters.done, counters.remaining, counters.dead) == (load.pushed, 0, 0)
    assert figures["scale_ins"] >= LEAST_SCALE_INS, figures


def test_without_retirement_the_same_load_is_interrupted(
    product: Product, load: Load, keep: Keep
) -> None:
    """So that the test above can fail. What is interrupted is finished within its grace."""
    with _retirement_off(product, load.pool):
        for _ in range(10):
            load.push(MOST_REPLICAS)
            load.await_done(seconds=PATIENCE_SECONDS)
            if load.interrupted():
                break
    load.pool.await_zero(seconds=PATIENCE_SECONDS)
    keep("scale_in_without_retirement.json", json.dumps(load.account()))
    assert load.interrupted()
    counters = load.pool.counters()
    assert (counters.done, counters.remaining, counters.dead) == (load.pushed, 0, 0)


def _figures(load: Load, cycles: int, began: float) -> dict[str, Any]:
    seconds = round(time.monotonic() - began)
    return {"cycles": cycles, "seed": SEED, "seconds": seconds, **load.account()}


@contextmanager
def _retirement_off(product: Product, pool: PhotoPool) -> Iterator[None]:
    _set_retirement(product, pool, "off")
    try:
        yield
    finally:
        _set_retirement(product, pool, "on")


def _set_retirement(product: Product, pool: PhotoPool, value: str) -> None:
    """Start the operator anew, and wait until it looks after the pool."""
    name = f"deployment/{product.release}-operator"
    before = {pod["metadata"]["name"] for pod in product.operator_pods()}
    words = ("-n", product.namespace)
    product.kubectl.run("set", "env", name, f"WORKERPOOL_RETIREMENT={value}", *words)
    product.kubectl.run("rollout", "status", name, *words, "--timeout=120s", seconds=130)
    eventually(
        lambda: not before & {pod["metadata"]["name"] for pod in product.operator_pods()},
        pool.story,
        every=0.2,
    )
    product.await_operator()
    annotation = "karpenter.sh/do-not-disrupt"
    eventually(
        lambda: (annotation in pool.template_annotations()) == (value == "on"),
        pool.story,
        every=0.2,
    )
