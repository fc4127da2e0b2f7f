"""Several queues, worked on as if they were one: weighted turns, and a wait for any of them.

It speaks as `Leases` does, to which it leaves every call.  Each queue has a connection of its own,
for they may be on different nodes of a Cluster, and names of its own for its claims: one that was
not answered is repeated with its name when its queue's turn comes again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from image_worker.errors import QueueUnavailable
from image_worker.leases import NOTHING_FINISHED, Claim, Leases


@dataclass(slots=True)
class _Lane:
    """One queue, as seen by one worker."""

    leases: Leases
    stride: float
    """How far a job takes it: the heavier a queue, the less."""
    passed: float = 0.0
    claims: int = 0
    unanswered: bool = False


class Queues:
    """What a worker needs of `Leases`, for several queues.

    Turns are strides: the queue that has come least far is asked first, and each job takes it
    on by the inverse of its weight.  An empty queue saves up nothing, and none can starve:
    however light it is, the others pass it.
    """

    def __init__(self, queues: Sequence[tuple[Leases, int]]) -> None:
        self._lanes = [_Lane(leases, 1 / weight) for leases, weight in queues]
        self._now = 0.0
        """How far the queue had come that was served last."""

    def claim(
        self,
        worker: str,
        token: str,  # noqa: ARG002  each queue has its own
        *,
        finished: tuple[str, int] = NOTHING_FINISHED,
        result: str = "",
        retries_first: bool = False,  # noqa: ARG002  likewise
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Claim:
        """Acknowledge `finished` where it belongs, and take the next job of whoever's turn it is.

        Raises QueueUnavailable if the acknowledgement, or no queue at all, was answered.
        """
        meanwhile()
        acked = False
        if finished != NOTHING_FINISHED:
            acked = self.acknowledge(finished, result=result)
        answers: list[Claim] = []
        trouble: QueueUnavailable | None = None
        # What was perhaps granted comes first: nobody renews its lease.
        for lane in sorted(self._lanes, key=lambda lane: (not lane.unanswered, lane.passed)):
            try:
                claim = self._claim(lane, worker)
            except QueueUnavailable as error:
                lane.unanswered = True
                trouble = error
                continue
            if claim.lease is not None or claim.retired_for is not None:
                return replace(claim, acked=acked)
            answers.append(claim)
        if trouble is not None and not answers:
            raise trouble
        soonest = min((c.due_in for c in answers if c.due_in is not None), default=None)
        return Claim(acked=acked, lease=None, due_in=soonest)

    def unanswered(self, worker: str) -> list[str]:
        """Name the claims that were not answered: they may have got a job, for all we know."""
        # The heart asks, while we work: what it gets may be out of date, and is never wrong to
        # renew, for that makes no lease.
        return [self._name(lane, worker) for lane in self._lanes if lane.unanswered]

    def wait(self, worker: str, longest: timedelta) -> bool:  # noqa: ARG002  as of `Leases`
        """Wait until a job of any queue has landed (True) or time is up (False)."""
        waiting: list[Leases] = []
        trouble: QueueUnavailable | None = None
        for lane in self._lanes:
            try:
                lane.leases.begin_wait(longest)
                waiting.append(lane.leases)
            except QueueUnavailable as error:
                trouble = error
        if trouble is not None and not waiting:
            raise trouble
        try:
            landed = False
            while waiting and not landed:
                answered = Leases.answered(waiting)
                if not answered:
                    break
                for leases in answered:
                    waiting.remove(leases)
                    landed = leases.end_wait() or landed
        finally:
            # Else the next job there would wake us, who are busy, and not somebody who waits.
            for leases in waiting:
                leases.close()
        return landed

    def admit(self, lease: str, *, job_id: str | None, not_before_ms: int | None) -> str:
        """See `Leases.admit`."""
        return self._of(lease).leases.admit(lease, job_id=job_id, not_before_ms=not_before_ms)

    def acknowledge(self, finished: tuple[str, int], *, result: str = "") -> bool:
        """See `Leases.acknowledge`."""
        return self._of(finished[0]).leases.acknowledge(finished, result=result)

    def finish(
        self, finished: tuple[str, int], *, job_id: str, kept: timedelta, result: str = ""
    ) -> bool:
        """See `Leases.finish`."""
        leases = self._of(finished[0]).leases
        return leases.finish(finished, job_id=job_id, kept=kept, result=result)

    def fail(
        self, lease: str, *, reason: str, sentence: str, max_attempts: int, delay: timedelta
    ) -> str:
        """See `Leases.fail`."""
        return self._of(lease).leases.fail(
            lease, reason=reason, sentence=sentence, max_attempts=max_attempts, delay=delay
        )

    def bury(self, lease: str, *, reason: str, sentence: str) -> str:
        """See `Leases.bury`."""
        return self._of(lease).leases.bury(lease, reason=reason, sentence=sentence)

    def crash(self, lease: str, *, reason: str, sentence: str) -> str:
        """See `Leases.crash`."""
        return self._of(lease).leases.crash(lease, reason=reason, sentence=sentence)

    def release(self, lease: str) -> str:
        """See `Leases.release`."""
        return self._of(lease).leases.release(lease)

    def hand_back(self, lease: str) -> str:
        """See `Leases.hand_back`."""
        return self._of(lease).leases.hand_back(lease)

    def withdraw(self, token: str) -> None:
        """Do nothing yet: it is part of the goodbye, with each queue's own names."""

    def leave(
        self, worker: str, finished: tuple[str, int] = NOTHING_FINISHED, result: str = ""
    ) -> bool:
        """Say goodbye to every queue; one that does not answer keeps nobody from the others."""
        acked = False
        trouble: QueueUnavailable | None = None
        for lane in self._lanes:
            ours = finished != NOTHING_FINISHED and self._of(finished[0]) is lane
            try:
                if lane.unanswered:  # it may have granted a job all the same
                    lane.leases.release(self._name(lane, worker))
                last = finished if ours else NOTHING_FINISHED
                acked = lane.leases.leave(worker, last, result if ours else "") or acked
            except QueueUnavailable as error:
                trouble = error
        if trouble is not None:
            raise trouble
        return acked

    def close(self) -> None:
        """Drop the connections."""
        for lane in self._lanes:
            lane.leases.close()

    def _claim(self, lane: _Lane, worker: str) -> Claim:
        claim = lane.leases.claim(
            worker, self._name(lane, worker), retries_first=lane.claims % 2 == 0
        )
        lane.unanswered = False
        if claim.lease is not None:
            lane.claims += 1
            self._now = lane.passed
            lane.passed += lane.stride
        elif claim.spent:
            lane.claims += 1
        else:
            lane.passed = max(lane.passed, self._now)
        return claim

    def _name(self, lane: _Lane, worker: str) -> str:
        """Name a claim, so that its lease tells its queue."""
        return f"{worker}-{lane.claims * len(self._lanes) + self._lanes.index(lane)}"

    def _of(self, lease: str) -> _Lane:
        return self._lanes[lane_of(lease, len(self._lanes))]


def lane_of(lease: str, queues: int) -> int:
    """Say which of so many queues a lease is of."""
    return int(lease.rpartition("-")[2]) % queues
