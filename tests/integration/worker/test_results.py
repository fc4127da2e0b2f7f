"""The list of results: each finished job once, the latest ones, and only if asked for."""

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from image_worker.keys import keys_of
from image_worker.leases import Leases
from image_worker.link import connect
from image_worker.settings import RedisSettings
from support.pictures import jpeg
from support.queue_state import LIST, PREFIX, QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually

RESULTS = f"{PREFIX}results"


@pytest.fixture
def leases(server: RedisServer) -> Iterator[Leases]:
    link = connect(RedisSettings(server.url, None, None, None), "test")
    keeping = Leases(link, keys_of(LIST), timedelta(seconds=10), results_kept=3)
    yield keeping
    keeping.close()


def listed(client: redis.Redis) -> list[str]:
    found: list[bytes] = client.lrange(RESULTS, 0, -1)  # type: ignore[assignment]
    return [entry.decode() for entry in found]


def test_a_result_is_listed_once_however_often_its_ack_is_repeated(
    leases: Leases, queue: QueueState, client: redis.Redis
) -> None:
    queue.push("first", "second")
    leases.claim("w", "w-0")
    for _ in range(3):
        leases.claim("w", "w-1", finished=("w-0", 1), result="made")
    assert listed(client) == ["made"]
    for _ in range(2):
        leases.leave("w", ("w-1", 1), "made too")
    assert listed(client) == ["made", "made too"]


def test_whoever_lost_the_lease_lists_nothing(
    leases: Leases, queue: QueueState, client: redis.Redis
) -> None:
    queue.push("first")
    leases.claim("a", "a-0")
    queue.expire("inflight", "a-0")
    leases.reap(blame_after_ms=0)
    leases.claim("b", "b-0")
    leases.claim("a", "a-1", finished=("a-0", 1), result="late")
    assert listed(client) == []
    leases.leave("b", ("b-0", 1), "in time")
    assert listed(client) == ["in time"]


def test_only_the_latest_are_kept(leases: Leases, queue: QueueState, client: redis.Redis) -> None:
    queue.push(*(str(n) for n in range(5)))
    for n in range(5):
        leases.claim("w", f"w-{n}")
        leases.claim("w", f"w-{n + 1}", finished=(f"w-{n}", 1), result=str(n))
    assert listed(client) == ["2", "3", "4"]


def test_a_finished_job_tells_what_it_made(
    server: RedisServer, queue: QueueState, client: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg((640, 480)))
    queue.push(json.dumps({"filename": "a.jpg", "output": "users/7"}))
    with Supervisor(server.url, tmp_path, results_kept="10") as supervisor:
        eventually(lambda: queue.quiet and queue.stats.get("done"), "the job's end")
        (told,) = map(json.loads, listed(client))
        assert supervisor.await_line("the thumbnail is in place")["job"] == told.pop("job")
        assert told.pop("milliseconds") >= 0
        (made,) = told.pop("renditions")
        assert told == {"filename": "a.jpg", "width": 640, "height": 480, "format": "jpeg"}
        assert (made["file"], made["width"], made["height"]) == ("users/7.jpg", 256, 192)
        assert made["bytes"] == (tmp_path / "out" / "users" / "7.jpg").stat().st_size
        # The next one is acknowledged by the goodbye.
        queue.push(json.dumps({"filename": "a.jpg"}))
        eventually((tmp_path / "out" / "a.jpg").exists, "the second job's output")
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.process.wait(60)
    assert len(listed(client)) == 2


def test_nobody_who_did_not_ask_gets_a_list(
    server: RedisServer, queue: QueueState, client: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg((64, 48)))
    queue.push(json.dumps({"filename": "a.jpg"}))
    with Supervisor(server.url, tmp_path):
        eventually(lambda: queue.quiet and queue.stats.get("done"), "the job's end")
    assert client.exists(RESULTS) == 0
