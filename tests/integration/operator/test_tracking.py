"""The connection to a real Redis: the contract, and what only a real server can do."""

import asyncio
import time

import pytest

from support.connection_contract import DEADLINE_SECONDS, ConnectionContract, Heard, until
from support.redis_server import RedisServer
from support.redis_stage import RedisStage
from workerpool_operator.channel import Credentials
from workerpool_operator.errors import Unreadable
from workerpool_operator.keys import queue_prefix
from workerpool_operator.model import Backlog
from workerpool_operator.tracking import TrackingConnection

QUEUE = "queue:images"
READER = ["+llen", "+zcard", "+zcount", "+hmget", "+time", "~*"]
"""The least that a user who reads backlogs needs."""
TRACKER = [*READER, "+client|tracking", "+client|caching"]


class TestTrackingConnection(ConnectionContract):
    """The contract that the fake connection keeps, too."""


# --- what is read


@pytest.mark.parametrize(
    ("queue", "prefix"),
    [
        ("queue:images", "{queue:images}:"),
        ("q:{eu}:images", "q:{eu}:images:"),
        ("bilder-größe-🖼", "{bilder-größe-🖼}:"),
        ("a'b\"c\\x00\\n", "{a'b\"c\\x00\\n}:"),
        ("-1", "{-1}:"),
        ("*", "{*}:"),
        ("x" * 512, "{" + "x" * 512 + "}:"),
    ],
)
async def test_any_name_of_a_list_is_read_and_told(
    stage: RedisStage, queue: str, prefix: str
) -> None:
    heard = Heard()
    connection = stage.connection()
    await connection.open(heard)
    stage.client.zadd(f"{prefix}inflight", {"job": 1})

    assert await connection.read([queue]) == [Backlog(0, in_flight=1)]
    stage.client.rpush(queue, b"\xff\x00")
    assert await heard.something() == [queue.encode()]
    assert await connection.read([queue]) == [Backlog(1, in_flight=1)]
    assert queue_prefix(queue) == prefix
    await connection.close()


@pytest.mark.parametrize("value", ["abc", "1.5", "9" * 18])
async def test_counters_that_are_no_numbers_cost_their_own_queue_its_reading(
    stage: RedisStage, value: str
) -> None:
    connection = stage.connection()
    await connection.open(Heard())
    stage.client.hset("{bad}:stats", "busy_ms", value)
    bad, good = await connection.read(["bad", QUEUE])
    await connection.close()
    assert isinstance(bad, Unreadable)
    assert bad.reason == "BadCounters"
    assert good == Backlog(0)


async def test_a_job_that_has_landed_still_waits(stage: RedisStage) -> None:
    """It has woken a worker, which may be gone: somebody must come for it."""
    heard = Heard()
    connection = stage.connection()
    await connection.open(heard)
    await connection.read([QUEUE])
    stage.client.rpush("{queue:images}:landing", "{}")
    stage.client.rpush(QUEUE, "{}")
    assert await heard.something() == [QUEUE.encode()]
    assert await connection.read([QUEUE]) == [Backlog(2)]
    await connection.close()


async def test_a_worker_that_waits_and_is_served_directly_is_told_of(stage: RedisStage) -> None:
    """The list never exists, from one command to the next; its length never was but zero."""
    heard = Heard()
    connection = stage.connection()
    await connection.open(heard)
    await connection.read([QUEUE])
    popped = asyncio.create_task(asyncio.to_thread(stage.client.blpop, [QUEUE], 25))
    await until(lambda: stage.client.info("clients")["blocked_clients"] == 1, "blocked client")

    stage.client.rpush(QUEUE, b"job")

    assert await heard.something() == [QUEUE.encode()]
    assert await popped is not None
    await connection.close()


async def test_deadlines_are_judged_by_the_clock_of_redis(stage: RedisStage) -> None:
    """Not by the operator's, which may be wrong by more than a lease."""
    prefix = queue_prefix(QUEUE)
    now = _milliseconds(stage)
    stage.client.zadd(f"{prefix}retry", {"due": now - 1, "later": now + 9e6})
    stage.client.zadd(f"{prefix}workers", {"gone": now - 1, "well": now + 9e6})
    connection = stage.connection()
    await connection.open(Heard())

    assert await connection.read([QUEUE]) == [
        Backlog(0, due=1, orphaned=1, scheduled=1, workers=2)
    ]
    soon = _milliseconds(stage) + 300
    stage.client.zadd(f"{prefix}retry", {"soon": soon})
    stage.client.zadd(f"{prefix}workers", {"soon": soon})
    deadline = time.monotonic() + DEADLINE_SECONDS
    while await connection.read([QUEUE]) != [
        Backlog(0, due=2, orphaned=2, scheduled=1, workers=3)
    ]:
        assert time.monotonic() < deadline, "never due"
        await asyncio.sleep(0.01)
    assert _milliseconds(stage) >= soon
    await connection.close()


def _milliseconds(stage: RedisStage) -> int:
    seconds, microseconds = stage.client.time()
    return seconds * 1000 + microseconds // 1000


async def test_a_wrong_clock_of_the_operator_does_not_matter(
    stage: RedisStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 1e6)
    stage.put(QUEUE, Backlog(0, due=1, scheduled=1))
    connection = stage.connection()
    await connection.open(Heard())

    assert await connection.read([QUEUE]) == [Backlog(0, due=1, scheduled=1)]
    await connection.close()


async def test_thousands_of_lists_that_change_at_once_are_all_told(stage: RedisStage) -> None:
    """Each is one message, with no answer between them."""
    queues = [f"queue-{number}" for number in range(5_000)]
    heard = Heard()
    connection = stage.connection()
    await connection.open(heard)
    for start in range(0, len(queues), 500):
        await connection.read(queues[start : start + 500])
    with stage.client.pipeline(transaction=True) as pipeline:
        for queue in queues:
            pipeline.rpush(queue, b"job")
        pipeline.execute()

    await until(lambda: len(heard.all) == len(queues), "word of every list")
    assert await connection.read(queues[:2]) == [Backlog(1), Backlog(1)]
    await connection.close()


async def test_a_report_arrives_within_milliseconds(stage: RedisStage) -> None:
    """Where the machine has time for it: the quickest shows that nothing waits on purpose."""
    connection = stage.connection()
    arrived: list[float] = []
    await connection.open(lambda _: arrived.append(time.perf_counter()))
    pushed = []
    for number in range(50):
        await connection.read([QUEUE])
        pushed.append(time.perf_counter())
        await asyncio.to_thread(stage.client.rpush, QUEUE, b"job")
        await until(lambda number=number: len(arrived) > number, "report")  # type: ignore[misc]

    assert min(b - a for a, b in zip(pushed, arrived, strict=True)) < 0.02
    await connection.close()


# --- who may read


async def test_the_least_rights_are_enough_to_be_told(stage: RedisStage) -> None:
    stage.user("reader", "secret", TRACKER)
    heard = Heard()
    connection = stage.connection(username="reader", password="secret")  # noqa: S106
    await connection.open(heard)
    assert connection.tracking
    await connection.read([QUEUE])
    stage.client.rpush(QUEUE, b"job")

    assert await heard.something() == [QUEUE.encode()]
    await connection.ping()
    await connection.close()


@pytest.mark.parametrize("rules", [READER, [*READER, "+client|tracking"]])
async def test_without_the_right_to_be_told_it_still_reads(
    stage: RedisStage, rules: list[str]
) -> None:
    stage.user("reader", "secret", rules)
    connection = stage.connection(username="reader", password="secret")  # noqa: S106
    await connection.open(Heard())

    assert not connection.tracking
    stage.client.rpush(QUEUE, b"job")
    assert await connection.read([QUEUE]) == [Backlog(1)]
    await connection.close()


@pytest.mark.parametrize(
    "rules",
    [
        [rule for rule in TRACKER if rule != "+llen"],
        [rule for rule in TRACKER if rule != "+zcount"],
        [*TRACKER[:-3], "~other:*", *TRACKER[-2:]],
    ],
)
async def test_a_reading_that_is_forbidden_says_what_to_grant(
    stage: RedisStage, rules: list[str]
) -> None:
    stage.user("reader", "secret", rules)
    connection = stage.connection(username="reader", password="secret")  # noqa: S106
    await connection.open(Heard())

    (reading,) = await connection.read([QUEUE])

    assert isinstance(reading, Unreadable)
    assert reading.reason == "PermissionDenied"
    assert "docs/protocol.md" in str(reading)
    await connection.close()


async def test_a_user_who_may_not_ask_the_time_is_told_so(stage: RedisStage) -> None:
    stage.user("reader", "secret", [rule for rule in TRACKER if rule != "+time"])
    with pytest.raises(Unreadable) as caught:
        await stage.connection(username="reader", password="secret").open(Heard())  # noqa: S106

    assert caught.value.reason == "PermissionDenied"


async def test_a_password_is_in_no_message_and_no_representation(stage: RedisStage) -> None:
    stage.require("hunter2")
    connection = stage.connection(password="hunter3")  # noqa: S106
    with pytest.raises(Unreadable) as caught:
        await connection.open(Heard())

    assert "hunter" not in f"{caught.value}{caught.value!r}{connection._channel.address}"  # noqa: SLF001


# --- what it leaves behind


async def test_a_failed_or_cancelled_attempt_leaves_no_connection(stage: RedisStage) -> None:
    stage.user("reader", "secret", [rule for rule in TRACKER if rule != "+time"])
    with pytest.raises(Unreadable):
        await stage.connection(username="reader", password="secret").open(Heard())  # noqa: S106
    await until(lambda: _strangers(stage) == [], "end of the refused connection")
    connection = stage.connection()
    with stage.frozen():
        opening = asyncio.create_task(connection.open(Heard()))
        link = connection._channel._link  # noqa: SLF001
        await until(lambda: link.is_connected, "connection to cancel")
        opening.cancel()
        await asyncio.wait({opening})

    await until(lambda: _strangers(stage) == [], "end of the cancelled connection")
    assert _readers() == []


async def test_a_closed_connection_is_gone_and_so_is_its_task(stage: RedisStage) -> None:
    connection = stage.connection()
    await connection.open(Heard())
    assert len(stage.connections()) == 1

    await connection.close()

    await until(lambda: stage.connections() == [], "end of the connection")
    assert _readers() == []


def _strangers(stage: RedisStage) -> list[dict[str, str]]:
    mine = stage.client.client_id()
    return [client for client in stage.client.client_list() if client["id"] != str(mine)]


def _readers() -> list[str]:
    return [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("redis ")]


async def test_a_database_that_does_not_exist_is_unreadable(stage: RedisStage) -> None:
    url = f"redis://127.0.0.1:{stage.server.port}/99"
    with pytest.raises(Unreadable):
        await TrackingConnection(url, Credentials(), 5.0).open(Heard())


async def test_nobody_at_the_address_is_unreadable() -> None:
    with RedisServer() as server:
        url = server.url
    with pytest.raises(Unreadable, match=r"127\.0\.0\.1"):
        await TrackingConnection(url, Credentials(), 5.0).open(Heard())
