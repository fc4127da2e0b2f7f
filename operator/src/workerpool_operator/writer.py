"""Writes to the API server, in an order of importance, a bounded number at a time.

One slot per pool and kind of write: a newer write replaces an older one that has not started, so
a slow server is never asked for anything outdated. What fails is tried again, later and later,
unless something newer took its place.

Knows neither Kubernetes nor what is written.
"""

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum

from workerpool_operator.errors import ApplyFailed, NotFound, Throttled

log = logging.getLogger(__name__)

RETRY_SECONDS = (0.1, 30.0)
"""The first and the longest delay before a failed write is tried again."""

Write = Callable[[], Awaitable[None]]


class Priority(IntEnum):
    """What goes first when there is more to write than the server takes."""

    WAKE = 0
    """From zero: somebody waits and nobody works."""
    UP = 1
    WORKLOAD = 2
    DOWN = 3
    REPORT = 4
    """Status and events."""


@dataclass(slots=True)
class _Slot:
    """The one write of a kind that a pool has outstanding."""

    write: Write | None = None
    priority: Priority = Priority.REPORT
    ticket: int = 0
    running_since: float | None = None
    discarded: bool = False
    """Whether what is under way is not to be tried again."""
    attempts: int = 0
    retry: asyncio.TimerHandle | None = None
    patience: bool = False
    """Whether the server itself asked to be left alone until the retry."""


class Writer:
    """Performs writes, the most important first."""

    def __init__(self, *, limit: int, failed: Callable[[Hashable, ApplyFailed], None]) -> None:
        """Perform up to `limit` writes at a time; tell `failed` of each one that failed."""
        self._limit = limit
        self._failed = failed
        self._slots: dict[Hashable, _Slot] = {}
        self._queue: list[tuple[Priority, int, Hashable]] = []
        self._tickets = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(self, slot: Hashable, priority: Priority, write: Write) -> None:
        """Have `write` performed, instead of what waits in `slot`.

        One that is under way is finished first: writes in one slot never overlap. One that
        failed gives way at once, unless the server asked for patience: then its turn is kept.
        """
        entry = self._slots.setdefault(slot, _Slot())
        entry.write, entry.priority, entry.discarded = write, priority, False
        if entry.running_since is not None or (entry.retry is not None and entry.patience):
            return
        if entry.retry is not None:
            entry.retry.cancel()
        entry.attempts = 0
        self._enqueue(slot, entry)

    def discard(self, slot: Hashable) -> None:
        """Forget what waits in `slot`; what is under way is finished, but not tried again."""
        entry = self._slots.get(slot)
        if entry is None:
            return
        if entry.retry is not None:
            entry.retry.cancel()
        entry.write, entry.discarded = None, True
        if entry.running_since is None:
            del self._slots[slot]

    def slowest_seconds(self) -> float:
        """Return for how long the oldest write under way has been under way."""
        now = asyncio.get_running_loop().time()
        started = (entry.running_since for entry in self._slots.values())
        return now - min((at for at in started if at is not None), default=now)

    async def close(self) -> None:
        """Finish what is under way, and start nothing any more."""
        self._closed = True
        for entry in self._slots.values():
            if entry.retry is not None:
                entry.retry.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _enqueue(self, slot: Hashable, entry: _Slot) -> None:
        entry.retry = None
        entry.ticket = next(self._tickets)
        heapq.heappush(self._queue, (entry.priority, entry.ticket, slot))
        self._pump()

    def _pump(self) -> None:
        """Start what may start."""
        while self._queue and len(self._tasks) < self._limit and not self._closed:
            _, ticket, slot = heapq.heappop(self._queue)
            entry = self._slots.get(slot)
            if entry is None or entry.ticket != ticket or entry.write is None:
                continue  # replaced or discarded meanwhile
            write, entry.write = entry.write, None
            entry.running_since = asyncio.get_running_loop().time()
            task = asyncio.create_task(self._perform(slot, entry, write))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    async def _perform(self, slot: Hashable, entry: _Slot, write: Write) -> None:
        delay: float | None = None
        entry.patience = False
        try:
            await write()
            entry.attempts = 0
        except NotFound as error:
            self._failed(slot, error)  # deleted: nothing to try again
        except ApplyFailed as error:
            self._failed(slot, error)
            entry.attempts += 1
            entry.patience = isinstance(error, Throttled)
            delay = _delay(entry.attempts, error)
        except Exception as error:  # the edge of a task: a defect must not stop other writes
            log.exception("a write failed unexpectedly", extra={"slot": str(slot)})
            failure = ApplyFailed(f"the operator failed: {error!r}")
            self._failed(slot, failure)
            entry.attempts += 1
            delay = _delay(entry.attempts, failure)
        finally:
            entry.running_since = None
        self._continue(slot, entry, write, delay)

    def _continue(self, slot: Hashable, entry: _Slot, write: Write, delay: float | None) -> None:
        """Perform what came meanwhile, or else the failed write again, or else free the slot."""
        if delay is not None and not entry.discarded and (entry.write is None or entry.patience):
            entry.write = entry.write or write
            loop = asyncio.get_running_loop()
            entry.retry = loop.call_later(delay, self._enqueue, slot, entry)
        elif entry.write is not None:
            entry.attempts = 0
            self._enqueue(slot, entry)
        elif self._slots.get(slot) is entry:
            del self._slots[slot]


def _delay(attempts: int, error: ApplyFailed) -> float:
    """Return the seconds until the next attempt: full jitter, or what the server asked for."""
    if isinstance(error, Throttled):
        return error.retry_after + random.uniform(0, 0.5)  # noqa: S311  jitter
    first, longest = RETRY_SECONDS
    return random.uniform(first, max(first, min(longest, first * 2**attempts)))  # noqa: S311
