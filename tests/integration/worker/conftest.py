from collections.abc import Iterator

import pytest
import redis

from support.queue_state import QueueState
from support.redis_server import CLIENT_SECONDS, RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, socket_timeout=CLIENT_SECONDS) as connection:
        connection.flushall()
        connection.script_flush()
        yield connection


@pytest.fixture
def queue(client: redis.Redis) -> QueueState:
    return QueueState(client)
