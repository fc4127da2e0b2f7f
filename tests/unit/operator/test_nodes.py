"""A Cluster of which one node does not answer; on a virtual clock."""

import asyncio
from collections.abc import Sequence

import pytest

from workerpool_operator import nodes
from workerpool_operator.channel import Credentials
from workerpool_operator.errors import Moved, Unreadable
from workerpool_operator.model import Backlog
from workerpool_operator.nodes import AWAY_TIMES, Nodes
from workerpool_operator.resource import Endpoint

pytestmark = pytest.mark.looptime

TIMEOUT = 5.0
QUEUES = [f"queue-{number}" for number in range(50)]


class Link:
    """A connection to a node; nobody answers where all but one queue are said to be."""

    attempts = 0
    answers = False

    def __init__(self, url: str, _credentials: Credentials, _timeout: float) -> None:
        self.url = url
        self.tracking = True

    async def open(self, _invalidated: object) -> None:
        if "silent" in self.url:
            Link.attempts += 1
            if not Link.answers:
                await asyncio.sleep(TIMEOUT)
                raise Unreadable("does not answer in time")

    async def close(self) -> None:
        """Nothing is open."""

    async def read(self, queues: Sequence[str]) -> list[Backlog | Unreadable]:
        here = "silent" in self.url
        there = Moved("moved", host="silent", port=6379)
        return [Backlog(1) if here or name == "here" else there for name in queues]


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    monkeypatch.setattr(nodes, "TrackingConnection", Link)
    monkeypatch.setattr(Link, "attempts", 0)
    monkeypatch.setattr(Link, "answers", False)
    cluster = Nodes(Endpoint("redis://near:6379"), Credentials(), TIMEOUT)
    await cluster.open(lambda _: None)
    return cluster


async def test_a_node_that_does_not_answer_is_tried_once_for_all_its_queues(
    cluster: Nodes,
) -> None:
    *away, here = await cluster.read([*QUEUES, "here"])
    assert here == Backlog(1)
    assert {str(one) for one in away} == {"does not answer in time"}
    await cluster.read([*QUEUES, "here"])
    assert Link.attempts == 1
    assert asyncio.get_running_loop().time() == pytest.approx(TIMEOUT)


async def test_it_is_tried_again_after_a_while(cluster: Nodes) -> None:
    await cluster.read(QUEUES)
    Link.answers = True
    await asyncio.sleep(AWAY_TIMES * TIMEOUT)
    assert await cluster.read(QUEUES) == [Backlog(1)] * len(QUEUES)
