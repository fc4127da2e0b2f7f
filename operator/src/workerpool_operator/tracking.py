"""What the operator asks of one Redis server, and that Redis tells it of each change.

Knows `CLIENT TRACKING` and which keys say what of a queue (`docs/protocol.md`), and Redis' clock,
which deadlines are written in. It must not know how a connection works, what a pool is or what
follows from a backlog.
https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from workerpool_operator import census
from workerpool_operator.channel import Channel, Command, Credentials, Invalidated
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.keys import queue_prefix
from workerpool_operator.model import Backlog

log = logging.getLogger(__name__)

CLIENT_NAME = "workerpool-operator"
"""What `CLIENT LIST` shows."""


class TrackingConnection:
    """Reads backlogs; says when a list that was read has changed."""

    def __init__(self, url: str, credentials: Credentials, timeout: float) -> None:
        """Connect to `url` when it is opened; `timeout` is in seconds, for each round trip."""
        self._channel = Channel(url, credentials, timeout)
        self._clock_offset = 0.0
        self._server = ""
        self.tracking = False
        """Whether Redis reports changes."""

    async def open(self, invalidated: Invalidated) -> None:
        """Connect, authenticate and ask for invalidations.

        Raises:
            Unreadable: any of it failed; nothing stays open.
        """
        try:
            await self._channel.open(invalidated)
            await self._introduce()
        except BaseException:  # a cancelled attempt must not leave a connection behind either
            await self.close()
            raise

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def _introduce(self) -> None:
        time, about, _, tracking, caching, _ = await self._channel.ask(
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
        refusals = [a for a in (tracking, caching) if isinstance(a, Unreadable)]
        self.tracking = not refusals
        if refusals:
            log.warning(
                "No CLIENT TRACKING: %s; reading its queues every tick instead", refusals[0]
            )

    async def quiet(self, wake: asyncio.Event, seconds: float) -> None:
        """Wait until `wake` is set, for `seconds` at most.

        Raises:
            Unreadable: the connection ended meanwhile.
        """
        await self._channel.quiet(wake, seconds)

    async def require_master(self) -> None:
        """Prove that this server is no replica; `INFO`, as `ROLE` would be one more right.

        Where `INFO` is refused, whoever named this server is believed.

        Raises:
            Unreadable: it is one, or the connection ended.
        """
        (about,) = await self._channel.ask([("INFO", "replication")])
        role = _field(about, b"role")
        if role not in {"", "master"}:
            raise Unreadable(
                f"Redis at {self._channel.address} is not the master, as the Sentinels said, but "
                f"a replica: they are asked again in a moment. If this stays, compare SENTINEL "
                f"MASTERS on each of them",
                reason="NotMaster",
            )

    async def ping(self) -> None:
        """Prove that Redis is still there."""
        await self._channel.ask([("PING",)])

    async def survey(self, queues: Sequence[str]) -> list[Survey | Unreadable]:
        """Return what each queue's workers tell of themselves."""
        prefixes = [queue_prefix(queue) for queue in queues]
        return await census.take(self._channel.ask, prefixes, self._now_ms())

    async def read(self, queues: Sequence[str]) -> list[Backlog | Unreadable]:
        """Return each queue's backlog, read in one round trip; the list itself is tracked."""
        now_ms = self._now_ms()
        commands: list[Command] = [("TIME",)]
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
        time, *answers = await self._channel.ask(commands)
        self._set_clock(time)
        width = len(answers) // len(queues)
        rows = (answers[i : i + width] for i in range(0, len(answers), width))
        return [self._backlog(row[-8:]) for row in rows]

    def _now_ms(self) -> int:
        """Return Redis' time, as far as it is known."""
        return round((asyncio.get_running_loop().time() + self._clock_offset) * 1000)

    def _set_clock(self, time: Any) -> None:  # noqa: ANN401  an answer of Redis
        """Remember how far Redis' clock, which deadlines are written in, is from the loop's."""
        if isinstance(time, Unreadable):
            raise time
        seconds, microseconds = map(int, time)
        self._clock_offset = seconds + microseconds / 1e6 - asyncio.get_running_loop().time()

    def _backlog(self, answers: Sequence[Any]) -> Backlog | Unreadable:
        for answer in answers:
            if isinstance(answer, Unreadable):
                return answer
        waiting, landed, in_flight, due, retries, orphaned, workers, counters = answers
        try:
            done, buried, busy_ms = (int(counter or 0) for counter in counters)
            busy = timedelta(milliseconds=busy_ms)
        except (ValueError, OverflowError) as error:
            # Whoever may push may write there; it must not cost others their readings.
            return Unreadable(
                f"the counters of the queue are no numbers ({error}): delete the key that ends "
                f"with `stats` beside its list, it is made anew",
                reason="BadCounters",
            )
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
            busy=busy,
            server=self._server,
        )

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands of the caller's own, beside what is read here.

        Raises:
            Unreadable: one of them was refused, or the connection ended.
        """
        asking = asyncio.create_task(self._channel.ask(commands))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        answers = await asyncio.shield(asking)
        for answer in answers:
            if isinstance(answer, Unreadable):
                raise answer
        return answers


def _field(about: Any, wanted: bytes) -> str:  # noqa: ANN401  an answer of Redis
    """Return an entry of INFO, such as what names this run of the server; else nothing."""
    if not isinstance(about, bytes):
        return ""
    lines = (line.partition(b":") for line in about.splitlines())
    return next((value.decode() for name, _, value in lines if name == wanted), "")
