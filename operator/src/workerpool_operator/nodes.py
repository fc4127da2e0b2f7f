"""One Redis as a reader wants it: one connection to a server, or to a Cluster as many as it takes.

Behind Sentinels the server is the master that they name when the connection is made. One that is
demoted loses its clients at once (Sentinel kills them); one that keeps them is asked for its role
every few seconds, when it is read anyway.

A node of a Cluster answers for its own slots alone, and names the node that has another one's.
Learns in this way who has which queue, and knows neither Redis' commands nor when to read.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from workerpool_operator import sentinels
from workerpool_operator.channel import Credentials
from workerpool_operator.errors import Moved, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog
from workerpool_operator.resource import Endpoint
from workerpool_operator.tracking import TrackingConnection

CONFIRM_SECONDS = 5.0
"""For how long a master behind Sentinels is taken for one without being asked."""
MOST_REDIRECTIONS = 5
"""Nodes that name another one in a row; more is a Cluster at odds with itself."""
AWAY_TIMES = 3
"""How much longer than an attempt to connect took its node is left alone after it."""

Invalidated = Callable[[Sequence[bytes] | None], None]
T = TypeVar("T")
Call = Callable[[TrackingConnection, Sequence[str]], Awaitable[Sequence[T]]]


class Nodes:
    """Connections to the nodes that have our queues; they end together."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials, timeout: float) -> None:
        self._endpoint = endpoint
        self._url = endpoint.url
        self._credentials = credentials
        self._timeout = timeout
        self._links: dict[str, TrackingConnection] = {}
        self._confirm_at = -math.inf
        """The loop's time from which on the master is asked again whether it is one."""
        self._homes: dict[str, str] = {}
        """Where a queue is, if not at the URL."""
        self._failed: dict[str, tuple[float, Unreadable]] = {}
        """Nodes that could not be connected to: until when they are left alone, and why."""
        self._invalidated: Invalidated = lambda _: None

    @property
    def tracking(self) -> bool:
        """Whether all of them report changes."""
        return all(link.tracking for link in self._links.values())

    async def open(self, invalidated: Invalidated) -> None:
        """Connect to the URL, or to whom Sentinels name; to other nodes when they are named.

        Raises:
            Unreadable: it failed; nothing stays open.
        """
        self._invalidated = invalidated
        if self._endpoint.sentinels:
            self._url = _at(self._url, *await sentinels.master(self._endpoint, self._timeout))
        await self._open(self._url)
        try:
            await self._confirm()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all connections, also if that is cancelled."""
        if self._links:
            _, link = self._links.popitem()
            try:
                await link.close()
            finally:
                await self.close()

    async def quiet(self, wake: asyncio.Event, seconds: float) -> None:
        """Wait until `wake` is set, for `seconds` at most.

        Raises:
            Unreadable: a connection ended meanwhile; the others are of no use without it.
        """
        if len(self._links) == 1:
            await self._links[self._url].quiet(wake, seconds)
            return
        waits = [asyncio.create_task(x.quiet(wake, seconds)) for x in self._links.values()]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for task in done:
            task.result()

    async def ping(self) -> None:
        """Prove that all of them are still there."""
        await asyncio.gather(*(link.ping() for link in self._links.values()))

    async def read(self, queues: Sequence[str]) -> list[Backlog | Unreadable]:
        """Return each queue's backlog from the node that has it; once known, in one round trip."""
        await self._confirm()
        known: dict[str, Backlog | Unreadable] = {}
        asked = list(queues)
        for _ in range(MOST_REDIRECTIONS):
            known |= await self._at_home(asked, TrackingConnection.read)
            asked = [queue for queue in asked if await self._moved(queue, known)]
            if not asked:
                break
        return [known[queue] for queue in queues]

    async def survey(self, queues: Sequence[str]) -> list[Survey | Unreadable]:
        """Return what workers tell of themselves, from where the queues were read."""
        told = await self._at_home(queues, TrackingConnection.survey)
        return [told[queue] for queue in queues]

    async def ask(self, queue: str, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Return the answers to commands of the caller's own, from where the queue is."""
        for _ in range(MOST_REDIRECTIONS):
            try:
                return await self._links[self._homes.get(queue, self._url)].ask(commands)
            except Moved as moved:  # a queue that nobody reads, or that has just moved
                known: dict[str, Backlog | Unreadable] = {queue: moved}
                if not await self._moved(queue, known):
                    raise Unreadable(str(known[queue])) from moved
        raise Unreadable(f"No node of the Cluster has {queue}: each names another one")

    async def _at_home(self, queues: Sequence[str], call: Call[T]) -> dict[str, T]:
        by_node: dict[str, list[str]] = {}
        for queue in queues:
            by_node.setdefault(self._homes.get(queue, self._url), []).append(queue)
        answers = await asyncio.gather(
            *(call(self._links[url], names) for url, names in by_node.items())
        )
        return {
            queue: answer
            for names, of_node in zip(by_node.values(), answers, strict=True)
            for queue, answer in zip(names, of_node, strict=True)
        }

    async def _moved(self, queue: str, known: dict[str, Backlog | Unreadable]) -> bool:
        """Connect to whom a queue's reading names, if it names one; else it is the reading."""
        reading = known[queue]
        if not isinstance(reading, Moved):
            return False
        home = self._node(self._homes.get(queue, self._url), reading)
        if error := await self._away(home):
            # The queues of the other nodes can be read without this one.
            known[queue] = error
            self._homes.pop(queue, None)
            return False
        self._homes[queue] = home
        return True

    async def _away(self, url: str) -> Unreadable | None:
        """Connect to a node; return why that fails.

        An attempt may take its whole time while the other queues wait, so its answer holds for
        all queues of that node, and for a while that is in proportion to what it took.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        until, error = self._failed.get(url, (began, None))
        if error is not None and began < until:
            return error
        try:
            await self._open(url)
        except Unreadable as failure:
            took = loop.time() - began
            self._failed[url] = began + took * (1 + AWAY_TIMES), failure
            return failure
        self._failed.pop(url, None)
        return None

    async def _open(self, url: str) -> None:
        if url not in self._links:
            link = TrackingConnection(url, self._credentials, self._timeout)
            await link.open(self._invalidated)
            self._links[url] = link

    def _node(self, asked: str, moved: Moved) -> str:
        """Return the URL of the node that was named; one without a name is where we asked."""
        return _at(self._url, moved.host or urlsplit(asked).hostname or "", moved.port)

    async def _confirm(self) -> None:
        """Have the Sentinels' master prove now and then that it is one."""
        now = asyncio.get_running_loop().time()
        if self._endpoint.sentinels and now >= self._confirm_at:
            await self._links[self._url].require_master()
            self._confirm_at = now + CONFIRM_SECONDS


def _at(url: str, host: str, port: int) -> str:
    """Return the same address with another host."""
    place = f"[{host}]" if ":" in host else host
    return urlunsplit(urlsplit(url)._replace(netloc=f"{place}:{port}"))
