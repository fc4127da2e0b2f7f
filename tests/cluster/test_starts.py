"""A pod that is told to go in the instant its container starts goes at once."""

import asyncio
import json
import os
from random import Random

import pytest

from support.product import POOL, Keep, MakePool
from support.starts import KILLED, Starts

STARTS = int(os.environ.get("STARTS", "12"))
SHARED = os.environ.get("STARTS_SHARED", "yes") == "yes"
"""`no` leaves the word to end to the kernel's rules for process 1: nine of ten pods miss it."""
MOST_MISSED = STARTS // 4
"""On busy machines one in some dozens is lost on its way through `runc init` (ADR 8)."""


@pytest.mark.timeout(180 + 4 * STARTS, func_only=True)
def test_hardly_a_pod_misses_the_word_to_end_while_its_container_starts(
    make_pool: MakePool, keep: Keep
) -> None:
    pool = make_pool(maxReplicas=1)
    deployment = pool.kubectl.get("deployment", f"{POOL}-worker", "-n", pool.namespace)
    template = deployment["spec"]["template"]
    template["spec"]["shareProcessNamespace"] = SHARED
    template["spec"]["terminationGracePeriodSeconds"] = 40  # less to wait for if it fails

    starts = Starts(pool.kubectl.kubeconfig, pool.namespace, template, Random(7))
    fates = asyncio.run(starts.run(STARTS))
    missed = [fate for fate in fates if fate.exit_code == KILLED]
    longest = round(max(fate.stayed for fate in fates), 1)
    figures = {"pods": len(fates), "missed": len(missed), "longest_seconds": longest}
    keep("starts.json", json.dumps(figures))
    assert len(missed) <= MOST_MISSED, missed
    assert any(fate.exit_code is not None for fate in fates), "none was told while it started"
