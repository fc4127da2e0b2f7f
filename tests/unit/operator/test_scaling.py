"""How a decided scale is carried out: whose leave it takes to go down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from support.workerpools import stored
from workerpool_operator.cluster import Cluster
from workerpool_operator.decide import NO_HISTORY
from workerpool_operator.model import Decision, Reason
from workerpool_operator.registry import DeploymentRecord, PoolRecord, Registry
from workerpool_operator.resource import Key, Pool, parse
from workerpool_operator.retirement import Retirement
from workerpool_operator.scaling import Scaling
from workerpool_operator.writer import Writer

pytestmark = pytest.mark.looptime

POOL = Key("shop", "images")
DEPLOYMENT = Key("shop", "images-worker")


class Api:
    """Takes every scale."""

    def __init__(self) -> None:
        self.scales: list[int] = []

    async def scale_deployment(self, key: Key, replicas: int, version: int) -> dict[str, Any]:
        assert (key, version) == (DEPLOYMENT, 7)
        self.scales.append(replicas)
        return {"metadata": {"resourceVersion": "8"}, "spec": {"replicas": replicas}}


class AllBusy:
    """A way down on which nobody may go."""

    def __init__(self) -> None:
        self.rests = 0

    def allow(self, decision: Decision, deployment: DeploymentRecord, queue: str) -> Decision:
        assert queue == "queue:images"
        return replace(decision, desired=deployment.replicas, reason=Reason.BUSY)

    def rest(self) -> None:
        self.rests += 1

    @asynccontextmanager
    async def lowering(self, replicas: int) -> AsyncIterator[int | None]:
        del replicas
        yield None

    def close(self) -> None:
        pass


class Stage:
    """A pool of three replicas, and the scale of its Deployment."""

    def __init__(self, changes: dict[str, object]) -> None:
        self.api, self.way_down, registry = Api(), AllBusy(), Registry()
        self.pool: Pool = parse(stored(changes))
        registry.put_pool(PoolRecord(POOL, self.pool.uid, 1, 1, self.pool))
        self.deployment = DeploymentRecord(
            DEPLOYMENT, self.pool.uid, 7, 3, ready=3, updated=True, applied="a", live="l"
        )
        registry.put_deployment(self.deployment)
        self.writer = Writer(limit=1, failed=lambda *_: None)
        self.scaling = Scaling(
            POOL,
            cast("Cluster", self.api),
            registry,
            self.writer,
            cast("Retirement", self.way_down),
            done=lambda *_: None,
        )

    async def carry_out(self, decision: Decision) -> list[int]:
        """Ask for a decision without being allowed to; return what was written."""
        self.scaling.ask(self.deployment, decision, None)
        await asyncio.sleep(1)
        await self.writer.close()
        return self.api.scales


def decision(desired: int, reason: Reason) -> Decision:
    return Decision(desired, reason, None, "words: so many", NO_HISTORY)


async def test_nobody_goes_who_may_not() -> None:
    stage = Stage({})
    wish = decision(1, Reason.BACKLOG)

    allowed = stage.scaling.allowed(stage.pool, wish)

    assert (allowed.desired, allowed.reason) == (3, Reason.BUSY)
    assert await stage.carry_out(wish) == []


async def test_growing_takes_nobodys_leave() -> None:
    assert await Stage({}).carry_out(decision(5, Reason.BACKLOG)) == [5]


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (Reason.PODS_REJECTED, {}),
        (Reason.BACKLOG, {"spec.queue.delivery": "at-most-once"}),
    ],
    ids=["no kubelet took them in", "nobody says who is at work"],
)
async def test_pods_without_a_known_job_go_at_once(
    reason: Reason, changes: dict[str, object]
) -> None:
    stage = Stage(changes)
    wish = decision(1, reason)

    assert stage.scaling.allowed(stage.pool, wish) is wish
    assert stage.way_down.rests == 1
    assert await stage.carry_out(wish) == [1]
