"""One connection to Redis, owned by one thread: requests out, replies back.

The only module that knows redis-py, and how the right server is found: by the address, by
Sentinels, or by the nodes of a Cluster, which send us on to whom the keys belong.  Every kind of
Redis trouble leaves here as QueueUnavailable with the connection dropped, so that the next call
starts afresh (after a failover, even with another server).  It knows nothing of the protocol.
"""

import selectors
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionInterface, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from image_worker import patience
from image_worker.errors import QueueUnavailable
from image_worker.resp import Refused, Replies, Word, bulks, packed
from image_worker.settings import RedisSettings, Sentinels

ANSWER_WITHIN = timedelta(seconds=5)
"""A server silent for longer is away."""
SENTINEL_WITHIN = timedelta(seconds=1)
MOST_REDIRECTIONS = 5
"""Nodes that a Cluster may send us to before an answer; more is a Cluster at odds with itself."""
REDIRECTIONS = frozenset({"MOVED", "ASK"})


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source, and the digest Redis knows it by."""

    source: str
    sha: str


class Call:
    """A script, its keys, and those first arguments that are the same each time, packed once."""

    __slots__ = ("packed", "script", "words")

    def __init__(self, script: Script, keys: Sequence[str], *first: Word) -> None:
        self.script = script
        self.words: tuple[Word, ...] = (len(keys), *keys, *first)
        self.packed = bulks(("EVALSHA", script.sha, *self.words))


class Link:
    """Connects when first used, and again after any trouble."""

    def __init__(self, settings: RedisSettings, name: str) -> None:
        # No pool: taking the connection from it and putting it back would cost more than all else
        # that is done for a job, and a pool counts connections that were made, not that are open.
        address: dict[str, Any] = parse_url(settings.url)  # type: ignore[no-untyped-call]
        self._options = address | _options(settings, name)
        self._kind: type[ConnectionInterface] = self._options.pop("connection_class", Connection)
        self._sentinels = settings.sentinels
        self._line: _Line | None = None

    def run(
        self,
        call: Call,
        arguments: Sequence[Word] = (),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Any:  # noqa: ANN401
        """Run a script by its digest, or in full on a server that does not know it yet.

        `meanwhile` is done while Redis is at it.
        """
        request = b"*%d\r\n%b%b" % (
            2 + len(call.words) + len(arguments),
            call.packed,
            bulks(arguments),
        )
        try:
            (reply,) = self._exchange((request,), meanwhile)
        except Refused:  # NOSCRIPT
            (reply,) = self.call(("EVAL", call.script.source, *call.words, *arguments))
        return reply

    def call(self, *requests: Sequence[Word]) -> list[Any]:
        """Send requests in one write, and return their replies."""
        return self._exchange([packed(request) for request in requests])

    def heard(self, *requests: Sequence[Word]) -> bool:
        """Send requests in one write; return whether the last reply is something, unkept."""
        packets = [packed(request) for request in requests]
        return bool(self._exchange(packets, last=_Line.heard)[-1])

    def begin(self, request: Sequence[Word]) -> None:
        """Send a request whose reply may take its time; `end` before any other call."""
        try:
            self._connected().send((packed(request),))
        except (redis.RedisError, OSError) as error:
            raise self._given_up(error) from error

    def end(self) -> bool:
        """Return whether the reply to what was begun is something, unkept."""
        try:
            return self._connected().heard()
        except (Refused, OSError) as error:
            raise self._given_up(error) from error

    def fileno(self) -> int:
        """Return the connection's socket, for `select`; only between `begin` and `end`."""
        return self._connected().fileno()

    def close(self) -> None:
        """Drop the connection."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _exchange(
        self,
        requests: Sequence[bytes],
        meanwhile: Callable[[], None] = lambda: None,
        last: "Callable[[_Line], Any] | None" = None,
    ) -> list[Any]:
        """Send requests in one write and read their replies; raises Refused for NOSCRIPT alone."""
        try:
            line = self._line or self._connected()
            line.send(requests)
            meanwhile()
            try:
                return line.replies(requests, last)
            except Refused as refusal:
                if refusal.code not in REDIRECTIONS:
                    raise
                return self._redirected(refusal, requests, last)
        except (Refused, redis.RedisError, OSError) as error:
            if isinstance(error, Refused) and error.code == "NOSCRIPT":
                raise  # no trouble: the connection is in step, and the next word is EVAL
            raise self._given_up(error) from error
        except BaseException:
            self.close()  # a reply may still be on its way, and would be taken for the next one
            raise

    def _redirected(
        self,
        refusal: Refused,
        requests: Sequence[bytes],
        last: "Callable[[_Line], Any] | None",
    ) -> list[Any]:
        """Ask whom a node of a Cluster names; it has not executed what it redirects.

        `MOVED` is for good.  `ASK` is for this once: the slot is on its way, and with it our keys.
        """
        for _ in range(MOST_REDIRECTIONS):
            asking = refusal.code == "ASK"
            host, _, port = str(refusal).rpartition(" ")[2].rpartition(":")
            # A node that knows no name of its own names only a port: that of the host we asked.
            node = (host or self._connected().host, int(port))
            self.close()
            line = self._connected(node)
            try:
                answers = line.asked(requests, last) if asking else line.answers(requests, last)
            except Refused as error:
                if error.code not in REDIRECTIONS:
                    raise
                refusal = error
                continue
            if asking:
                self.close()
            return answers
        raise refusal

    def _given_up(self, error: Exception) -> QueueUnavailable:
        self.close()
        return QueueUnavailable(_code(error), str(error))

    def _connected(self, node: tuple[str, int] | None = None) -> "_Line":
        if self._line is None:
            if node is None and self._sentinels is not None:
                node = _master(self._sentinels)
            where = {} if node is None else {"host": node[0], "port": node[1]}
            connection = self._kind(**self._options | where)
            connection.connect()  # type: ignore[no-untyped-call]
            self._line = _Line(connection)
        return self._line


class _Line:
    """An open connection: redis-py made it and introduced us, and we do the talking."""

    def __init__(self, connection: ConnectionInterface) -> None:
        self._connection = connection
        # redis-py has no public name for it.
        self._socket: socket.socket = connection._sock  # type: ignore[attr-defined]  # noqa: SLF001
        if not isinstance(self._socket, ssl.SSLSocket):  # TLS has reads of its own to wait for
            self._socket.settimeout(None)
            patience.allow(self._socket, ANSWER_WITHIN.total_seconds())
        self._replies = Replies(self._socket.recv)

    @property
    def host(self) -> str:
        """Whom we talk to."""
        return getattr(self._connection, "host", "")

    def send(self, requests: Sequence[bytes]) -> None:
        """Send requests in one write."""
        self._socket.sendall(b"".join(requests))

    def reply(self) -> Any:  # noqa: ANN401
        """Read a reply; raises Refused for one that is an error."""
        reply = self._replies.next()
        if isinstance(reply, Refused):
            raise reply
        return reply

    def heard(self) -> bool:
        """Read a reply and keep none of it; raises Refused for one that is an error."""
        heard = self._replies.heard()
        if isinstance(heard, Refused):
            raise heard
        return bool(heard)

    def replies(
        self, requests: Sequence[bytes], last: "Callable[[_Line], Any] | None" = None
    ) -> list[Any]:
        """Read the replies to these requests, the last one in a way of its own."""
        if last is None:
            return [self.reply() for _ in requests]
        return [*(self.reply() for _ in requests[1:]), last(self)]

    def answers(
        self, requests: Sequence[bytes], last: "Callable[[_Line], Any] | None" = None
    ) -> list[Any]:
        """Send requests and read their replies."""
        self.send(requests)
        return self.replies(requests, last)

    def asked(
        self, requests: Sequence[bytes], last: "Callable[[_Line], Any] | None" = None
    ) -> list[Any]:
        """Do so at a node to which the slot is only on its way."""
        both = [word for request in requests for word in (ASKING, request)]
        return self.answers(both, last)[1::2]

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()  # type: ignore[no-untyped-call]


def answered(links: Sequence[Link], longest: timedelta) -> list[Link]:
    """Wait until something arrives on some of these connections, and return them."""
    with selectors.PollSelector() as selector:  # no `select`, which ends at file number 1023
        for link in links:
            selector.register(link.fileno(), selectors.EVENT_READ, link)
        return [key.data for key, _ in selector.select(longest.total_seconds())]


def connect(settings: RedisSettings, name: str) -> Link:
    """Prepare a connection; it is made when first used."""
    return Link(settings, name)


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


ASKING = packed(("ASKING",))


def _code(error: Exception) -> str:
    """Name the trouble as Redis does (READONLY, LOADING …), or by what the socket did."""
    if isinstance(error, Refused):
        return error.code
    # BlockingIOError is how the kernel says that the time is up.
    if isinstance(error, redis.TimeoutError | TimeoutError | BlockingIOError):
        return "Timeout"
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return code
    word = str(error).split(" ", 1)[0]
    if isinstance(error, redis.ResponseError) and word.isupper():
        return word
    return "Unreachable"
