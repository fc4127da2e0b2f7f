"""How a worker outlasts Redis's absences, and proves that its loop is not stuck.

It knows how long to wait and what ends a wait; it must not know what is asked of Redis.
"""

import logging
from random import Random
from typing import TypeVar

from image_worker import telemetry
from image_worker.backoff import Backoff
from image_worker.errors import QueueUnavailable
from image_worker.stop import Stop

REDIS_BASE_SECONDS = 0.05
REDIS_CAP_SECONDS = 5.0
MARGIN_SECONDS = 30.0
T = TypeVar("T")


class Endurance:
    """Of one worker's loop."""

    def __init__(
        self,
        worker: str,
        *,
        stop: Stop,
        metrics: telemetry.Metrics,
        health: telemetry.Health,
        chance: Random,
    ) -> None:
        self._worker = worker
        self._stop = stop
        self._metrics = metrics
        self._health = health
        self._trouble = Backoff(
            base_seconds=REDIS_BASE_SECONDS, cap_seconds=REDIS_CAP_SECONDS, chance=chance
        )

    def promise(self, seconds: float = 0.0) -> None:
        """Promise to be back after so many seconds, and a margin."""
        self._health.back_within(self._worker, seconds + MARGIN_SECONDS)

    def ended(self) -> None:
        """Promise nothing more."""
        self._health.ended(self._worker)

    def pause(self, seconds: float, *, holding: bool) -> None:
        """Sleep, unless there is a reason to be quick; whoever holds a job has fewer."""
        self.promise(seconds)
        (self._stop.hurried if holding else self._stop.draining).wait(seconds)

    def troubled(self, error: QueueUnavailable, *, holding: bool) -> None:
        """Note that Redis did not answer, and wait before the next try: longer each time."""
        seconds = self._trouble.next_seconds()
        self._metrics.add("image_worker_redis_errors_total", reason=error.reason)
        if self._trouble.failures == 1:
            telemetry.log(
                logging.WARNING,
                "Redis is unavailable; trying until it is back",
                worker=self._worker,
                error=str(error),
            )
        self.pause(seconds, holding=holding)

    def answered(self) -> None:
        """Note that Redis answered."""
        self._trouble.reset()

    def stumbled(self) -> None:
        """Wait after a step that failed for no reason anybody foresaw."""
        self.pause(self._trouble.next_seconds(), holding=False)
