"""What every connection must do, the real one and the fake one alike.

A subclass says by its fixture `stage` whom it is about.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import pytest

from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Report, Survey
from workerpool_operator.model import Backlog
from workerpool_operator.queues import Connection
from workerpool_operator.resource import Key

QUEUE = "queue:images"
OTHER = "queue:films"
DEADLINE_SECONDS = 60.0


class Stage(Protocol):
    """A server that a test can lead, and connections to it."""

    def connection(self, *, password: str | None = None, timeout: float = 5.0) -> Connection:
        """Return a connection that is not opened yet."""

    def put(self, queue: str, backlog: Backlog) -> None:
        """Have the server hold this, instead of what it held of the queue."""

    def tell(self, queue: str, report: Report) -> None:
        """Have a worker, the queue's only one, tell this of itself."""

    def put_string(self, queue: str) -> None:
        """Have the server hold something else than a list under the name."""

    def flush(self) -> None:
        """Delete everything."""

    def cut(self) -> None:
        """End every connection."""

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Let nobody get an answer."""

    def refuse_tracking(self) -> None:
        """From the next connection on, refuse `CLIENT TRACKING`."""

    def require(self, password: str) -> None:
        """From the next connection on, ask for a password."""


class Heard:
    """What a connection reported, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[Sequence[bytes] | None] = []

    def __call__(self, names: Sequence[bytes] | None) -> None:
        self.all.append(names)

    async def something(self) -> Sequence[bytes] | None:
        """Wait for a report, and take it."""
        await until(lambda: self.all, "a report of a change")
        return self.all.pop(0)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, not for ever."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"still no {what}"
        await asyncio.sleep(0.005)


class ConnectionContract:
    """The tests."""

    @pytest.fixture
    def heard(self) -> Heard:
        return Heard()

    @contextlib.asynccontextmanager
    async def opened(self, connection: Connection, heard: Heard | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN201
        await connection.open(heard or Heard())
        try:
            yield connection
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def opened_in_time(self, stage: Stage, timeout: float):  # type: ignore[no-untyped-def]  # noqa: ANN201, ASYNC109
        """Open a connection of little patience, whenever the machine lets it."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                connection = stage.connection(timeout=timeout)
                try:
                    await connection.open(Heard())
                except Unreadable:
                    await connection.close()
                else:
                    break
        try:
            yield connection
        finally:
            await connection.close()

    async def test_a_list_that_does_not_exist_is_empty(self, stage: Stage) -> None:
        async with self.opened(stage.connection()) as connection:
            assert await connection.read([QUEUE]) == [Backlog(0)]

    async def test_everything_known_of_a_queue_is_read(self, stage: Stage) -> None:
        backlog = Backlog(7, due=2, in_flight=3, orphaned=1, scheduled=4, workers=5)
        stage.put(QUEUE, backlog)
        async with self.opened(stage.connection()) as connection:
            assert await connection.read([QUEUE, OTHER]) == [backlog, Backlog(0)]

    async def test_what_workers_tell_is_read(self, stage: Stage) -> None:
        stage.put(OTHER, Backlog(0, workers=2))
        report = Report(
            "w0",
            Key("shop", "images"),
            pod="images-worker-a",
            node="node-1",
            cpus=frozenset({0, 1, 3}),
            virtualisation="kvm",
            stolen=0.25,
        )
        stage.tell(QUEUE, report)
        async with self.opened(stage.connection()) as connection:
            told, silent = await connection.survey([QUEUE, OTHER])
            assert told == Survey(1, (report,))
            assert isinstance(silent, Survey)
            assert (silent.workers, silent.of(report.pool)) == (2, ())

    async def test_a_change_is_told_once_after_each_reading(
        self, stage: Stage, heard: Heard
    ) -> None:
        async with self.opened(stage.connection(), heard) as connection:
            assert connection.tracking
            for count in (1, 5, 0):
                await connection.read([QUEUE, OTHER])
                stage.put(QUEUE, Backlog(count))
                assert await heard.something() == [QUEUE.encode()]
                stage.put(QUEUE, Backlog(count + 1))
            # An answer comes after every report that was made before it.
            await connection.read([QUEUE])
            assert heard.all == []

    async def test_what_was_never_read_is_never_told(self, stage: Stage, heard: Heard) -> None:
        async with self.opened(stage.connection(), heard) as connection:
            stage.put(QUEUE, Backlog(1))
            await connection.read([OTHER])
            stage.put(QUEUE, Backlog(2))
            await connection.ping()
            assert heard.all == []

    async def test_heartbeats_and_claims_are_not_told(self, stage: Stage, heard: Heard) -> None:
        async with self.opened(stage.connection(), heard) as connection:
            await connection.read([QUEUE])
            stage.put(QUEUE, Backlog(0, due=1, in_flight=2, orphaned=3, scheduled=4, workers=5))
            await connection.ping()
            assert heard.all == []

    async def test_a_flush_tells_of_everything(self, stage: Stage, heard: Heard) -> None:
        stage.put(QUEUE, Backlog(3))
        async with self.opened(stage.connection(), heard) as connection:
            await connection.read([QUEUE])
            stage.flush()
            assert await heard.something() is None
            assert await connection.read([QUEUE]) == [Backlog(0)]

    async def test_what_is_no_list_harms_no_other_queue(self, stage: Stage) -> None:
        stage.put_string(QUEUE)
        stage.put(OTHER, Backlog(2))
        async with self.opened(stage.connection()) as connection:
            bad, good = await connection.read([QUEUE, OTHER])
        assert isinstance(bad, Unreadable)
        assert bad.reason == "NotAList"
        assert "spec.queue.list" in str(bad)
        assert good == Backlog(2)

    async def test_waiting_ends_when_it_is_told_to(self, stage: Stage) -> None:
        wake = asyncio.Event()
        async with self.opened(stage.connection()) as connection:
            asyncio.get_running_loop().call_later(0.01, wake.set)
            async with asyncio.timeout(DEADLINE_SECONDS):
                await connection.quiet(wake, 600)

    async def test_waiting_ends_by_itself(self, stage: Stage) -> None:
        async with self.opened(stage.connection()) as connection:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await connection.quiet(asyncio.Event(), 0.01)

    async def test_the_end_of_a_connection_ends_the_waiting(self, stage: Stage) -> None:
        async with self.opened(stage.connection()) as connection:
            asyncio.get_running_loop().call_later(0.01, stage.cut)
            with pytest.raises(Unreadable):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await connection.quiet(asyncio.Event(), 600)

    async def test_an_ended_connection_answers_nothing(self, stage: Stage) -> None:
        async with self.opened(stage.connection()) as connection:
            stage.cut()
            with pytest.raises(Unreadable):
                await connection.read([QUEUE])
            with pytest.raises(Unreadable):
                await connection.ping()

    async def test_no_answer_in_time_is_unreadable(self, stage: Stage) -> None:
        async with self.opened_in_time(stage, 0.2) as connection:
            with stage.frozen(), pytest.raises(Unreadable, match="in time"):
                await connection.read([QUEUE])
        async with self.opened_in_time(stage, 0.2) as connection:
            with stage.frozen(), pytest.raises(Unreadable, match="in time"):
                await connection.ping()

    async def test_no_welcome_in_time_is_unreadable(self, stage: Stage) -> None:
        connection = stage.connection(timeout=0.1)
        with stage.frozen(), pytest.raises(Unreadable):
            await connection.open(Heard())

    async def test_without_tracking_it_reads_and_says_so(self, stage: Stage, heard: Heard) -> None:
        stage.refuse_tracking()
        stage.put(QUEUE, Backlog(2))
        async with self.opened(stage.connection(), heard) as connection:
            assert not connection.tracking
            assert await connection.read([QUEUE]) == [Backlog(2)]
            stage.put(QUEUE, Backlog(3))
            assert await connection.read([QUEUE]) == [Backlog(3)]
            assert heard.all == []

    async def test_the_right_password_opens(self, stage: Stage) -> None:
        stage.require("secret")
        async with self.opened(stage.connection(password="secret")) as connection:  # noqa: S106
            assert await connection.read([QUEUE]) == [Backlog(0)]

    @pytest.mark.parametrize("password", [None, "wrong"])
    async def test_the_wrong_password_says_where_to_correct_it(
        self, stage: Stage, password: str | None
    ) -> None:
        stage.require("secret")
        with pytest.raises(Unreadable, match=r"spec\.queue\.redis\.secretRef\.name") as caught:
            await stage.connection(password=password).open(Heard())
        assert caught.value.reason == "AuthenticationFailed"
        assert "secret'" not in str(caught.value)
        assert str(password) not in str(caught.value) or password is None
