"""The lease protocol's client: one connection, typed calls, no decisions.

The only module that knows redis-py.  `docs/protocol.md` says what each call promises; the
scripts in `lua/` keep those promises.  Every kind of Redis trouble leaves here as
QueueUnavailable with the connection dropped, so that the next call starts afresh (after a
failover, even with another server).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from hashlib import sha1
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from image_worker.errors import QueueUnavailable
from image_worker.keys import Keys
from image_worker.settings import RedisSettings

BLOCK_LONGEST = timedelta(seconds=2)
"""How long one BLMOVE waits: also how late a drain or another's retry may be noticed."""
ANSWER_WITHIN = timedelta(seconds=5)
"""A server silent for longer is away; must exceed BLOCK_LONGEST."""
RECORD_LIVES = timedelta(minutes=10)
REAP_LIMIT = 50
MAX_CRASHES = 3
"""Crashes after which a job counts as poison."""
MAX_SENTENCE_CHARACTERS = 500
NOTHING_FINISHED = ("", 0)


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that is ours until the lease ends; `name` is the token it was claimed with."""

    name: str
    job_id: str
    attempts: int
    crashes: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: whether the finished job was still ours, and what comes next."""

    acked: bool
    lease: Lease | None
    due_in: timedelta | None
    """With no lease: when the next retry is due, if any waits."""
    spent: bool = False
    """The token's job was lost to others meanwhile: come again with a fresh token."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat."""

    now_ms: int
    lost: tuple[str, ...]
    expired_leases: int
    expired_workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source with the prelude before it, and the digest Redis knows it by."""

    source: str
    sha: str


@cache
def script(name: str) -> Script:
    """Load one of the scripts of `lua/`."""
    folder = resources.files("image_worker") / "lua"
    parts = [(folder / f"{part}.lua").read_text() for part in ("prelude", name)]
    # Claiming writes; a full Redis must not stop the workers who would empty it.
    source = "\n".join(["#!lua flags=allow-oom", *parts])
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def connect(settings: RedisSettings, name: str) -> redis.Redis:
    """Prepare a connection; it is made when first used."""
    options: dict[str, Any] = {
        "username": settings.username,
        "password": settings.password,
        "client_name": name,
        "protocol": 2,
        "max_connections": 1,
        "socket_timeout": ANSWER_WITHIN.total_seconds(),
        "socket_connect_timeout": ANSWER_WITHIN.total_seconds(),
        # A claim that the client repeats by itself could take two jobs; only our own loop,
        # with the same token, may ask again.
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
    }
    if settings.ca_file is not None:
        options["ssl_ca_certs"] = str(settings.ca_file)
    # Without a driver's name there is no CLIENT SETINFO, which Redis 7.0 does not know.
    return redis.Redis.from_url(settings.url, driver_info=None, **options)


class Leases:
    """Calls of the protocol on one connection."""

    def __init__(self, client: redis.Redis, keys: Keys, lease: timedelta) -> None:
        self._client = client
        self._keys = keys
        self._lease_ms = _ms(lease)
        # A blocked BLMOVE must end before the worker that sent it can be struck off.
        self._block_longest = min(BLOCK_LONGEST, lease / 2)

    def claim(
        self,
        worker: str,
        token: str,
        *,
        finished: tuple[str, int] = NOTHING_FINISHED,
        retries_first: bool = False,
    ) -> Claim:
        """Acknowledge `finished` (a lease and its busy milliseconds), and take the next job.

        After QueueUnavailable ask again with the same token: a job that the lost reply had
        granted is granted again.
        """
        first = "retry" if retries_first else "new"
        acked, verdict, envelope, due_ms = self._run(
            "claim",
            [self._keys.landing(worker)],
            [worker, token, self._lease_ms, *finished, first],
        )
        return Claim(
            acked=bool(acked),
            lease=_lease(token, envelope) if verdict == b"job" else None,
            due_in=timedelta(milliseconds=due_ms) if due_ms >= 0 else None,
            spent=verdict == b"spent",
        )

    def wait(self, worker: str, longest: timedelta) -> bool:
        """Wait until a job lies in the worker's landing (True) or time is up (False)."""
        enlist = script("enlist")
        # A block of 0 would be for ever.
        block = max(min(longest, self._block_longest), timedelta(milliseconds=1)).total_seconds()
        keys = self._keys
        with self._translated():
            # One write: nothing can come between being known and landing a job.
            pipe = self._client.pipeline(transaction=False)
            pipe.eval(enlist.source, len(keys.shared), *keys.shared, worker, str(self._lease_ms))
            # Typed as whole seconds there; Redis takes fractions since 6.
            pipe.blmove(keys.list, keys.landing(worker), block)  # type: ignore[arg-type]
            _, raw = pipe.execute()
        return raw is not None

    def beat(self, workers: Sequence[str], leases: Sequence[str]) -> Beat:
        """Renew workers and leases; learn which leases are lost and what there is to reap."""
        now, lost, expired_leases, expired_workers = self._run(
            "beat",
            [self._keys.record(worker) for worker in workers],
            [self._lease_ms, _ms(RECORD_LIVES), len(workers), *workers, *leases],
        )
        return Beat(
            now_ms=int(now),
            lost=tuple(lease.decode() for lease in lost),
            expired_leases=expired_leases,
            expired_workers=tuple(worker.decode() for worker in expired_workers),
        )

    def record(self, worker: str, fields: Mapping[str, str]) -> None:
        """Tell what a worker is."""
        pairs = [word for pair in fields.items() for word in pair]
        self._run("record", [self._keys.record(worker)], [_ms(RECORD_LIVES), *pairs])

    def fail(
        self, lease: str, *, reason: str, sentence: str, max_attempts: int, delay: timedelta
    ) -> str:
        """Count a failed attempt; returns `retry`, `buried` or `lost`."""
        arguments: list[str | int] = [
            lease,
            reason,
            _shortened(sentence),
            max_attempts,
            _ms(delay),
        ]
        return _word(self._run("fail", [], arguments))

    def bury(self, lease: str, *, reason: str, sentence: str) -> str:
        """Give a job up for good: a failed attempt with none left."""
        return self.fail(
            lease, reason=reason, sentence=sentence, max_attempts=0, delay=timedelta()
        )

    def crash(self, lease: str, *, reason: str, sentence: str) -> str:
        """Count a crash; returns `retry`, `buried` or `lost`."""
        arguments: list[str | int] = [lease, reason, _shortened(sentence), MAX_CRASHES]
        return _word(self._run("crash", [], arguments))

    def release(self, lease: str) -> str:
        """Hand a job back uncounted; returns `list`, `retry` or `lost`."""
        return _word(self._run("release", [], [lease]))

    def reap(self, *, blame_after_ms: int) -> tuple[int, int]:
        """Take expired leases back; returns how many, and how many of them were buried."""
        reaped, buried = self._run("reap", [], [REAP_LIMIT, MAX_CRASHES, blame_after_ms])
        return reaped, buried

    def rescue(self, worker: str) -> int | None:
        """Empty a silent worker's landing; returns the jobs moved, None if it is alive."""
        keys = [self._keys.landing(worker), self._keys.record(worker)]
        moved: int = self._run("rescue", keys, [worker, REAP_LIMIT])
        return None if moved < 0 else moved

    def leave(self, worker: str, finished: tuple[str, int] = NOTHING_FINISHED) -> bool:
        """Say goodbye: acknowledge, give back, be forgotten; returns whether it was acked."""
        keys = [self._keys.landing(worker), self._keys.record(worker)]
        acked, _ = self._run("leave", keys, [worker, *finished])
        return bool(acked)

    def server_started_ms(self, now_ms: int) -> int | None:
        """Say since when this Redis runs, by its own clock; None if we may not know."""
        try:
            with self._translated():
                uptime = self._client.info("server")["uptime_in_seconds"]
        except QueueUnavailable as error:
            if error.reason == "NOPERM":
                return None
            raise
        # Told in whole seconds: take the latest start it may mean, which excuses rather more.
        return now_ms - max(0, int(uptime) - 1) * 1000

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        code = script(name)
        names = (*self._keys.shared, *keys)
        with self._translated():
            try:
                return self._client.evalsha(code.sha, len(names), *names, *arguments)
            except redis.exceptions.NoScriptError:  # a fresh server; EVAL also caches
                return self._client.eval(code.source, len(names), *names, *arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self._client.connection_pool.disconnect()
            raise QueueUnavailable(_code(error), str(error)) from error


def _lease(name: str, envelope: bytes) -> Lease:
    line, _, raw = envelope.partition(b"\n")
    job_id, attempts, crashes, *_ = line.decode(errors="replace").split(" ")
    return Lease(name, job_id, int(attempts), int(crashes), raw)


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


def _word(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def _shortened(sentence: str) -> str:
    """Cut a sentence, and make it encodable: it may quote a hostile file name."""
    return sentence[:MAX_SENTENCE_CHARACTERS].encode(errors="replace").decode()


def _ms(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
