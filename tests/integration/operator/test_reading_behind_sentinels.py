"""A reader and Sentinels: it finds the master, follows a failover, and believes no replica."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from support.readers import running
from support.redis_server import RedisServer, free_port
from support.redis_stage import RedisStage
from support.sentinels import SentinelGroup
from workerpool_operator import nodes, sentinels
from workerpool_operator.channel import Credentials
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.queues import QueueReader, Timing
from workerpool_operator.resource import Endpoint

QUEUE = "queue:images"
TIMING = Timing(tick=0.05, safety_poll=0.2, timeout=30)
DEADLINE_SECONDS = 60.0


class Ears:
    """Keeps the latest reading."""

    def __init__(self) -> None:
        self.latest: Backlog | Unreadable | None = None

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        del queue, told
        self.latest = reading
        return False

    def on_survey(self, queue: str, survey: Survey | Unreadable) -> None:
        """Not asked here."""

    async def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not what():
            assert time.monotonic() < deadline, f"latest: {self.latest!r}"
            await asyncio.sleep(0.005)

    async def until_waiting(self, waiting: int) -> None:
        await self.until(lambda: self.latest == Backlog(waiting))

    async def until_trouble(self, reason: str, words: str) -> None:
        """Wait for a trouble, in these words: on a busy machine another may come first."""
        await self.until(
            lambda: (
                isinstance(self.latest, Unreadable)
                and self.latest.reason == reason
                and words in str(self.latest)
            )
        )


@pytest.fixture
def ears() -> Ears:
    return Ears()


class FakeSentinel:
    """Says what it is told to say, also what no real one would; with nothing to say, is silent."""

    def __init__(self) -> None:
        self.answer = b""
        self.port = 0
        self.asked: list[bytes] = []

    def name(self, port: int) -> None:
        """Name a master from now on."""
        self.answer = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while question := await reader.read(4096):
            self.asked.append(question)
            writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def fake_sentinels(count: int) -> AsyncIterator[list[FakeSentinel]]:
    fakes = [FakeSentinel() for _ in range(count)]
    async with AsyncExitStack() as stack:
        for fake in fakes:
            server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            fake.port = server.sockets[0].getsockname()[1]
        yield fakes


@asynccontextmanager
async def reading(
    ears: Ears, *ports: int, url: str = "redis://mymaster/0", password: str | None = None
) -> AsyncIterator[QueueReader]:
    async def credentials(_: Endpoint) -> Credentials:
        return Credentials(password=password)

    addresses = tuple(("127.0.0.1", port) for port in ports)
    reader = QueueReader(Endpoint(url, None, addresses), ears, credentials, TIMING)
    reader.add(QUEUE)
    async with running(reader):
        yield reader


async def test_a_failover_is_followed_to_the_new_masters_queue(ears: Ears) -> None:
    with SentinelGroup() as group:
        old, new = group.master.client(), group.replica.client()
        async with reading(ears, *group.ports):
            await ears.until_waiting(0)
            old.rpush(QUEUE, "1", "2")
            await ears.until_waiting(2)
            await ears.until(lambda: new.llen(QUEUE) == 2)
            group.master.kill()
            await asyncio.to_thread(group.await_failover)
            new.rpush(QUEUE, "3")
            await ears.until_waiting(3)


async def test_a_master_that_became_a_replica_and_keeps_its_clients_is_left(
    ears: Ears, stage: RedisStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "CONFIRM_SECONDS", 0.1)
    with RedisServer() as other:
        async with fake_sentinels(1) as [sentinel], reading(ears, sentinel.port):
            sentinel.name(stage.server.port)
            stage.client.rpush(QUEUE, "1")
            await ears.until_waiting(1)
            stage.client.replicaof("127.0.0.1", str(free_port()))
            try:
                await ears.until_trouble("NotMaster", "but a replica")
                other.client().rpush(QUEUE, "1", "2")
                sentinel.name(other.port)
                await ears.until_waiting(2)
            finally:
                stage.client.replicaof("NO", "ONE")


async def test_one_that_still_names_a_master_of_the_past_is_outvoted(
    ears: Ears, stage: RedisStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinels, "ANSWER_SECONDS", TIMING.timeout)
    stage.client.rpush(QUEUE, "1")
    with RedisServer() as past:
        async with fake_sentinels(3) as fakes:
            late, *others = fakes
            late.name(past.port)
            for fake in others:
                fake.name(stage.server.port)
            async with reading(ears, *(fake.port for fake in fakes)):
                await ears.until_waiting(1)


async def test_those_who_are_away_or_silent_are_not_needed(ears: Ears, stage: RedisStage) -> None:
    async with fake_sentinels(2) as [silent, well]:
        well.name(stage.server.port)
        async with reading(ears, free_port(), silent.port, well.port):
            await ears.until_waiting(0)
        assert silent.asked


async def test_a_master_is_asked_for_by_its_name_as_it_was_written(
    ears: Ears, stage: RedisStage
) -> None:
    async with fake_sentinels(1) as [sentinel]:
        sentinel.name(stage.server.port)
        async with reading(ears, sentinel.port, url="redis://My_Master.1"):
            await ears.until_waiting(0)
    assert b"GET-MASTER-ADDR-BY-NAME" in sentinel.asked[0]
    assert b"My_Master.1" in sentinel.asked[0]


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (b"*-1\r\n", "UnknownMaster", "No Sentinel knows a master called mymaster"),
        (
            b"-NOAUTH Authentication required.\r\n",
            "SentinelsUnreachable",
            "Authentication required",
        ),
        (b"", "SentinelsUnreachable", "does not answer in time"),
    ],
)
async def test_who_cannot_help_is_told_with_the_remedy_until_one_can(
    ears: Ears, stage: RedisStage, answer: bytes, reason: str, words: str
) -> None:
    async with fake_sentinels(1) as [sentinel]:
        sentinel.answer = answer
        async with reading(ears, sentinel.port):
            await ears.until_trouble(reason, words)
            sentinel.name(stage.server.port)
            await ears.until_waiting(0)


async def test_sentinels_that_are_all_away_are_told_with_the_field_that_names_them(
    ears: Ears,
) -> None:
    async with reading(ears, free_port(), free_port()):
        await ears.until_trouble("SentinelsUnreachable", "correct spec.queue.redis.sentinels")


async def test_the_password_is_the_masters_and_the_sentinels_hear_nothing_of_it(
    ears: Ears, stage: RedisStage
) -> None:
    stage.require("s3cret")
    async with fake_sentinels(1) as [sentinel]:
        sentinel.name(stage.server.port)
        async with reading(ears, sentinel.port, password="s3cret"):  # noqa: S106  for this test
            await ears.until_waiting(0)
    assert not any(b"s3cret" in question for question in sentinel.asked)
