"""Closing pods: the operator's commands and the workers' scripts, against one real Redis."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from image_worker.keys import keys_of, served
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.queues import Queues
from image_worker.settings import RedisSettings
from support.redis_stage import RedisStage
from workerpool_operator import roster
from workerpool_operator.errors import Unreadable
from workerpool_operator.tracking import TrackingConnection
from workerpool_operator.victims import Roster

QUEUE = "queue:images"
BOTH = [QUEUE, "queue:urgent"]
RETIRED = "{queue:images}:retired"
MINUTE = timedelta(minutes=1)
RETIRER = ["+zrange", "+hget", "+eval", "+zadd", "+zrem", "+zremrangebyscore"]
READER = ["+time", "+llen", "+zcard", "+zcount", "+hmget", "~*"]


def leases_of(stage: RedisStage, queue: str = QUEUE) -> Leases:
    settings = RedisSettings(stage.server.url, None, None, None)
    return Leases(connect(settings, "test"), keys_of(queue), timedelta(seconds=15))


def asking(connection: TrackingConnection) -> roster.Ask:
    """Ask one server, whichever queue it is about."""
    return lambda _, commands: connection.ask(commands)


@pytest.fixture
def leases(stage: RedisStage) -> Iterator[Leases]:
    made = leases_of(stage)
    yield made
    made.close()


@pytest.fixture
async def connection(stage: RedisStage) -> AsyncIterator[TrackingConnection]:
    connection = stage.connection()
    await connection.open(lambda _: None)
    yield connection
    await connection.close()


async def test_it_is_known_who_is_at_work_and_who_is_idle_since_when(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"job")
    assert leases.claim("1@pod-a", "1@pod-a-0").lease
    before = stage.client.time()[0] * 1000
    leases.claim("2@pod-a", "2@pod-a-0")
    leases.claim("3@pod-b", "3@pod-b-0")
    leases.claim("4@pod-b", "4@pod-b-0")
    known = await roster.read(asking(connection), [QUEUE])
    assert known.busy == {"pod-a"}
    assert known.idle_since.keys() == {"pod-b"}
    assert known.nameless == 0
    since = known.idle_since["pod-b"]
    assert since is not None
    assert before <= since <= stage.client.time()[0] * 1000 + 1000


async def test_an_empty_queue_knows_nobody(connection: TrackingConnection) -> None:
    assert await roster.read(asking(connection), [QUEUE]) == Roster()


async def test_leases_and_workers_that_name_no_pod_are_counted_as_such(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"job")
    assert leases.claim("1", "1-0").lease
    known = await roster.read(asking(connection), [QUEUE])
    assert known == Roster(nameless=1)
    assert await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE) == set()
    assert not stage.client.exists(RETIRED)


async def test_workers_outside_of_pods_are_nobodys_obstacle(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"job")
    assert leases.claim("1@", "1@-0").lease
    leases.claim("2@", "2@-0")
    assert await roster.read(asking(connection), [QUEUE]) == Roster()
    assert await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE) == {"pod-a"}
    assert leases.claim("2@", "2@-0").retired_for is None


async def test_idle_pods_are_closed_and_busy_ones_are_not(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"first", b"second")
    assert leases.claim("1@pod-a", "1@pod-a-0").lease
    closed = await roster.retire(
        asking(connection), [QUEUE], {"pod-a", "pod-b", "pod-new"}, MINUTE
    )
    assert closed == {"pod-b", "pod-new"}
    assert leases.claim("2@pod-b", "2@pod-b-0").retired_for
    assert leases.claim("9@pod-new", "9@pod-new-0").retired_for, "also one that starts later"
    assert leases.claim("1@pod-a", "1@pod-a-1", finished=("1@pod-a-0", 1)).lease


async def test_a_pod_whose_job_is_done_but_not_acknowledged_is_at_work(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"first")
    assert leases.claim("1@pod-a", "1@pod-a-0").lease
    assert await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE) == set()
    assert leases.leave("1@pod-a", finished=("1@pod-a-0", 1))
    assert await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE) == {"pod-a"}


async def test_restored_pods_work_again_and_the_others_do_not(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"first")
    assert await roster.marked(asking(connection), [QUEUE]) == set()
    await roster.retire(asking(connection), [QUEUE], {"pod-a", "pod-b"}, MINUTE)
    assert await roster.marked(asking(connection), [QUEUE]) == {"pod-a", "pod-b"}
    await roster.restore(asking(connection), [QUEUE], {"pod-b"})
    assert await roster.marked(asking(connection), [QUEUE]) == {"pod-a"}
    assert leases.claim("1@pod-a", "1@pod-a-0").retired_for
    assert leases.claim("2@pod-b", "2@pod-b-0").lease


async def test_a_mark_ends_by_itself_and_is_cleared_away_by_the_next(
    stage: RedisStage, leases: Leases, connection: TrackingConnection
) -> None:
    stage.client.rpush(QUEUE, b"first")
    await roster.retire(asking(connection), [QUEUE], {"pod-a"}, timedelta(milliseconds=1))
    deadline = time.monotonic() + 30
    while leases.claim("1@pod-a", "1@pod-a-0").retired_for:
        assert time.monotonic() < deadline, "the mark outlives its time"
    await roster.retire(asking(connection), [QUEUE], {"pod-b"}, MINUTE)
    assert stage.client.zrange(RETIRED, 0, -1) == [b"pod-b"]


async def test_a_full_redis_lets_pods_go(
    stage: RedisStage, connection: TrackingConnection
) -> None:
    stage.client.config_set("maxmemory", 1)
    try:
        assert await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE) == {"pod-a"}
    finally:
        stage.client.config_set("maxmemory", 0)


async def test_the_documented_rights_are_enough_and_without_them_it_is_said(
    stage: RedisStage,
) -> None:
    stage.user("reader", "x", READER)
    stage.user("retirer", "x", [*READER, *RETIRER])
    connection = stage.connection(username="retirer", password="x")  # noqa: S106
    await connection.open(lambda _: None)
    await roster.read(asking(connection), [QUEUE])
    assert await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE) == {"pod-a"}
    await roster.restore(asking(connection), [QUEUE], {"pod-a"})
    await connection.close()

    connection = stage.connection(username="reader", password="x")  # noqa: S106
    await connection.open(lambda _: None)
    with pytest.raises(Unreadable, match=r"docs/protocol\.md") as caught:
        await roster.retire(asking(connection), [QUEUE], {"pod-a"}, MINUTE)
    assert caught.value.reason == "PermissionDenied"
    await connection.close()


@pytest.fixture
def both(stage: RedisStage) -> Iterator[Queues]:
    """What a worker of two queues speaks to."""
    made = Queues([(leases_of(stage, queue), 1) for queue in BOTH], clock=time.monotonic)
    yield made
    made.close()


async def test_a_pod_with_a_job_of_any_of_its_queues_is_at_work(
    stage: RedisStage, both: Queues, connection: TrackingConnection
) -> None:
    one, two = (f"{number}{served(BOTH)}@pod-{number}" for number in "12")
    stage.client.rpush(BOTH[1], b"job")
    claim = both.claim(one, "")
    assert claim.lease
    ask = asking(connection)
    assert (await roster.read(ask, BOTH)).busy == {"pod-1"}
    assert await roster.retire(ask, BOTH, {"pod-1", "pod-2"}, MINUTE) == {"pod-2"}
    assert stage.client.zrange(RETIRED, 0, -1) == [b"pod-2"], "pod-1 was called back there"
    stage.client.rpush(BOTH[0], b"job")
    stage.client.rpush(BOTH[1], b"job")
    assert both.claim(two, "").retired_for, "closed in both"
    await roster.restore(ask, BOTH, {"pod-2"})
    assert both.claim(two, "").lease


async def test_a_pod_of_several_queues_is_idle_since_it_is_in_all_of_them(
    stage: RedisStage, both: Queues, connection: TrackingConnection
) -> None:
    worker = f"1{served(BOTH)}@pod-a"
    both.claim(worker, "")
    times = [stage.client.hget(f"{{{queue}}}:worker:{worker}", "idle") for queue in BOTH]
    latest = max(int((text or b"").split()[1]) for text in times)
    known = await roster.read(asking(connection), BOTH)
    assert known.idle_since == {"pod-a": latest}
    assert not known.strangers


async def test_workers_of_other_queues_than_one_asks_are_strangers(
    both: Queues, connection: TrackingConnection
) -> None:
    both.claim(f"1{served(BOTH)}@pod-a", "")
    for asked in ([QUEUE], [QUEUE, "queue:third"]):
        assert (await roster.read(asking(connection), asked)).strangers == {"pod-a"}


async def test_questions_of_one_connection_may_meet(
    stage: RedisStage, connection: TrackingConnection
) -> None:
    """Each gets its own answer, also where somebody gives up waiting."""

    async def echo(number: int) -> None:
        word = f"word-{number}"
        asking = asyncio.ensure_future(connection.ask([("EVAL", "return ARGV[1]", 0, word)]))
        if number % 5 == 0:
            await asyncio.sleep(0)
            asking.cancel()
            return
        assert await asking == [word.encode()]

    await asyncio.gather(*(echo(number) for number in range(200)))
    assert stage.client.ping()


async def test_no_pod_is_ever_closed_and_at_work(
    stage: RedisStage, connection: TrackingConnection
) -> None:
    """Claims and retirements race: what is closed has no lease, in every instant."""
    pods = [f"pod-{number}" for number in range(4)]
    over = threading.Event()
    granted = [0] * len(pods)

    def work(number: int) -> None:
        leases, worker = leases_of(stage), f"{number}@{pods[number]}"
        finished = ("", 0)
        claims = 0
        while not over.is_set():
            claim = leases.claim(worker, f"{worker}-{claims}", finished=finished)
            finished = ("", 0)
            if claim.lease is not None:
                finished = (claim.lease.name, 1)
                claims += 1
                granted[number] += 1
        leases.close()

    look = stage.client.register_script(
        "return {redis.call('ZRANGE', KEYS[1], 0, -1), redis.call('ZRANGE', KEYS[2], 0, -1)}"
    )
    closings = 0
    with ExitStack() as stack:
        for number in range(len(pods)):
            thread = threading.Thread(target=work, args=(number,))
            thread.start()
            stack.callback(thread.join, 60)
        stack.callback(over.set)
        deadline = time.monotonic() + 200
        while closings < 200 or min(granted) < 20:
            assert time.monotonic() < deadline, f"{closings} closings, {granted} jobs"
            closed = await roster.retire(asking(connection), [QUEUE], pods, MINUTE)
            closings += len(closed)
            leases, marks = look(keys=["{queue:images}:inflight", RETIRED])
            working = {lease.decode().partition("@")[2].rpartition("-")[0] for lease in leases}
            assert not working & {mark.decode() for mark in marks}
            assert closed == {mark.decode() for mark in marks}
            if closed:
                await roster.restore(asking(connection), [QUEUE], closed)
            stage.client.rpush(QUEUE, b"job", b"job")  # too few for all: some are idle
