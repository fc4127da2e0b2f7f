"""Real servers for the operator's tests: one of each kind, made as it was between tests."""

from collections.abc import Iterator

import pytest

from support.redis_stage import RedisStage, redis_stage


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisStage]:
    with redis_stage() as stage:
        yield stage


@pytest.fixture
def stage(shared_redis: RedisStage) -> Iterator[RedisStage]:
    """Return an empty Redis that asks nobody for a password."""
    yield shared_redis
    shared_redis.reset()
