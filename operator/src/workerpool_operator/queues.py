"""Queue lengths: told by Redis the moment they change, read in bulk while they move.

One `QueueReader` per endpoint, one connection (of a Cluster, one to each node) per reader, however
many pools:

- An idle queue is read once with `CLIENT TRACKING` on; Redis itself then reports the next change
  (an *invalidation*), so idle queues cost nothing.
- A queue that moves is read again soon, then less often, up to once a tick; all that are due go
  in one pipeline.
- Every queue is read every `safety_poll`, whatever was or was not reported.
- Where tracking is refused (an ACL, a proxy), ticks do the whole work.

It decides nothing: a listener gets each reading, and answers whether the queue still moves.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from workerpool_operator.channel import Credentials
from workerpool_operator.errors import ApplyFailed, NotFound, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.nodes import Nodes
from workerpool_operator.resource import Endpoint

log = logging.getLogger(__name__)

FIRST_REREAD_SECONDS = 0.01
"""After a change; doubled from reading to reading, up to a tick."""
RECONNECT_SECONDS = (0.05, 5.0)
"""The first and the longest delay before another attempt to connect."""
SURVEY_QUEUES = 4
"""Queues whose workers are asked in one go: in the meantime others get their turn."""
PIPELINE_QUEUES = 500
"""Queues read in one round trip; larger pipelines would block other clients of the server."""


CredentialSource = Callable[[Endpoint], Awaitable[Credentials]]
"""Read before every connection attempt, so that a rotated password is found by itself."""


class Listener(Protocol):
    """Whom a reader tells."""

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        """Take a reading; answer whether the queue moves and is to be read again soon.

        `told` is the loop's time at which Redis reported the change that led to this reading.
        """

    def on_survey(self, queue: str, survey: Survey | Unreadable) -> None:
        """Take what the queue's workers tell of themselves."""


class Connection(Protocol):
    """What a reader needs of a connection; `TrackingConnection` says more of each."""

    @property
    def tracking(self) -> bool:
        """Whether changes are reported."""

    async def open(self, invalidated: Callable[[Sequence[bytes] | None], None]) -> None:
        """Connect, and report changes to `invalidated` from now on."""

    async def close(self) -> None:
        """End it."""

    async def quiet(self, wake: asyncio.Event, seconds: float) -> None:
        """Wait until `wake` is set, for `seconds` at most, or until the connection ends."""

    async def ping(self) -> None:
        """Prove that somebody is there."""

    async def read(self, queues: Sequence[str]) -> list[Backlog | Unreadable]:
        """Return each queue's backlog, and have its next change reported."""

    async def survey(self, queues: Sequence[str]) -> list[Survey | Unreadable]:
        """Return what each queue's workers tell of themselves."""

    async def ask(self, queue: str, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Return the answers to commands of the caller's own, from where the queue is."""


Connector = Callable[[Endpoint, Credentials, float], Connection]
"""Endpoint, credentials and timeout → a connection to be opened."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often queues are read, in seconds."""

    tick: float = 0.25
    safety_poll: float = 30.0
    timeout: float = 5.0
    """For a connection, and for any answer."""
    survey: float = 10.0
    """Between two surveys of the workers."""


@dataclass(slots=True)
class _Queue:
    """When a queue is due, and why."""

    due: float = 0.0
    pause: float = FIRST_REREAD_SECONDS
    told: float | None = None
    workers: int = 0
    """How many it had when it was last read: nobody is asked where nobody is."""


class QueueReader:
    """Reads all queues of one Redis endpoint and tells its listener."""

    def __init__(
        self,
        endpoint: Endpoint,
        listener: Listener,
        credentials: CredentialSource,
        timing: Timing,
        connector: Connector = Nodes,
    ) -> None:
        self.endpoint = endpoint
        self._listener = listener
        self._credentials = credentials
        self._timing = timing
        self._connector = connector
        self._queues: dict[str, _Queue] = {}
        self._wake = asyncio.Event()
        self._connection: Connection | None = None
        self._served = False
        """Whether the present connection has answered a whole round."""
        self.progress_at = -math.inf
        """The loop's time at which the reader last finished a round or an attempt to connect."""

    @property
    def queues(self) -> Iterable[str]:
        """The lists that are read."""
        return self._queues.keys()

    def add(self, queue: str) -> None:
        """Start reading a list, at once."""
        self._queues.setdefault(queue, _Queue())
        self._wake.set()

    def discard(self, queue: str) -> None:
        """Stop reading a list."""
        self._queues.pop(queue, None)

    def poke(self, queue: str, *, told: float | None = None) -> None:
        """Read a list as soon as possible."""
        entry = self._queues.get(queue)
        if entry is not None:
            entry.due, entry.pause = 0.0, FIRST_REREAD_SECONDS
            entry.told = entry.told or told
            self._wake.set()

    async def ask(self, queue: str, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Return the answers of this Redis to commands of the caller's own.

        Raises:
            Unreadable: it cannot be asked now, or refuses.
        """
        if self._connection is None:
            raise Unreadable(f"There is no connection to {self.endpoint.url} now")
        return await self._connection.ask(queue, commands) if commands else []

    async def run(self) -> None:
        """Read for ever; whatever Redis does, this does not end."""
        delay, longest = RECONNECT_SECONDS
        while True:
            self._served = False
            try:
                await self._session()
            except Unreadable as error:
                trouble = error
            except Exception as error:  # the edge of a task: a defect must not end the reading
                log.exception("reading %s failed unexpectedly", self.endpoint.url)
                trouble = Unreadable(f"the operator failed: {error!r}", reason="InternalError")
            self.progress_at = asyncio.get_running_loop().time()
            if self._served:
                # Proxies and restarts end connections: no news while the next one can be made.
                delay = RECONNECT_SECONDS[0]
            else:
                self._report(trouble)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter
            delay = min(delay * 2, longest)

    async def _session(self) -> NoReturn:
        """Connect, and read until the connection ends."""
        connection = await self._connect()
        self._connection = connection
        # Beside the reading, so that no survey can ever delay an answer to a push.
        surveying = asyncio.create_task(self._survey(connection))
        try:
            await self._serve(connection)
        finally:
            self._connection = None
            surveying.cancel()
            try:
                await asyncio.wait({surveying})
            finally:
                await connection.close()

    async def _survey(self, connection: Connection) -> None:
        """Ask the workers of every queue that has any, slowly, until the connection ends."""
        asked: set[str] = set()
        while True:
            await asyncio.sleep(self._timing.survey)
            staffed = [name for name, entry in self._queues.items() if entry.workers]
            for name in (asked - set(staffed)) & self._queues.keys():
                self._listener.on_survey(name, Survey())
            asked = set(staffed)
            try:
                for start in range(0, len(staffed), SURVEY_QUEUES):
                    batch = staffed[start : start + SURVEY_QUEUES]
                    surveys = await connection.survey(batch)
                    for name, survey in zip(batch, surveys, strict=True):
                        if name in self._queues:
                            self._listener.on_survey(name, survey)
            except Unreadable:
                return  # the reading hears of it, too, and connects again
            except Exception:  # the edge of a task: evidence is worth less than the scaling
                log.exception("the workers at %s cannot be surveyed", self.endpoint.url)

    def _report(self, error: Unreadable) -> None:
        try:
            for name in list(self._queues):
                self._listener.on_reading(name, error, told=None)
        except Exception:  # the edge of a task: the next attempt must be made all the same
            log.exception("a trouble of %s cannot be told", self.endpoint.url)

    async def _connect(self) -> Connection:
        try:
            credentials = await self._credentials(self.endpoint)
        except NotFound as error:
            raise Unreadable(
                f"The Secret {self.endpoint.secret} does not exist: create it, or correct "
                f"spec.queue.redis.secretRef.name",
                reason="SecretMissing",
            ) from error
        except ApplyFailed as error:
            raise Unreadable(f"The credentials for Redis cannot be read: {error}") from error
        connection = self._connector(self.endpoint, credentials, self._timing.timeout)
        await connection.open(self._invalidated)
        for entry in self._queues.values():
            entry.due = 0.0
        return connection

    def _invalidated(self, names: Sequence[bytes] | None) -> None:
        """Take Redis' word that lists changed; `None` means all of them (FLUSHALL)."""
        now = asyncio.get_running_loop().time()
        for name in list(self._queues) if names is None else map(bytes.decode, names):
            self.poke(name, told=now)

    async def _serve(self, connection: Connection) -> NoReturn:
        """Read what is due, sleep until something is, for as long as the connection lasts."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = loop.time()
            due = [name for name, entry in self._queues.items() if entry.due <= now]
            for start in range(0, len(due), PIPELINE_QUEUES):
                await self._read(connection, due[start : start + PIPELINE_QUEUES])
            self._served = True
            self.progress_at = now = loop.time()
            pause = min((q.due for q in self._queues.values()), default=math.inf) - now
            if pause > 0:
                await connection.quiet(self._wake, min(pause, self._timing.timeout))
            if pause > self._timing.timeout and not self._wake.is_set():
                await connection.ping()

    async def _read(self, connection: Connection, due: Sequence[str]) -> None:
        names = [name for name in due if name in self._queues]  # some were dropped meanwhile
        told: dict[str, float | None] = {}
        for name in names:
            entry = self._queues[name]
            told[name], entry.told, entry.due = entry.told, None, math.inf
        readings = await connection.read(names)
        now = asyncio.get_running_loop().time()
        rest = self._timing.safety_poll if connection.tracking else self._timing.tick
        for name, reading in zip(names, readings, strict=True):
            moves = self._listener.on_reading(name, reading, told=told[name])
            entry_now = self._queues.get(name)
            if entry_now is not None and isinstance(reading, Backlog):
                entry_now.workers = reading.workers
            if entry_now is None or entry_now.due < math.inf:
                continue  # dropped, or poked while the answer was on its way
            if moves:
                entry_now.due = now + entry_now.pause
                entry_now.pause = min(entry_now.pause * 2, self._timing.tick)
            else:
                entry_now.due, entry_now.pause = now + rest, FIRST_REREAD_SECONDS
