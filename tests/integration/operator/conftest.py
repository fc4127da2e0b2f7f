"""Real servers for the operator's tests: one of each kind, made as it was between tests."""

from collections.abc import Iterator

import pytest

from support.api_server import ApiServer
from support.operator_process import OperatorProcess, install
from support.redis_stage import RedisStage, redis_stage
from support.shop import Shop
from support.waiting import eventually


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisStage]:
    with redis_stage() as stage:
        yield stage


@pytest.fixture
def stage(shared_redis: RedisStage) -> Iterator[RedisStage]:
    """Return an empty Redis that asks nobody for a password."""
    yield shared_redis
    shared_redis.reset()


@pytest.fixture(scope="session")
def api() -> Iterator[ApiServer]:
    """Return a cluster's API, made ready for the operator."""
    with ApiServer() as api:
        install(api)
        yield api


@pytest.fixture(scope="session")
def operator(api: ApiServer) -> Iterator[OperatorProcess]:
    """Return an operator that looks after the whole cluster; do not end it."""
    with OperatorProcess(api) as operator:
        yield operator
        assert operator.running, operator.log[-4000:]
        assert "Traceback" not in operator.log


@pytest.fixture
def shop(api: ApiServer, operator: OperatorProcess, stage: RedisStage) -> Iterator[Shop]:
    """Return a namespace that the operator looks after."""
    del operator
    shop = Shop(api, stage.server.url)
    yield shop
    shop.close()
    # What it was about to write comes before; the next test has Redis to itself.
    eventually(lambda: not stage.connections(), "the end of the operator's interest")


@pytest.fixture(scope="session")
def own_api() -> Iterator[ApiServer]:
    """Return a cluster's API that may be stopped; nobody else uses it."""
    with ApiServer() as api:
        install(api)
        yield api


@pytest.fixture
def own_shop(own_api: ApiServer, stage: RedisStage) -> Iterator[Shop]:
    """Return a namespace that no operator looks after yet."""
    shop = Shop(own_api, stage.server.url)
    yield shop
    shop.close()
