"""One connection to Redis, owned by one thread: requests out, replies back.

The only module that knows redis-py, and how the right server is found: by the address, by
Sentinels, or by the nodes of a Cluster, which send us on to whom the keys belong.  Every kind of
Redis trouble leaves here as QueueUnavailable with the connection dropped, so that the next call
starts afresh (after a failover, even with another server).  It knows nothing of the protocol.
"""

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionInterface, parse_url
from redis.exceptions import AskError, MovedError
from redis.retry import Retry
from redis.sentinel import Sentinel

from image_worker.errors import QueueUnavailable
from image_worker.settings import RedisSettings, Sentinels

ANSWER_WITHIN = timedelta(seconds=5)
"""A server silent for longer is away."""
SENTINEL_WITHIN = timedelta(seconds=1)
MOST_REDIRECTIONS = 5
"""Nodes that a Cluster may send us to before an answer; more is a Cluster at odds with itself."""
Word = str | int | bytes


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source, and the digest Redis knows it by."""

    source: str
    sha: str


class Link:
    """Connects when first used, and again after any trouble."""

    def __init__(self, settings: RedisSettings, name: str) -> None:
        # No pool: taking the connection from it and putting it back would cost more than all else
        # that is done for a job, and a pool counts connections that were made, not that are open.
        address: dict[str, Any] = parse_url(settings.url)  # type: ignore[no-untyped-call]
        self._options = address | _options(settings, name)
        self._kind: type[ConnectionInterface] = self._options.pop("connection_class", Connection)
        self._sentinels = settings.sentinels
        self._connection: ConnectionInterface | None = None

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Word]) -> Any:  # noqa: ANN401
        """Run a script by its digest, or in full on a server that does not know it yet."""
        keys = tuple(keys)
        tail = b"".join(map(_bulk, arguments))
        count = 3 + len(keys) + len(arguments)
        try:
            (reply,) = self._exchange(b"*%d\r\n%b%b" % (count, _head(script, keys), tail))
        except redis.exceptions.NoScriptError:
            (reply,) = self.call(("EVAL", script.source, len(keys), *keys, *arguments))
        return reply

    def call(self, *requests: Sequence[Word]) -> list[Any]:
        """Send requests in one write, and return their replies."""
        return self._exchange(*map(_packed, requests))

    def begin(self, request: Sequence[Word]) -> None:
        """Send a request whose reply may take its time; `end` before any other call."""
        with self._trouble():
            if self._connection is None:
                self._connection = self._connected()
            self._connection.send_packed_command([_packed(request)])  # type: ignore[no-untyped-call]

    def end(self) -> Any:  # noqa: ANN401
        """Return the reply to what was begun."""
        with self._trouble():
            assert self._connection is not None  # noqa: S101  it was begun
            return self._connection.read_response(disable_decoding=True)

    def fileno(self) -> int:
        """Return the connection's socket, for `select`; only between `begin` and `end`."""
        # redis-py has no public name for it.
        socket: Any = self._connection._sock  # type: ignore[union-attr]  # noqa: SLF001
        return int(socket.fileno())

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.disconnect()  # type: ignore[no-untyped-call]
            self._connection = None

    def _exchange(self, *packed: bytes) -> list[Any]:
        with self._trouble():
            if self._connection is None:
                self._connection = self._connected()
            try:
                return _answers(self._connection, packed)
            except AskError as elsewhere:
                return self._redirected(elsewhere, packed)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.NoScriptError:
            raise  # no trouble: the connection is in step, and the next word is EVAL
        except (redis.RedisError, OSError) as error:
            self.close()
            raise QueueUnavailable(_code(error), str(error)) from error

    def _redirected(self, elsewhere: AskError, packed: Sequence[bytes]) -> list[Any]:
        """Ask whom a node of a Cluster names; it has not executed what it redirects.

        `MOVED` is for good.  `ASK` is for this once: the slot is on its way, and with it our keys.
        """
        for _ in range(MOST_REDIRECTIONS):
            asking = not isinstance(elsewhere, MovedError)
            # A node that knows no name of its own names only a port: that of the host we asked.
            host = elsewhere.host or getattr(self._connection, "host", "")
            self.close()
            self._connection = self._connected((host, elsewhere.port))
            try:
                answers = _answers(self._connection, packed, asking=asking)
            except AskError as error:
                elsewhere = error
                continue
            if asking:
                self.close()
            return answers
        raise elsewhere

    def _connected(self, node: tuple[str, int] | None = None) -> ConnectionInterface:
        if node is None and self._sentinels is not None:
            node = _master(self._sentinels)
        where = {} if node is None else {"host": node[0], "port": node[1]}
        connection = self._kind(**self._options | where)
        connection.connect()  # type: ignore[no-untyped-call]
        return connection


def answered(links: Sequence[Link], longest: timedelta) -> list[Link]:
    """Wait until something arrives on some of these connections, and return them."""
    return select.select(links, (), (), longest.total_seconds())[0]


def connect(settings: RedisSettings, name: str) -> Link:
    """Prepare a connection; it is made when first used."""
    return Link(settings, name)


def _answers(
    connection: ConnectionInterface, packed: Sequence[bytes], *, asking: bool = False
) -> list[Any]:
    """Send requests in one write and read their replies; raises the first that is an error."""
    requests = packed
    if asking:
        requests = [word for request in packed for word in (ASKING, request)]
    connection.send_packed_command([b"".join(requests)])  # type: ignore[no-untyped-call]
    replies = [connection.read_response(disable_decoding=True) for _ in requests]
    return replies[1::2] if asking else replies


def _master(sentinels: Sentinels) -> tuple[str, int]:
    """Ask one Sentinel after the other which server is the master now."""
    seconds = SENTINEL_WITHIN.total_seconds()
    asked = Sentinel(  # type: ignore[no-untyped-call]
        list(sentinels.addresses),
        sentinel_kwargs={
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
        },
    )
    try:
        host, port = asked.discover_master(sentinels.master)  # type: ignore[no-untyped-call]
    finally:
        for one in asked.sentinels:
            one.close()
    return host, int(port)


def _options(settings: RedisSettings, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": settings.username,
        "password": settings.password,
        "client_name": name,
        "protocol": 2,
        "socket_timeout": ANSWER_WITHIN.total_seconds(),
        "socket_connect_timeout": ANSWER_WITHIN.total_seconds(),
        # A claim that the client repeats by itself could take two jobs; only our own loop,
        # with the same token, may ask again.
        "retry": Retry(NoBackoff(), 0),
        # Without a driver's name there is no CLIENT SETINFO, which Redis 7.0 does not know.
        "driver_info": None,
    }
    if settings.ca_file is not None:
        options["ssl_ca_certs"] = str(settings.ca_file)
    return options


@lru_cache(maxsize=64)
def _head(script: Script, keys: tuple[str, ...]) -> bytes:
    """Pack what is the same in each call of a script by a worker."""
    words: tuple[Word, ...] = ("EVALSHA", script.sha, len(keys), *keys)
    return b"".join(map(_bulk, words))


def _packed(words: Sequence[Word]) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join(map(_bulk, words)))


def _bulk(word: Word) -> bytes:
    data = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


ASKING = _packed(("ASKING",))


def _code(error: Exception) -> str:
    """Name the trouble as Redis does (READONLY, LOADING …), or by what the socket did."""
    if isinstance(error, redis.exceptions.TimeoutError | TimeoutError):
        return "Timeout"
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return code
    word = str(error).split(" ", 1)[0]
    if isinstance(error, redis.exceptions.ResponseError) and word.isupper():
        return word
    return "Unreachable"
