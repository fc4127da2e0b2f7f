"""One of several queues, as one worker sees it: its turns, its silences, and what it is owed.

It knows when a queue is left alone because it did not answer; it must not know of the others.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from image_worker import telemetry
from image_worker.backoff import MAX_DOUBLINGS
from image_worker.errors import QueueUnavailable
from image_worker.leases import Leases

REST_SECONDS = 0.5
"""For how long a queue is left alone that did not answer; twice as long each time."""
REST_PER_SECOND = 4
"""On top of it, for each second that its silence cost, at most: so a queue that is silent for
long takes a fifth of the others' time, and one that fails at once is soon asked again."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owed:
    """What became of a job, and was not heard; while its lease is renewed, it is still ours."""

    lease: str
    tell: Callable[[Leases], object]


class Lane:
    """A queue with its connection; one thing at most is owed to it, for then it gives no job."""

    def __init__(self, leases: Leases, weight: int, clock: Callable[[], float]) -> None:
        self.leases = leases
        self.stride = 1 / weight
        """How far a job takes it: the heavier a queue, the less."""
        self.passed = 0.0
        self.claims = 0
        self.unanswered = False
        """Whether its last claim was; it may have got a job, for all we know."""
        self.owed: Owed | None = None
        self.trouble: QueueUnavailable | None = None
        """Why it did not answer the last time; none if it did."""
        self._failures = 0
        self._clock = clock
        self._rests_until = 0.0

    @property
    def rest(self) -> timedelta | None:
        """For how long it is still left alone; none if it may be asked."""
        left = self._rests_until - self._clock()
        return timedelta(seconds=left) if left > 0 else None

    def wake(self) -> None:
        """Let it be asked again."""
        self._rests_until = 0.0

    def ask(self, call: Callable[[Leases], T]) -> T:
        """Have it answer; one that is left alone fails at once, as it did before."""
        if self.trouble is not None and self.rest is not None:
            raise self.trouble
        began = self._clock()
        try:
            answer = call(self.leases)
        except QueueUnavailable as error:
            self._leave_alone(began)
            self._note(error)
            raise
        self._failures = 0
        self._note(None)
        return answer

    def pay(self) -> None:
        """Tell it what it is owed, if anything."""
        owed = self.owed
        if owed is None:
            return
        try:
            self.ask(owed.tell)
        except QueueUnavailable:
            raise
        except Exception:
            self.owed = None  # it would fail for ever
            raise
        self.owed = None

    def _leave_alone(self, began: float) -> None:
        failed = self._clock()
        longest = REST_SECONDS + REST_PER_SECOND * (failed - began)
        rest = REST_SECONDS * 2 ** min(self._failures, MAX_DOUBLINGS)
        self._failures += 1
        self._rests_until = failed + min(rest, longest)

    def _note(self, trouble: QueueUnavailable | None) -> None:
        if trouble is not None and self.trouble is None:
            telemetry.log(
                logging.WARNING,
                "a queue does not answer; it holds up no other",
                queue=self.leases.queue,
                error=str(trouble),
            )
        elif trouble is None and self.trouble is not None:
            telemetry.log(logging.INFO, "a queue answers again", queue=self.leases.queue)
        self.trouble = trouble
