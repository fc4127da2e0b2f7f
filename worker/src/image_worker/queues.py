"""Several queues, worked on as if they were one: weighted turns, and a wait for any of them.

It speaks as `Leases` does, to which it leaves every call.  Each queue has a connection of its own,
for they may be on different nodes of a Cluster, and names of its own for its claims: one that was
not answered is repeated with its name when its queue's turn comes again.

A queue that is away holds up no other: what became of its last job is kept until it can be told.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from image_worker.errors import QueueUnavailable
from image_worker.lane import Lane, Owed
from image_worker.leases import BLOCK_LONGEST, NOTHING_FINISHED, Claim, Leases
from image_worker.link import ANSWER_WITHIN

KEPT = "kept"
"""The answer to a verdict that is told later."""
AWAY = "away"
"""The answer to a question that a queue which is away did not hear: its job goes back."""
LATE = timedelta(seconds=0.5)
"""How long to wait for the other queues once one has said that time is up."""
T = TypeVar("T")


class Queues:
    """What a worker needs of `Leases`, for several queues.

    Turns are strides: the queue that has come least far is asked first, and each job takes it
    on by the inverse of its weight.  An empty queue saves up nothing, and none can starve:
    however light it is, the others pass it.
    """

    def __init__(
        self, queues: Sequence[tuple[Leases, int]], *, clock: Callable[[], float]
    ) -> None:
        self._lanes = [Lane(leases, weight, clock) for leases, weight in queues]
        self._clock = clock
        self._now = 0.0
        """How far the queue had come that was served last."""
        self._woken_by: Lane | None = None

    @property
    def owing(self) -> bool:
        """Whether the end of some job is still to be told."""
        return any(lane.owed is not None for lane in self._lanes)

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

        Raises QueueUnavailable if no queue at all was answered.
        """
        meanwhile()
        acked = finished != NOTHING_FINISHED and self.acknowledge(finished, result=result)
        answers: list[Claim] = []
        refused = 0
        trouble: QueueUnavailable | None = None
        latest = self._clock() + ANSWER_WITHIN.total_seconds()
        for lane in self._in_turn():
            try:
                claim = self._claim(lane, worker)
            except QueueUnavailable as error:
                lane.unanswered = True
                trouble = error
                if self._clock() >= latest:
                    break  # one silence is enough for one call: the others are asked by the next
                continue
            refused += claim.refused
            if claim.lease is not None or claim.retired_for is not None:
                return replace(claim, acked=acked, refused=refused)
            answers.append(claim)
        if trouble is not None and not answers:
            raise trouble
        soon = [claim.due_in for claim in answers] + [lane.rest for lane in self._lanes]
        soonest = min((one for one in soon if one is not None), default=None)
        return Claim(acked=acked, lease=None, due_in=soonest, refused=refused)

    def unanswered(self, worker: str) -> list[str]:
        """Name leases to renew beside the running job's: those owed, and those perhaps granted."""
        # The heart asks, while we work: what it gets may be out of date, and is never wrong to
        # renew, for that makes no lease.
        owed = [lane.owed for lane in self._lanes]
        return [
            *(one.lease for one in owed if one is not None),
            *(self._name(lane, worker) for lane in self._lanes if lane.unanswered),
        ]

    def wait(self, worker: str, longest: timedelta) -> bool:  # noqa: ARG002  as of `Leases`
        """Wait until a job of any queue has landed (True) or time is up (False)."""
        waiting: list[Lane] = []
        trouble: QueueUnavailable | None = None
        for lane in self._lanes:
            if lane.rest is not None:
                trouble = lane.trouble
                continue
            try:
                lane.leases.begin_wait(longest)
                waiting.append(lane)
            except QueueUnavailable as error:
                trouble = error
        try:
            return self._awaited(waiting, trouble)
        finally:
            # Else the next job there would wake us, who are busy, and not somebody who waits.
            for lane in waiting:
                lane.leases.close()

    def admit(self, lease: str, *, job_id: str | None, not_before_ms: int | None) -> str:
        """See `Leases.admit`; `away` if the queue was not heard: the job goes back unbegun."""
        lane = self._of(lease)
        try:
            return lane.ask(
                lambda leases: leases.admit(lease, job_id=job_id, not_before_ms=not_before_ms)
            )
        except QueueUnavailable:
            lane.owed = Owed(lease, lambda leases: leases.release(lease))
            return AWAY

    def acknowledge(self, finished: tuple[str, int], *, result: str = "") -> bool:
        """See `Leases.acknowledge`; True, too, if it is kept to be told later."""
        return self._told(
            finished[0], lambda leases: leases.acknowledge(finished, result=result), kept=True
        )

    def finish(
        self, finished: tuple[str, int], *, job_id: str, kept: timedelta, result: str = ""
    ) -> bool:
        """See `Leases.finish`; True, too, if it is kept to be told later."""
        return self._told(
            finished[0],
            lambda leases: leases.finish(finished, job_id=job_id, kept=kept, result=result),
            kept=True,
        )

    def fail(
        self, lease: str, *, reason: str, sentence: str, max_attempts: int, delay: timedelta
    ) -> str:
        """See `Leases.fail`; `kept`, too."""
        return self._told(
            lease,
            lambda leases: leases.fail(
                lease, reason=reason, sentence=sentence, max_attempts=max_attempts, delay=delay
            ),
            kept=KEPT,
        )

    def bury(self, lease: str, *, reason: str, sentence: str) -> str:
        """See `Leases.bury`; `kept`, too."""
        return self._told(
            lease,
            lambda leases: leases.bury(lease, reason=reason, sentence=sentence),
            kept=KEPT,
        )

    def crash(self, lease: str, *, reason: str, sentence: str) -> str:
        """See `Leases.crash`; `kept`, too."""
        return self._told(
            lease,
            lambda leases: leases.crash(lease, reason=reason, sentence=sentence),
            kept=KEPT,
        )

    def release(self, lease: str) -> str:
        """See `Leases.release`; `kept`, too."""
        return self._told(lease, lambda leases: leases.release(lease), kept=KEPT)

    def hand_back(self, lease: str) -> str:
        """See `Leases.hand_back`."""
        return self.release(lease)

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
            lane.wake()  # there is no job any more that it could hold up
            try:
                lane.pay()
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

    def _in_turn(self) -> list[Lane]:
        """Sort the queues by who is asked first."""
        woken_by, self._woken_by = self._woken_by, None
        # What was perhaps granted comes first, with what is owed: others wait for such jobs.
        return sorted(
            self._lanes,
            key=lambda lane: (
                not lane.unanswered and lane.owed is None,
                lane is not woken_by,
                lane.passed,
            ),
        )

    def _claim(self, lane: Lane, worker: str) -> Claim:
        away = lane.trouble is not None
        lane.pay()
        claim = lane.ask(
            lambda leases: leases.claim(
                worker, self._name(lane, worker), retries_first=lane.claims % 2 == 0
            )
        )
        lane.unanswered = False
        if away:  # and back: so the others may well be, for mostly there is one server
            for other in self._lanes:
                other.wake()
        if claim.lease is not None:
            lane.claims += 1
            self._now = lane.passed
            lane.passed += lane.stride
        elif claim.spent:
            lane.claims += 1
        else:
            lane.passed = max(lane.passed, self._now)
        return claim

    def _awaited(self, waiting: list[Lane], trouble: QueueUnavailable | None) -> bool:
        """See the waits end that have begun, until one has brought a job; those left go on."""
        patience, heard, landed = BLOCK_LONGEST + ANSWER_WITHIN / 2, False, False
        while waiting and not landed:
            answered = Leases.answered([lane.leases for lane in waiting], patience)
            if not answered:
                break
            for lane in [lane for lane in waiting if lane.leases in answered]:
                waiting.remove(lane)
                try:
                    if lane.leases.end_wait():
                        landed, self._woken_by = True, lane
                except QueueUnavailable as error:
                    # Not noted: a full Redis refuses to have anybody wait, and answers a claim.
                    trouble = error
                else:
                    patience, heard = LATE, True
        if trouble is not None and not heard and not waiting:
            raise trouble
        return landed

    def _told(self, lease: str, tell: Callable[[Leases], T], *, kept: T) -> T:
        """Tell a queue what became of its job, now or later."""
        lane = self._of(lease)
        try:
            answer = lane.ask(tell)
        except QueueUnavailable:
            lane.owed = Owed(lease, tell)
            return kept
        lane.owed = None
        return answer

    def _name(self, lane: Lane, worker: str) -> str:
        """Name a claim, so that its lease tells its queue."""
        return f"{worker}-{lane.claims * len(self._lanes) + self._lanes.index(lane)}"

    def _of(self, lease: str) -> Lane:
        return self._lanes[lane_of(lease, len(self._lanes))]


def lane_of(lease: str, queues: int) -> int:
    """Say which of so many queues a lease is of."""
    return int(lease.rpartition("-")[2]) % queues
