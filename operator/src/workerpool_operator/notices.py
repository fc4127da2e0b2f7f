"""Writes what `report` words: statuses, not too often, and Events, once.

Knows when something is worth a write, not what it says.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import ApplyFailed
from workerpool_operator.registry import PoolRecord
from workerpool_operator.report import Document, Situation, event_document, status_document
from workerpool_operator.resource import Key
from workerpool_operator.writer import Priority, Writer

log = logging.getLogger(__name__)

STATUS_SECONDS = 1.0
"""A pool's status is written at most this often."""

Clock = Callable[[], datetime]


class StatusBoard:
    """The status of one pool, as it was written last."""

    def __init__(self, key: Key, cluster: Cluster, writer: Writer, clock: Clock) -> None:
        self._key = key
        self._cluster = cluster
        self._writer = writer
        self._clock = clock
        self._written: Document = {}
        self._written_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def take(self, status: Document) -> None:
        """Take what the resource says for what was written."""
        self._written = status

    def show(self, situation: Callable[[], Situation]) -> None:
        """Write the status if a person would notice a change: now, or when it is time again."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._written_at + STATUS_SECONDS - loop.time()
        if wait > 0:
            self._timer = loop.call_later(wait, self._show_later, situation)
            return
        status = status_document(situation(), self._written, self._clock())
        if status == {name: self._written.get(name) for name in status}:
            return
        self._written, self._written_at = status, loop.time()
        write = partial(self._cluster.write_status, self._key, status)
        self._writer.submit((self._key, "status"), Priority.REPORT, write)

    def close(self) -> None:
        """Write nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._writer.discard((self._key, "status"))

    def _show_later(self, situation: Callable[[], Situation]) -> None:
        self._timer = None
        self.show(situation)


class Events:
    """Kubernetes Events about pools, as `kubectl describe` shows them."""

    def __init__(self, cluster: Cluster, writer: Writer, clock: Clock, instance: str) -> None:
        self._cluster = cluster
        self._writer = writer
        self._clock = clock
        self._instance = instance
        self._numbers = itertools.count()

    def tell(self, record: PoolRecord, reason: str, note: str, *, warning: bool = False) -> None:
        """Record an Event."""
        event = event_document(
            record,
            reason=reason,
            note=note,
            warning=warning,
            now=self._clock(),
            instance=self._instance,
        )

        async def write() -> None:
            try:
                await self._cluster.create_event(record.key.namespace, event)
            except ApplyFailed as error:  # an Event is worth one attempt
                log.warning("event not written: %s", error, extra={"pool": str(record.key)})

        slot = (record.key, "event", next(self._numbers))
        self._writer.submit(slot, Priority.REPORT, write)
