"""A reader and a real Redis Cluster: queues on each of its nodes, on the move, and cut off."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.redis_cluster import RedisCluster
from workerpool_operator.channel import Credentials
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.queues import QueueReader, Timing
from workerpool_operator.resource import Endpoint

QUEUE = "queue:images"
TIMING = Timing(tick=0.05, safety_poll=1, timeout=30, survey=0.1)
DEADLINE_SECONDS = 60.0


class Ears:
    """Keeps the latest reading of each queue, and asks for another one of what is unreadable."""

    def __init__(self) -> None:
        self.latest: dict[str, Backlog | Unreadable] = {}
        self.told: set[str] = set()
        self.surveyed: dict[str, Survey | Unreadable] = {}

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        self.latest[queue] = reading
        if told is not None:
            self.told.add(queue)
        return isinstance(reading, Unreadable)

    def on_survey(self, queue: str, survey: Survey | Unreadable) -> None:
        self.surveyed[queue] = survey

    async def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not what():
            assert time.monotonic() < deadline, f"latest: {self.latest}"
            await asyncio.sleep(0.005)

    async def until_waiting(self, queue: str, waiting: int) -> None:
        await self.until(lambda: self.latest.get(queue) == Backlog(waiting))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as running:
        yield running


@pytest.fixture
def client(cluster: RedisCluster) -> Any:  # noqa: ANN401  redis-py's
    client = cluster.client()
    client.flushall(target_nodes=client.ALL_NODES)
    return client


@pytest.fixture
def queues(cluster: RedisCluster) -> list[str]:
    """Name a queue on each node."""
    found: dict[int, str] = {}
    for number in range(1_000):
        name = f"queue:{number}"
        found.setdefault(cluster.owner(name).port, name)
    return list(found.values())


@asynccontextmanager
async def reading(ears: Ears, url: str, *queues: str) -> AsyncIterator[QueueReader]:
    async def credentials(_: Endpoint) -> Credentials:
        return Credentials()

    reader = QueueReader(Endpoint(url), ears, credentials, TIMING)
    for queue in queues:
        reader.add(queue)
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        assert not task.done(), f"a reader never ends by itself: {task!r}"
        task.cancel()
        await asyncio.wait({task}, timeout=DEADLINE_SECONDS)


async def test_queues_on_every_node_are_read_and_their_changes_told(
    cluster: RedisCluster,
    client: Any,  # noqa: ANN401
    queues: list[str],
) -> None:
    ears = Ears()
    assert len(queues) == 3
    async with reading(ears, cluster.nodes[0].url, *queues):
        for number, queue in enumerate(queues, 1):
            await ears.until_waiting(queue, 0)
            await asyncio.to_thread(client.rpush, queue, *(b"{}" for _ in range(number)))
            await ears.until_waiting(queue, number)
        await ears.until(lambda: ears.told == set(queues))
        for queue in queues:
            await asyncio.to_thread(client.zadd, f"{{{queue}}}:workers", {"w": 2**52})
        await ears.until(lambda: set(ears.surveyed) == set(queues))
        assert all(isinstance(survey, Survey) for survey in ears.surveyed.values())


async def test_a_queue_whose_slot_moves_is_read_where_it_went(
    cluster: RedisCluster,
    client: Any,  # noqa: ANN401
) -> None:
    ears = Ears()
    client.rpush(QUEUE, "1", "2")
    async with reading(ears, cluster.others(QUEUE)[0].url, QUEUE):
        await ears.until_waiting(QUEUE, 2)
        for _ in range(3):
            await asyncio.to_thread(cluster.move, QUEUE)
            await asyncio.to_thread(client.nodes_manager.initialize)
            waiting = await asyncio.to_thread(client.rpush, QUEUE, "next")
            await ears.until_waiting(QUEUE, waiting)


async def test_what_is_asked_about_a_queue_that_nobody_reads_is_answered_by_its_node(
    cluster: RedisCluster,
    client: Any,  # noqa: ANN401
    queues: list[str],
) -> None:
    """A pod may serve more queues than the one its pool is scaled on."""
    ears = Ears()
    home, *others = queues
    async with reading(ears, cluster.owner(home).url, home) as reader:
        await ears.until_waiting(home, 0)
        for queue in others:
            await asyncio.to_thread(client.rpush, queue, "job")
            assert await reader.ask(queue, [("LLEN", queue), ("LLEN", queue)]) == [1, 1]
        await asyncio.to_thread(client.rpush, home, "job")
        await ears.until_waiting(home, 1)
        assert set(ears.latest) == {home}


async def test_a_node_that_is_away_hides_its_own_queues_only(queues: list[str]) -> None:
    with RedisCluster(**{"cluster-require-full-coverage": "no"}) as cluster:
        ears = Ears()
        client = cluster.client()
        here, there = (next(q for q in queues if cluster.owner(q) is n) for n in cluster.nodes[:2])
        async with reading(ears, cluster.owner(here).url, here, there):
            await ears.until(lambda: {here, there} <= set(ears.latest))
            cluster.owner(there).kill()
            await ears.until(lambda: isinstance(ears.latest[there], Unreadable))
            await asyncio.to_thread(client.rpush, here, "1")
            await ears.until_waiting(here, 1)
            assert isinstance(ears.latest[there], Unreadable), "unknown is never zero"
            cluster.owner(there).start()
            await ears.until(lambda: isinstance(ears.latest[there], Backlog))
