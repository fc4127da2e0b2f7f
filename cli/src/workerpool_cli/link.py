"""One connection to Redis; the only module that knows redis-py.

It knows how to connect and what each kind of trouble is called in plain words; it must not
know the queue.  Nothing is ever repeated by itself: after a lost reply only the caller knows
whether asking again is harmless.
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha1
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from workerpool_cli.address import Address
from workerpool_cli.dialect import remedy
from workerpool_cli.errors import RedisTrouble, TimeIsUp, UsageError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
Word = str | bytes | int | float
Command = tuple[Word, ...]


class Link:
    """Sends commands and returns what Redis answered, as bytes and integers."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = _client(address)
        self._answered = False
        """Once it has, nobody need ask whether the port speaks TLS."""

    def call(self, *command: Word) -> Any:  # noqa: ANN401
        """Send one command."""
        with self._translated():
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def together(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write, without a promise that nothing comes between them."""
        return self._batch(commands, transaction=False)

    def at_once(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands that Redis carries out at one instant."""
        return self._batch(commands, transaction=True)

    def script(self, name: str, keys: Sequence[str], arguments: Sequence[Word]) -> Any:  # noqa: ANN401
        """Run one of the scripts of `lua/`."""
        source, digest = _script(name)
        with self._translated():
            try:
                return self._client.evalsha(digest, len(keys), *keys, *arguments)
            except NoScriptError:  # its first use on this server; EVAL also caches it
                return self._client.eval(source, len(keys), *keys, *arguments)

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()

    def _batch(self, commands: Sequence[Command], *, transaction: bool) -> list[Any]:
        if not commands:
            return []
        with self._translated():
            pipe = self._client.pipeline(transaction=transaction)
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            replies: list[Any] = pipe.execute()
            return replies

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with self._named():
                yield
        except TimeIsUp as up:
            raise up.telling(f"{self._address.url} had not answered by then") from up

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self._client.connection_pool.disconnect()
            trouble = _trouble(error, self._address)
            if not (trouble.answered or self._answered) and (wrong := remedy(self._address)):
                trouble = RedisTrouble(f"{self._address.url} {wrong}", answered=False)
            raise trouble from error
        self._answered = True


class _VerifiedTunnel(SSLConnection):
    """TLS through a port-forward: the certificate is the server's, not this machine's."""

    def __init__(self, *, server: str, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._server = server

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:  # noqa: ANN401
        here, self.host = self.host, self._server
        try:
            return super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        finally:
            self.host = here


def _client(address: Address) -> redis.Redis:
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "protocol": 2,
        "max_connections": 1,
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "ssl_ca_certs": address.ca_file if address.url.startswith("rediss:") else None,
        "ssl_ca_data": address.ca_pem if address.url.startswith("rediss:") else None,
    }
    if address.url.startswith("unix:"):
        del options["socket_keepalive"]
    if address.url.startswith("rediss:"):
        _refuse_unreadable(address)
    pool = redis.ConnectionPool.from_url(
        address.url, **{name: value for name, value in options.items() if value is not None}
    )
    if address.local_port is not None:
        if pool.connection_class is SSLConnection:
            pool.connection_class = _VerifiedTunnel
            pool.connection_kwargs["server"] = pool.connection_kwargs["host"]
        pool.connection_kwargs |= {"host": "127.0.0.1", "port": address.local_port}
    return redis.Redis(connection_pool=pool)


def _refuse_unreadable(address: Address) -> None:
    """Find out before any connection, which would fail in words that name no file."""
    if address.ca_file is None and address.ca_pem is None:
        return
    origin = f"the file {address.ca_file}" if address.ca_file else "ca.crt in the pool's Secret"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cafile=address.ca_file, cadata=address.ca_pem
        )
    except (ssl.SSLError, TypeError) as error:  # TypeError: of a text that is not ASCII
        raise UsageError(
            f"{origin} holds no certificates in PEM, with which to verify {address.url}: it has "
            "to be that of the authority that signed the server's"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{origin} of WORKERPOOL_REDIS_CA_FILE, with which to verify {address.url}, cannot be "
            f"read: {error.strerror}"
        ) from error


@cache
def _script(name: str) -> tuple[str, str]:
    source = (resources.files("workerpool_cli") / "lua" / f"{name}.lua").read_text()
    return source, sha1(source.encode(), usedforsecurity=False).hexdigest()


def _trouble(error: Exception, address: Address) -> RedisTrouble:
    """Say what was wrong and what to do."""
    where, text = address.url, str(error)
    if isinstance(error, redis.exceptions.TimeoutError | TimeoutError):
        words = f"{where} did not answer in time: is it overloaded, or does a firewall drop us?"
        return RedisTrouble(words, answered=False, passing=True)
    code = _code(error)
    if code in _CREDENTIALS:
        return RedisTrouble(f"{where} refuses us: {_credentials(text, address)}")
    if code in _REMEDIES:
        words = _REMEDIES[code].format(text=text)
        return RedisTrouble(f"{where} {words}", passing=code in _PASSING)
    if isinstance(error, ResponseError):
        return RedisTrouble(f"{where} answered: {text}")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("verify failed: ")[2].partition(" (_ssl")[0]
        return RedisTrouble(
            f"{where} shows a certificate that is not trusted: {reason}; give the authority that "
            "signed it with WORKERPOOL_REDIS_CA_FILE (for a pool: ca.crt in its Secret), and the "
            "address by a name that is in the certificate",
            answered=False,
        )
    words = (
        f"{where} cannot be reached: {text.rstrip('.')}; is the address right, and is Redis up?"
    )
    return RedisTrouble(words, answered=False, passing=True)


def _code(error: Exception) -> str:
    """Return the first word of Redis's answer; redis-py takes it off the errors it knows."""
    if isinstance(error, redis.exceptions.AuthenticationError):
        return "WRONGPASS"  # old servers say ERR
    return getattr(error, "status_code", None) or str(error).split(" ", 1)[0]


_CREDENTIALS = frozenset({"WRONGPASS", "NOAUTH"})
_PASSING = frozenset({"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN"})
_REMEDIES = {
    "NOPERM": "forbids it: {text}; docs/cli.md lists the rights the user needs",
    "OOM": "is full and takes no more (maxmemory): raise it, or wait until workers made room",
    "LOADING": "is still loading its data: try again in a moment",
    "READONLY": "is a read-only replica: give the address of the primary",
    "MASTERDOWN": "is a replica that lost its primary: give the address of the primary",
    "MISCONF": "refuses writes because it cannot save to its disk: look at its log",
    "CLUSTERDOWN": "is a node of a Redis Cluster that is down: {text}",
    "MOVED": (
        "is one node of a Redis Cluster, and the list lives on another ({text}): give that node's "
        "address with --redis-url"
    ),
}


def _credentials(text: str, address: Address) -> str:
    if address.password is None:
        return (
            "it wants a password; set WORKERPOOL_REDIS_PASSWORD (and WORKERPOOL_REDIS_USERNAME "
            "for an ACL user), or name the pool with --pool to take them from its Secret"
        )
    if "without any password configured" in text:
        return f"a password was sent, but it has none; take it out of {address.password_from}"
    who = f"the user {address.username!r}" if address.username else "the default user"
    return f"wrong password for {who}; it comes from {address.password_from}"
