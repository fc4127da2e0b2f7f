"""The fake connection keeps the real one's contract."""

import contextlib

import pytest

from support.connection_contract import ConnectionContract, Stage
from support.fake_connection import FakeRedis
from workerpool_operator.channel import Credentials
from workerpool_operator.evidence import Report, Survey
from workerpool_operator.model import Backlog
from workerpool_operator.queues import Connection
from workerpool_operator.resource import Endpoint

pytestmark = pytest.mark.looptime

ENDPOINT = Endpoint("redis://fake")


class FakeStage:
    def __init__(self) -> None:
        self._server = FakeRedis()

    def connection(self, *, password: str | None = None, timeout: float = 5.0) -> Connection:
        return self._server.connect(ENDPOINT, Credentials(password=password), timeout)

    def put(self, queue: str, backlog: Backlog) -> None:
        self._server.put(queue, backlog)

    def tell(self, queue: str, report: Report) -> None:
        self._server.put(queue, Backlog(0, workers=1))
        self._server.surveys[queue] = Survey(1, (report,))

    def put_string(self, queue: str) -> None:
        self._server.put_string(queue)

    def flush(self) -> None:
        self._server.flush()

    def cut(self) -> None:
        self._server.cut()

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        return self._server.frozen()

    def refuse_tracking(self) -> None:
        self._server.tracks = False

    def require(self, password: str) -> None:
        self._server.password = password


class TestFakeConnection(ConnectionContract):
    @pytest.fixture
    def stage(self) -> Stage:
        return FakeStage()
