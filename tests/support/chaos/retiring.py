"""The operator's part in a storm: it closes one idle pod at a time, and calls it back.

With the operator's own script and its way from queue to queue (`roster`).  It notes from when to
when each pod was closed, and what it held then; whether anything was claimed there meanwhile is
the audit's affair.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.chaos.clocks import now_ms
from workerpool_operator import roster


@dataclass(slots=True)
class Closure:
    """A pod that got no more jobs from then until it was called back, or its mark ended."""

    pod: str
    queues: Sequence[str]
    since_ms: int
    until_ms: int
    held: Sequence[str] = ()
    """Leases that it had all the same."""


class Closer:
    """Closes one pod at a time, so that there is always somebody who works."""

    def __init__(self, client: redis.Redis) -> None:
        # Redis runs whenever this is asked for, but connections of before it was killed fail.
        client.set_retry(Retry(NoBackoff(), 3))
        self._client: Any = client
        self._missing: Closure | None = None
        """Who does not work for now."""
        self.closures: list[Closure] = []

    def close(self, pod: str, queues: Sequence[str], ends: timedelta) -> Closure | None:
        """Close a pod, if it has no job and no other is closed; the mark `ends` by itself."""
        if self._missing is not None and now_ms() <= self._missing.until_ms:
            return None
        asked_ms = now_ms()
        if not asyncio.run(roster.retire(self._ask, queues, {pod}, ends)):
            return None
        until_ms = asked_ms + round(ends / timedelta(milliseconds=1))
        since_ms, held = now_ms(), self._held(pod, queues)
        if now_ms() >= until_ms:  # by then it may have jobs again
            held = ()
        self._missing = Closure(pod, queues, since_ms, until_ms, held)
        self.closures.append(self._missing)
        return self._missing

    def call_back(self, closure: Closure) -> None:
        """Give a pod its work back."""
        self._missing = None
        closure.until_ms = min(now_ms(), closure.until_ms)
        asyncio.run(roster.restore(self._ask, closure.queues, {closure.pod}))

    def let_go(self) -> None:
        """Leave a pod closed that ends, as another has its place."""
        self._missing = None

    def _held(self, pod: str, queues: Sequence[str]) -> Sequence[str]:
        leases = [
            lease.decode()
            for queue in queues
            for lease in self._client.zrange(f"{{{queue}}}:inflight", 0, -1)
        ]
        return [lease for lease in leases if lease.rpartition("-")[0].endswith(f"@{pod}")]

    async def _ask(self, _: str, commands: Sequence[Sequence[str | int]]) -> list[Any]:
        return [self._client.execute_command(*command) for command in commands]
