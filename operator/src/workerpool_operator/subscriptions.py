"""Which pool follows which queue, and the readers that serve them.

One reader per Redis endpoint, started for its first pool and ended with its last. Knows when
somebody reads, and nothing of what follows from a reading.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.neighbours import Neighbours
from workerpool_operator.queues import CredentialSource, QueueReader, Timing
from workerpool_operator.resource import Endpoint, Key, Pool


class Follower(Protocol):
    """Who is told of readings."""

    def on_reading(
        self, keys: Collection[Key], reading: Backlog | Unreadable, *, told: float | None
    ) -> bool:
        """Take a reading of the queue that `keys` follow; answer whether it moves."""

    def on_survey(self, keys: Collection[Key], survey: Survey | Unreadable) -> None:
        """Take what the workers tell of the queue that `keys` follow."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One list on one endpoint."""

    endpoint: Endpoint
    queue: str


@dataclass(frozen=True, slots=True)
class _Desk:
    """A reader at work; the listener that names its endpoint."""

    subscriptions: "Subscriptions"
    endpoint: Endpoint

    def on_reading(self, queue: str, reading: Backlog | Unreadable, *, told: float | None) -> bool:
        """Pass a reading on to whom it concerns."""
        return self.subscriptions.pass_on(_Source(self.endpoint, queue), reading, told=told)

    def on_survey(self, queue: str, survey: Survey | Unreadable) -> None:
        """Pass a survey on to whom it concerns."""
        self.subscriptions.pass_on_survey(_Source(self.endpoint, queue), survey)


class Subscriptions:
    """Has the queues of all pools read."""

    def __init__(self, follower: Follower, credentials: CredentialSource, timing: Timing) -> None:
        self._follower = follower
        self._credentials = credentials
        self._timing = timing
        self._sources: dict[Key, _Source] = {}
        self._followers: dict[_Source, set[Key]] = {}
        self._readers: dict[Endpoint, tuple[QueueReader, asyncio.Task[None]]] = {}
        self._neighbours = Neighbours()

    def follow(self, key: Key, pool: Pool) -> bool:
        """Have the pool's queue read from now on; return whether another was left for it."""
        wanted = _Source(pool.endpoint, pool.queue)
        if self._sources.get(key) == wanted:
            return False
        left = self.unfollow(key)
        self._sources[key] = wanted
        self._followers.setdefault(wanted, set()).add(key)
        reader = self._reader(wanted.endpoint)
        reader.add(wanted.queue)
        reader.poke(wanted.queue)
        return left

    def unfollow(self, key: Key) -> bool:
        """Stop reading for a pool; return whether a queue was read for it.

        The last one to leave an endpoint ends its reader.
        """
        source = self._sources.pop(key, None)
        if source is None:
            return False
        followers = self._followers[source]
        followers.discard(key)
        if followers:
            return True
        del self._followers[source]
        self._neighbours.drop(source)
        reader, task = self._readers[source.endpoint]
        reader.discard(source.queue)
        if not any(True for _ in reader.queues):
            task.cancel()
            del self._readers[source.endpoint]
        return True

    def poke(self, key: Key) -> None:
        """Have the pool's queue read as soon as possible."""
        source = self._sources.get(key)
        if source is not None:
            self._readers[source.endpoint][0].poke(source.queue)

    async def ask(
        self, key: Key, queue: str, commands: Sequence[Sequence[str | int]]
    ) -> list[Any]:
        """Return the answers of the pool's Redis to commands of the caller's own about a queue.

        Raises:
            Unreadable: it cannot be asked now, or refuses.
        """
        source = self._sources.get(key)
        if source is None:
            raise Unreadable("The pool follows no queue now")
        return await self._readers[source.endpoint][0].ask(queue, commands)

    def pass_on(
        self, source: _Source, reading: Backlog | Unreadable, *, told: float | None
    ) -> bool:
        """Tell the follower of a reading."""
        keys = list(self._followers.get(source, ()))
        return self._follower.on_reading(keys, reading, told=told)

    def pass_on_survey(self, source: _Source, survey: Survey | Unreadable) -> None:
        """Tell the follower what workers tell, and of those of other queues beside them."""
        if source not in self._followers:
            return
        if isinstance(survey, Survey):
            survey = self._neighbours.take(source, survey)
        else:
            self._neighbours.drop(source)
        self._follower.on_survey(list(self._followers.get(source, ())), survey)

    def stuck(self, seconds: float) -> str | None:
        """Name an endpoint whose reader made no progress for `seconds`, if there is one."""
        now = asyncio.get_running_loop().time()
        for endpoint, (reader, task) in self._readers.items():
            if task.done() or now - reader.progress_at > seconds:
                return f"the reader of {endpoint.url} is stuck"
        return None

    async def close(self) -> None:
        """End all readers."""
        tasks = [task for _, task in self._readers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reader(self, endpoint: Endpoint) -> QueueReader:
        if endpoint not in self._readers:
            reader = QueueReader(endpoint, _Desk(self, endpoint), self._credentials, self._timing)
            reader.progress_at = asyncio.get_running_loop().time()
            task = asyncio.create_task(reader.run(), name=f"reader {endpoint.url}")
            self._readers[endpoint] = reader, task
        return self._readers[endpoint][0]
