"""One Redis connection that answers questions and hears of changes.

The only module that knows Redis. A single task reads, for as long as the connection lives, and
is never interrupted half-way through an answer; so answers and invalidations keep the order in
which Redis sent them.
https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from workerpool_operator import census
from workerpool_operator.errors import Moved, Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.model import Backlog

log = logging.getLogger(__name__)

CLIENT_NAME = "workerpool-operator"
"""What `CLIENT LIST` shows."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a Redis endpoint asks for; never part of a log line."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_certificates: str | None = field(default=None, repr=False)
    """PEM."""


def queue_prefix(queue: str) -> str:
    """Return what the keys beside a list start with: the same hash slot as the list.

    `queue:images` → `{queue:images}:`; a list with its own tag keeps it: `q:{eu}` → `q:{eu}:`.
    """
    return f"{queue}:" if "}" in queue else f"{{{queue}}}:"


class TrackingConnection:
    """Reads backlogs; says when a list that was read has changed."""

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
        self._address = f"{parts.hostname}:{parts.port or 6379}"
        self._timeout = timeout
        self._replies: deque[asyncio.Future[Any]] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        """Answers come in the order of questions, so these must not overtake each other."""
        self._clock_offset = 0.0
        self._server = ""
        self.tracking = False
        """Whether Redis reports changes."""

    async def open(self, invalidated: Callable[[Sequence[bytes] | None], None]) -> None:
        """Connect, authenticate and ask for invalidations.

        Raises:
            Unreadable: any of it failed; nothing stays open.
        """
        try:
            await self._connect(invalidated)
        except BaseException:  # a cancelled attempt must not leave a connection behind either
            await self.close()
            raise

    async def close(self) -> None:
        """End the connection."""
        try:
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.wait({self._reader})
        finally:
            await self._link.disconnect(nowait=True)

    async def _connect(self, invalidated: Callable[[Sequence[bytes] | None], None]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._link.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise describe(error, self._address) from error
        # redis-py offers no public way to hear invalidations on a connection of one's own.
        parser: Any = self._link._parser  # noqa: SLF001
        parser.set_invalidation_push_handler(_keep)
        self._reader = asyncio.create_task(
            self._receive(invalidated), name=f"redis {self._address}"
        )
        time, about, _, tracking, caching, _ = await self._ask(
            [
                ("TIME",),
                ("INFO", "server"),  # once per connection: a server that restarts ends it
                ("CLIENT", "SETNAME", CLIENT_NAME),  # not worth a failure where it is forbidden
                ("CLIENT", "TRACKING", "ON", "OPTIN"),
                ("CLIENT", "CACHING", "YES"),
                ("TIME",),  # what the CACHING applies to
            ]
        )
        self._set_clock(time)
        self._server = _field(about, b"run_id")
        refusals = [a for a in (tracking, caching) if isinstance(a, ResponseError)]
        self.tracking = not refusals
        if refusals:
            log.warning(
                "Redis %s refuses CLIENT TRACKING (%s); reading its queues every tick instead",
                self._address,
                refusals[0],
            )

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
            raise Unreadable(f"Redis at {self._address} has closed the connection")

    async def require_master(self) -> None:
        """Prove that this server is no replica; `INFO`, as `ROLE` would be one more right.

        Where `INFO` is refused, whoever named this server is believed.

        Raises:
            Unreadable: it is one, or the connection ended.
        """
        (about,) = await self._ask([("INFO", "replication")])
        role = _field(about, b"role")
        if role not in {"", "master"}:
            raise Unreadable(
                f"Redis at {self._address} is not the master, as the Sentinels said, but a "
                f"replica: they are asked again in a moment. If this stays, compare SENTINEL "
                f"MASTERS on each of them",
                reason="NotMaster",
            )

    async def ping(self) -> None:
        """Prove that Redis is still there."""
        await self._ask([("PING",)])

    async def survey(self, queues: Sequence[str]) -> list[Survey | Unreadable]:
        """Return what each queue's workers tell of themselves."""
        return await census.take(self._answers, [queue_prefix(q) for q in queues], self._now_ms())

    async def _answers(self, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        answers = await self._ask(commands)
        return [describe(a, self._address) if isinstance(a, RedisError) else a for a in answers]

    async def read(self, queues: Sequence[str]) -> list[Backlog | Unreadable]:
        """Return each queue's backlog, read in one round trip; the list itself is tracked."""
        now_ms = self._now_ms()
        commands: list[tuple[str | int, ...]] = [("TIME",)]
        for queue in queues:
            prefix = queue_prefix(queue)
            if self.tracking:
                # The list alone: the other keys change with every heartbeat.
                commands.append(("CLIENT", "CACHING", "YES"))
            commands += [
                ("LLEN", queue),
                ("LLEN", f"{prefix}landing"),
                ("ZCARD", f"{prefix}inflight"),
                ("ZCOUNT", f"{prefix}retry", "-inf", now_ms),
                ("ZCARD", f"{prefix}retry"),
                ("ZCOUNT", f"{prefix}workers", "-inf", now_ms),
                ("ZCARD", f"{prefix}workers"),
                ("HMGET", f"{prefix}stats", "done", "dead", "busy_ms"),
            ]
        time, *answers = await self._ask(commands)
        self._set_clock(time)
        width = len(answers) // len(queues)
        rows = (answers[i : i + width] for i in range(0, len(answers), width))
        return [self._backlog(row[-8:]) for row in rows]

    def _now_ms(self) -> int:
        """Return Redis' time, as far as it is known."""
        return round((asyncio.get_running_loop().time() + self._clock_offset) * 1000)

    def _set_clock(self, time: Any) -> None:  # noqa: ANN401  an answer of Redis
        """Remember how far Redis' clock, which deadlines are written in, is from the loop's."""
        if isinstance(time, RedisError):
            raise describe(time, self._address)
        seconds, microseconds = map(int, time)
        self._clock_offset = seconds + microseconds / 1e6 - asyncio.get_running_loop().time()

    def _backlog(self, answers: Sequence[Any]) -> Backlog | Unreadable:
        for answer in answers:
            if isinstance(answer, RedisError):
                return describe(answer, self._address)
        waiting, landed, in_flight, due, retries, orphaned, workers, counters = answers
        done, buried, busy_ms = (int(counter or 0) for counter in counters)
        return Backlog(
            waiting=waiting + landed,
            due=due,
            in_flight=in_flight,
            orphaned=orphaned,
            # The answers of a pipeline may lie an instant apart.
            scheduled=max(0, retries - due),
            workers=workers,
            done=done,
            buried=buried,
            busy=timedelta(milliseconds=busy_ms),
            server=self._server,
        )

    async def ask(self, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Return the answers to commands of the caller's own, beside what is read here.

        Raises:
            Unreadable: one of them was refused, or the connection ended.
        """
        # Whoever gives up waiting must not leave a question unsent whose answer is expected.
        asking = asyncio.create_task(self._ask(commands))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        answers = await asyncio.shield(asking)
        for answer in answers:
            if isinstance(answer, RedisError):
                raise describe(answer, self._address)
        return answers

    async def _ask(self, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        """Send commands in one piece and return their answers; errors are answers, too."""
        if self._reader is None or self._reader.done():
            raise Unreadable(f"Redis at {self._address} has closed the connection")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        try:
            async with asyncio.timeout(self._timeout):
                packed = self._link.pack_commands(commands)
                async with self._sending:
                    self._replies.extend(futures)
                    await self._link.send_packed_command(packed, check_health=False)
                return await asyncio.gather(*futures)
        except (RedisError, OSError, TimeoutError) as error:
            # Which answer belongs to which question is no longer sure: end it for all.
            await self._link.disconnect(nowait=True)
            raise describe(error, self._address) from error

    async def _receive(self, invalidated: Callable[[Sequence[bytes] | None], None]) -> None:
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
            log.exception("Redis %s sent what cannot be understood", self._address)
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


def _field(about: Any, wanted: bytes) -> str:  # noqa: ANN401  an answer of Redis
    """Return an entry of INFO, such as what names this run of the server; else nothing."""
    if not isinstance(about, bytes):
        return ""
    lines = (line.partition(b":") for line in about.splitlines())
    return next((value.decode() for name, _, value in lines if name == wanted), "")


@dataclass(frozen=True, slots=True)
class _Invalidation:
    """Redis' word that lists changed; `None` means all of them."""

    names: Sequence[bytes] | None


async def _keep(message: Sequence[Any]) -> _Invalidation:
    return _Invalidation(message[1])


def describe(error: BaseException, address: str) -> Unreadable:
    """Say in a person's words what Redis' trouble is and what to do about it."""
    words = str(error)
    reason, remedy = "Unreachable", f"cannot be read: {words or type(error).__name__}"
    match error:
        case AuthenticationError():
            reason = "AuthenticationFailed"
            remedy = (
                "refuses the credentials: put username and password as it knows them into a "
                f"Secret and name that in spec.queue.redis.secretRef.name ({words})"
            )
        case NoPermissionError():
            reason = "PermissionDenied"
            remedy = (
                "forbids the operator's user a command: grant what docs/protocol.md lists "
                f"({words})"
            )
        case MovedError():
            remedy = "says that another node of the Cluster has the queue"
            return Moved(f"Redis at {address} {remedy}", host=error.host, port=error.port)
        case AskError() | TryAgainError():
            reason = "SlotMoving"
            remedy = "is moving the queue's slot to another node: it is read again in a moment"
        case ClusterDownError():
            reason = "ClusterDown"
            remedy = f"belongs to a Cluster some of whose slots nobody serves ({words})"
        case BusyLoadingError():
            reason, remedy = "Loading", "is still loading its data"
        case ResponseError() if words.startswith("WRONGTYPE"):
            reason = "NotAList"
            remedy = "holds something else than a list under that name: correct spec.queue.list"
        case TimeoutError():
            remedy = "does not answer in time"
        case _:
            pass
    return Unreadable(f"Redis at {address} {remedy}", reason=reason)
