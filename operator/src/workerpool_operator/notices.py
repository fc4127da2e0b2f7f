"""Writes what `report` words: statuses, not too often, and Events and history, once.

Knows when something is worth a write, not what it says.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import ApplyFailed, Unreadable
from workerpool_operator.model import Backlog, Decision, Loss, Reason
from workerpool_operator.registry import PoolRecord
from workerpool_operator.report import (
    CHANGES_KEPT,
    Document,
    Situation,
    change_document,
    event_document,
    loss_words,
    status_document,
)
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


class Chronicle:
    """What became of one pool, told as it happens: in the log, in Events, in `status.history`."""

    def __init__(self, events: Events, clock: Clock, changes: Sequence[Document]) -> None:
        self._events = events
        self._clock = clock
        self.changes = tuple(changes)
        """The last changes of scale, newest first."""

    def reading(
        self,
        record: PoolRecord,
        before: Backlog | Unreadable | None,
        now: Backlog | Unreadable,
    ) -> None:
        """Tell of the moment a queue is lost or found; in between there is nothing to tell."""
        if isinstance(now, Unreadable) and not isinstance(before, Unreadable):
            note = f"{now}. The replicas are held."
            self._events.tell(record, "QueueUnreachable", note, warning=True)
        elif isinstance(now, Backlog) and isinstance(before, Unreadable):
            self._events.tell(record, "QueueReachable", "The queue can be read again.")

    def loss(self, record: PoolRecord, loss: Loss | None) -> None:
        """Tell that Redis lost its data."""
        if loss is not None:
            self._events.tell(record, "DataLost", loss_words(loss), warning=True)

    def change(
        self, record: PoolRecord, before: int, decision: Decision, *, pretended: bool
    ) -> None:
        """Tell of a change of scale, or of what would have been one."""
        verb = "Would scale" if pretended else "Scaled"
        note = f"{verb} from {before} to {decision.desired}: {decision.message}"
        rejected = decision.reason is Reason.PODS_REJECTED
        if rejected:  # who, why, and what helps
            note += f". {decision.shortage}"
        reason = str(decision.reason)
        counts = {"from": before, "to": decision.desired}
        log.info(note, extra={"pool": str(record.key), "reason": reason, **counts})
        self._events.tell(record, reason, note, warning=rejected)
        change = change_document(before, decision, self._clock(), pretended=pretended)
        self.changes = (change, *self.changes)[:CHANGES_KEPT]
