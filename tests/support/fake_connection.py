"""A Redis in memory, as `workerpool_operator.queues` sees one: for tests on a virtual clock.

`support.connection_contract` holds it to what the real connection does to a real server.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workerpool_operator.channel import Credentials
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.resource import Endpoint

Invalidated = Callable[[Sequence[bytes] | None], None]

CLOCK_RESOLUTION = 1e-6
"""A virtual clock would never reach a time nearer than that."""


class FakeRedis:
    """The server: what is stored, who is connected, and what is wrong with it."""

    def __init__(self, *, latency: float = 0.0) -> None:
        self.latency = latency
        """Seconds that an answer takes."""
        self.backlogs: dict[str, Backlog] = {}
        self.strings: set[str] = set()
        self.surveys: dict[str, Survey | Unreadable] = {}
        self.connections: list[FakeConnection] = []
        self.refused_until_told: Unreadable | None = None
        """What an attempt to connect meets."""
        self.unreadable: Unreadable | None = None
        """What a read meets, as from a server that is loading."""
        self.tracks = True
        self.password: str | None = None
        self.running = asyncio.Event()
        self.running.set()
        self.log: list[tuple[float, str]] = []
        """When who asked for what: `connect`, `ping` or the queues read."""

    def connect(
        self, endpoint: Endpoint, credentials: Credentials, timeout: float
    ) -> "FakeConnection":
        """Return a connection; the `Connector` of a reader."""
        return FakeConnection(self, endpoint.url, credentials, timeout)

    def put(self, queue: str, backlog: Backlog) -> None:
        """Store what is known of a queue; only its list is tracked."""
        before = self.backlogs.get(queue, Backlog(0))
        self.backlogs[queue] = backlog
        if backlog.waiting != before.waiting:
            self._changed(queue)

    def put_string(self, queue: str) -> None:
        """Store something else than a list."""
        self.strings.add(queue)
        self._changed(queue)

    def flush(self) -> None:
        """Forget everything."""
        self.backlogs.clear()
        self.strings.clear()
        for connection in self.connections:
            connection.tell(None)

    def cut(self) -> None:
        """End every connection."""
        for connection in list(self.connections):
            connection.end()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Answer nobody."""
        self.running.clear()
        try:
            yield
        finally:
            self.running.set()

    def note(self, what: str) -> None:
        """Keep what was asked for."""
        self.log.append((asyncio.get_running_loop().time(), what))

    def _changed(self, queue: str) -> None:
        for connection in self.connections:
            if queue in connection.tracked:
                connection.tracked.discard(queue)
                connection.tell([queue.encode()])


class FakeConnection:
    """One client of a `FakeRedis`."""

    def __init__(
        self, server: FakeRedis, url: str, credentials: Credentials, timeout: float
    ) -> None:
        self._server = server
        self._url = url
        self._credentials = credentials
        self._timeout = timeout
        self._ended = asyncio.Event()
        self._ended.set()
        self._invalidated: Invalidated | None = None
        self.tracked: set[str] = set()
        self.tracking = False

    async def open(self, invalidated: Invalidated) -> None:
        """Connect."""
        self._server.note("connect")
        await self._answer()
        if self._server.refused_until_told is not None:
            raise self._server.refused_until_told
        if self._server.password != self._credentials.password:
            raise Unreadable(
                "refuses the credentials: spec.queue.redis.secretRef.name",
                reason="AuthenticationFailed",
            )
        self._invalidated = invalidated
        self._ended.clear()
        self.tracking = self._server.tracks
        self._server.connections.append(self)

    async def close(self) -> None:
        """End the connection."""
        self.end()

    async def quiet(self, wake: asyncio.Event, seconds: float) -> None:
        """Wait."""
        waits = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(self._ended.wait())]
        seconds = max(seconds, CLOCK_RESOLUTION)
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        self._check()

    async def ping(self) -> None:
        """Ask whether the server is there."""
        self._check()
        self._server.note("ping")
        await self._answer()
        self._check()

    async def read(self, queues: Sequence[str]) -> list[Backlog | Unreadable]:
        """Return backlogs as they are when the question arrives; the answer takes its time."""
        self._check()
        self._server.note(" ".join(queues))
        answers: list[Backlog | Unreadable] = []
        for queue in queues:
            if queue in self._server.strings:
                answers.append(Unreadable("no list: correct spec.queue.list", reason="NotAList"))
            else:
                answers.append(self._server.backlogs.get(queue, Backlog(0)))
            if self.tracking:
                self.tracked.add(queue)
        await self._answer()
        self._check()
        if self._server.unreadable is not None:
            raise self._server.unreadable
        return answers

    async def survey(self, queues: Sequence[str]) -> list[Survey | Unreadable]:
        """Return what workers are said to tell; one who says nothing is counted."""
        self._check()
        surveys = [
            self._server.surveys.get(queue, Survey(self._server.backlogs[queue].workers))
            for queue in queues
        ]
        await self._answer()
        self._check()
        return surveys

    async def ask(self, queue: str, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Return nothing for each command: no test of the reader looks at more."""
        self._check()
        self._server.note(f"ask {queue}")
        await self._answer()
        self._check()
        return [None for _ in commands]

    def tell(self, names: Sequence[bytes] | None) -> None:
        """Report a change to whoever opened the connection."""
        if self._invalidated is not None and self.tracking:
            self._invalidated(names)

    def end(self) -> None:
        """Take the connection away."""
        self._ended.set()
        if self in self._server.connections:
            self._server.connections.remove(self)

    def _check(self) -> None:
        if self._ended.is_set():
            raise Unreadable("has closed the connection")

    async def _answer(self) -> None:
        await asyncio.sleep(self._server.latency)
        try:
            async with asyncio.timeout(self._timeout):
                await self._server.running.wait()
        except TimeoutError as error:
            raise Unreadable("does not answer in time") from error
