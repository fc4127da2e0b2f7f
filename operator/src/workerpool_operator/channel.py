"""One connection to Redis: questions in the order they are asked, answers and pushes as they come.

A single task reads, for as long as the connection lives, and is never interrupted half-way through
an answer; so answers and invalidations keep the order in which Redis sent them. It knows the
client library, RESP3 and the time limit; neither keys nor what an answer means. An answer that is
a refusal is an `Unreadable`.
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError

from workerpool_operator.errors import Unreadable
from workerpool_operator.refusals import describe

log = logging.getLogger(__name__)

Command = Sequence[str | int]
Invalidated = Callable[[Sequence[bytes] | None], None]
"""Called with the names of keys that have changed; `None` means that any may have."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a Redis endpoint asks for; never part of a log line."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_certificates: str | None = field(default=None, repr=False)
    """PEM."""


class Channel:
    """One connection, from `open` to `close`; it is not opened again."""

    def __init__(self, url: str, credentials: Credentials, timeout: float) -> None:
        parts = urlsplit(url)
        options: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or 6379,
            "db": int(parts.path.strip("/") or 0),
            "username": credentials.username,
            "password": credentials.password,
            "protocol": 3,
            # No socket_timeout: redis-py would send under asyncio.wait_for(), which swallows a
            # cancellation now and then before Python 3.12 (cpython#86296). Time is limited here.
            "socket_timeout": None,
            "socket_connect_timeout": timeout,
        }
        if parts.scheme == "rediss":
            options["ssl_ca_data"] = credentials.ca_certificates
            self._link: Connection = SSLConnection(**options)
        else:
            self._link = Connection(**options)
        self.address = f"{parts.hostname}:{parts.port or 6379}"
        self._timeout = timeout
        self._replies: deque[asyncio.Future[Any]] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        """Answers come in the order of questions, so these must not overtake each other."""

    async def open(self, invalidated: Invalidated) -> None:
        """Connect and authenticate; call `invalidated` for each word of Redis about changes.

        Raises:
            Unreadable: it failed; what is half-open is the caller's to close.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._link.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise describe(error, self.address) from error
        # redis-py offers no public way to hear invalidations on a connection of one's own.
        parser: Any = self._link._parser  # noqa: SLF001
        parser.set_invalidation_push_handler(_keep)
        self._reader = asyncio.create_task(
            self._receive(invalidated), name=f"redis {self.address}"
        )

    async def close(self) -> None:
        """End the connection."""
        try:
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.wait({self._reader})
        finally:
            await self._hang_up()

    async def _hang_up(self) -> None:
        """End the connection at once, without TLS' goodbye.

        Asyncio would wait up to 30 s for the other side's, which may be gone; and what we still
        had to say is of no use to Redis.
        """
        writer: asyncio.StreamWriter | None = self._link._writer  # noqa: SLF001  there is no public way
        if writer is not None:
            writer.transport.abort()
        await self._link.disconnect(nowait=True)

    async def quiet(self, wake: asyncio.Event, seconds: float) -> None:
        """Wait until `wake` is set, for `seconds` at most.

        Raises:
            Unreadable: the connection ended meanwhile.
        """
        assert self._reader is not None  # noqa: S101  open() came first
        waker = asyncio.ensure_future(wake.wait())
        try:
            await asyncio.wait(
                {waker, self._reader}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waker.cancel()
        if self._reader.done():
            raise Unreadable(f"Redis at {self.address} has closed the connection")

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one piece and return their answers; refusals are answers, too.

        Whoever is cancelled while it asks may leave a question unsent whose answer is expected:
        shield it.

        Raises:
            Unreadable: the connection ended, or was ended because there was no answer in time.
        """
        if self._reader is None or self._reader.done():
            raise Unreadable(f"Redis at {self.address} has closed the connection")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        try:
            async with asyncio.timeout(self._timeout):
                packed = self._link.pack_commands(commands)
                async with self._sending:
                    self._replies.extend(futures)
                    await self._link.send_packed_command(packed, check_health=False)
                answers = await asyncio.gather(*futures)
        except (RedisError, OSError, TimeoutError) as error:
            # Which answer belongs to which question is no longer sure: end it for all.
            await self._hang_up()
            raise describe(error, self.address) from error
        return [describe(a, self.address) if isinstance(a, RedisError) else a for a in answers]

    async def _receive(self, invalidated: Invalidated) -> None:
        """Hand each answer to the oldest question, until the connection ends."""
        try:
            while True:
                try:
                    # push_request: else redis-py recurses into itself for each push message,
                    # and a thousand lists that change at once exhaust the stack.
                    answer = await self._link.read_response(
                        timeout=math.inf, disconnect_on_error=False, push_request=True
                    )
                except ResponseError as refusal:
                    answer = refusal
                if isinstance(answer, _Invalidation):
                    invalidated(answer.names)
                    continue
                future = self._replies.popleft()
                if not future.done():
                    future.set_result(answer)
        except (RedisError, OSError) as error:
            self._fail(error)
        except Exception as error:  # the edge of a task: nobody may wait for it in vain
            log.exception("Redis %s sent what cannot be understood", self.address)
            self._fail(RedisError(f"its answer cannot be understood: {error!r}"))

    def _fail(self, error: Exception) -> None:
        for future in self._replies:
            if not future.done():
                future.set_exception(error)


async def ask_once(host: str, port: int, timeout: float, *command: str) -> Any:  # noqa: ANN401, ASYNC109
    """Return a Sentinel's answer to one question; connects for it, without TLS or password.

    Raises:
        Unreadable: there was none in time, or a refusal.
    """
    link = Connection(
        host=host,
        port=port,
        protocol=2,
        driver_info=None,
        socket_timeout=None,  # as above: never asyncio.wait_for()
        socket_connect_timeout=timeout,
    )
    try:
        async with asyncio.timeout(timeout):
            await link.connect()  # type: ignore[no-untyped-call]
            await link.send_command(*command)
            return await link.read_response()
    except (RedisError, OSError, TimeoutError) as error:
        words = str(error) or "does not answer in time"
        raise Unreadable(f"{host}:{port}: {words}") from error
    finally:
        await link.disconnect(nowait=True)


@dataclass(frozen=True, slots=True)
class _Invalidation:
    """Redis' word that lists changed; `None` means all of them."""

    names: Sequence[bytes] | None


async def _keep(message: Sequence[Any]) -> _Invalidation:
    return _Invalidation(message[1])
