"""One worker: its id, its child, and the loop that claims, runs and settles.

It knows in what order the protocol's calls come and what each outcome of a job means; it must
not know Redis's commands, nor how a child is kept alive.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import TypeVar, assert_never

from image_worker import job, keeper, results, telemetry, wire
from image_worker.account import Account, SetAside
from image_worker.endurance import Endurance
from image_worker.envelope import Lease
from image_worker.errors import QueueUnavailable, RejectedJob
from image_worker.keeper import Keeper
from image_worker.leases import BLOCK_LONGEST, NOTHING_FINISHED, Leases
from image_worker.link import ANSWER_WITHIN
from image_worker.lossy import AtMostOnce
from image_worker.queues import Queues
from image_worker.stop import Stop
from image_worker.verdict import Action, Verdict, judge

FULL_REDIS_SECONDS = 1.0
READY_SECONDS = 1.0
RETIRED_SECONDS = 0.25
"""How soon a retired worker asks again: it may have been called back."""
T = TypeVar("T")


class Worker:
    """Claims for one child."""

    def __init__(  # noqa: PLR0913 (the supervisor wires it, once)
        self,
        *,
        leases: Leases | Queues | AtMostOnce,
        child: Keeper,
        stop: Stop,
        job_timeout: timedelta,
        max_attempts: int,
        metrics: telemetry.Metrics,
        health: telemetry.Health,
        clock: Callable[[], float],
        chance: Random,
        ids_kept: timedelta,
        place: str = "",
    ) -> None:
        # Whoever knows a lease knows the pod that is at work on it.
        self.id = secrets.token_hex(8) + place
        self.child = child
        self._leases = leases
        self._stop = stop
        self._job_timeout = job_timeout
        self._job_seconds = job_timeout.total_seconds()
        self._max_attempts = max_attempts
        self._ids_kept = ids_kept
        self._account = Account(metrics, child.cpu)
        self._endurance = Endurance(
            self.id, stop=stop, metrics=metrics, health=health, chance=chance
        )
        self._clock = clock
        self._chance = chance
        self._claims = 0
        self._held: str | None = None
        self._running: str | None = None
        self._finished = NOTHING_FINISHED
        self._result = ""
        self._untold: Callable[[], None] | None = None
        """What is to be told of the finished job."""
        self._claim_unanswered = False
        self._once: str | None = None
        """The present job's id, if it shall be done only once."""
        self._retired = False
        self._thread = threading.Thread(target=self._run, name=f"worker-{self.id}", daemon=True)

    @property
    def thread_id(self) -> int | None:
        """The kernel's number of the loop's thread, once it runs."""
        return self._thread.native_id

    @property
    def held(self) -> str | None:
        """The lease to renew: of the running job, or of one whose ack is not through yet."""
        return self._held

    @property
    def running(self) -> str | None:
        """The lease of the job that the child is at, of whose end nobody has been told yet."""
        return self._running

    @property
    def unanswered(self) -> list[str]:
        """Leases to renew if there are any: of claims in other queues than the running job's.

        With a single queue none is needed: nothing runs before its claim is answered.
        """
        return self._leases.unanswered(self.id) if isinstance(self._leases, Queues) else []

    @property
    def _owing(self) -> bool:
        """Whether Redis is still to be told of a job that was done."""
        kept = isinstance(self._leases, Queues) and self._leases.owing
        return kept or self._finished != NOTHING_FINISHED

    def settle(self, cpu: int | None, cpus: frozenset[int]) -> bool:
        """Have the child run on `cpu`, or on any of `cpus`; returns whether it ran elsewhere."""
        self.child.cpu = cpu
        self._account.move(cpu)
        return self.child.lay(cpus)

    def start(self) -> None:
        """Start claiming as soon as the child is ready."""
        self._endurance.promise()
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the loop to end after a stop; returns whether it did."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.draining.is_set():
                try:
                    self._step()
                except Exception:  # noqa: BLE001 (the edge of the task: one bug must not end the worker)
                    telemetry.log.exception("a step of the worker failed unexpectedly")
                    self._account.stumbled()
                    self._held = None  # its lease runs out, and others take the job
                    self._claims += 1
                    self._endurance.stumbled()
        finally:
            self._leave()
            self._leases.close()
            self._endurance.ended()

    def _step(self) -> None:
        """Claim once, and do what came of it."""
        self._endurance.promise()
        if not self.child.ready and not self._ready_soon():
            return
        try:
            claim = self._leases.claim(
                self.id,
                self._token,
                finished=self._finished,
                result=self._result,
                # Waiting retries and new jobs take turns, so that neither starves.
                retries_first=self._claims % 2 == 0,
                meanwhile=self._tell,
            )
        except QueueUnavailable as error:
            # The same token again: if this claim did get a job, it gets the same once more.
            self._claim_unanswered = True
            self._troubled(error)
            return
        self._endurance.answered()
        self._settled(acked=claim.acked)
        if claim.refused:
            self._account.refused(claim.refused)
        self._note_retired(retired=claim.retired_for is not None)
        if claim.lease is not None:
            self._held = claim.lease.name
            self._claims += 1
            self._work(claim.lease)
        elif claim.spent:
            self._claims += 1
        elif claim.retired_for is not None:
            # Not by waiting for a job: it would be taken from those who may do it.
            seconds = min(claim.retired_for.total_seconds(), RETIRED_SECONDS)
            self._endurance.pause(seconds, holding=False)
        else:
            self._wait(claim.due_in)

    def _ready_soon(self) -> bool:
        """Wait for the next child, with nothing claimed; returns whether to claim now."""
        if self._finished != NOTHING_FINISHED:
            if self._claim_unanswered:
                return True  # it may have got a job, whose lease nobody renews
            # This job shall not wait for the next child, nor shall the one a claim would get.
            self._acknowledge()
            self._tell()
        return self.child.wait_ready(READY_SECONDS) and not self._stop.draining.is_set()

    def _note_retired(self, *, retired: bool) -> None:
        if retired != self._retired:
            words = "retired: no more jobs, the pod is about to go" if retired else "called back"
            telemetry.log(logging.INFO, words, worker=self.id)
        self._retired = retired

    def _wait(self, due_in: timedelta | None) -> None:
        longest = BLOCK_LONGEST if due_in is None else min(due_in, BLOCK_LONGEST)
        self._endurance.promise(longest.total_seconds())
        try:
            self._leases.wait(self.id, longest)
        except QueueUnavailable as error:
            if error.reason == "OOM":
                # A full Redis refuses BLMOVE, but not the claim: look for jobs by claiming.
                self._endurance.pause(FULL_REDIS_SECONDS, holding=False)
            else:
                self._troubled(error)

    def _work(self, lease: Lease) -> None:
        """Have the job done and tell the queue; an ack travels with the next claim."""
        self._account.began()
        started = self._clock()
        result = self._result_of(lease)
        seconds = self._clock() - started
        if isinstance(result, SetAside):
            self._held = None
            self._account.set_aside(lease, result)
            return
        if isinstance(result, wire.Done):
            self._finished = (lease.name, round(seconds * 1000))
            self._result = results.entry(lease.job_id, result)
            # Told while Redis looks for the next job, which is the time to do so.
            self._untold = partial(self._account.done, lease, result, seconds)
            if self._once is not None:
                self._finish(self._once)
        else:
            verdict = judge(
                result,
                attempts=lease.attempts,
                job_timeout=self._job_timeout,
                we_killed=self._stop.hurried.is_set(),
                chance=self._chance,
            )
            settled = self._told(partial(self._put, lease.name, verdict)) or "unsettled"
            self._held = None
            self._account.undone(lease, verdict, seconds, settled)

    def _tell(self) -> None:
        """Tell of the finished job what there is to tell, once."""
        untold, self._untold = self._untold, None  # once, even if that fails
        if untold is not None:
            untold()

    def _result_of(self, lease: Lease) -> keeper.Result | SetAside:
        self._once = None
        try:
            job.refuse_oversize(lease.raw)
        except RejectedJob as error:
            return wire.Rejected(error.reason, error.sentence)
        answer = self._run_by(self.child.run, lease)
        if not isinstance(answer, wire.Asks):
            return answer
        self._once = answer.id if self._ids_kept else None
        admit = partial(
            self._leases.admit,
            lease.name,
            job_id=self._once,
            not_before_ms=answer.not_before_ms,
        )
        word = self._told(admit)
        if word is None:
            return keeper.NotStarted()
        if word != "go":
            return SetAside(word)
        return self._run_by(self.child.go_on, lease)

    def _run_by(
        self, child: Callable[[bytes, timedelta], T], lease: Lease
    ) -> T | keeper.NotStarted:
        """Hand a job over, unless time is up: our child was killed then, but not the next one."""
        if self._stop.hurried.is_set():
            return keeper.NotStarted()
        self._endurance.promise(self._job_seconds)
        self._running = lease.name
        try:
            return child(lease.raw, self._job_timeout)
        finally:
            self._running = None

    def _acknowledge(self) -> None:
        """Acknowledge a job without a claim."""
        acked = self._told(lambda: self._leases.acknowledge(self._finished, result=self._result))
        if acked is not None:
            self._settled(acked=acked)

    def _finish(self, job_id: str) -> None:
        """Acknowledge a job with an id at once: that, and the id, are remembered together."""
        acked = self._told(partial(self._finished_once, job_id))
        if acked is not None:  # else it is tried again before the goodbye
            self._settled(acked=acked)

    def _finished_once(self, job_id: str) -> bool:
        return self._leases.finish(
            self._finished, job_id=job_id, kept=self._ids_kept, result=self._result
        )

    def _told(self, call: Callable[[], T]) -> T | None:
        """Tell Redis, until it listens or time is up (None); telling twice is harmless."""
        while True:
            self._endurance.promise()
            try:
                answer = call()
            except QueueUnavailable as error:
                if self._stop.hurried.is_set():
                    return None
                self._claim_unanswered = True
                self._troubled(error)
            else:
                self._endurance.answered()
                return answer

    def _put(self, lease: str, verdict: Verdict) -> str:
        reason, sentence = verdict.reason, verdict.sentence
        match verdict.action:
            case Action.FAIL:
                return self._leases.fail(
                    lease,
                    reason=reason,
                    sentence=sentence,
                    max_attempts=self._max_attempts,
                    delay=verdict.delay,
                )
            case Action.BURY:
                return self._leases.bury(lease, reason=reason, sentence=sentence)
            case Action.CRASH:
                return self._leases.crash(lease, reason=reason, sentence=sentence)
            case Action.RELEASE:
                return self._leases.release(lease)
            case Action.HAND_BACK:
                return self._leases.hand_back(lease)
            case _:
                assert_never(verdict.action)

    def _settled(self, *, acked: bool) -> None:
        """Note what became of the last job's ack."""
        lease, _ = self._finished
        if lease and not acked and not self._claim_unanswered:
            self._account.lost(lease)
        self._finished = NOTHING_FINISHED
        self._result = ""
        self._held = None
        self._claim_unanswered = False

    def _leave(self) -> None:
        """Acknowledge the last job and be forgotten; with nothing to say, try only once."""
        self._tell()
        self._endurance.promise(ANSWER_WITHIN.total_seconds())
        while True:
            try:
                if self._once is not None and self._finished != NOTHING_FINISHED:
                    self._settled(acked=self._finished_once(self._once))
                if self._claim_unanswered:  # it may have been granted a job all the same
                    self._leases.withdraw(self._token)
                acked = self._leases.leave(self.id, self._finished, self._result)
            except QueueUnavailable as error:
                self._claim_unanswered = True
                if not self._owing or self._stop.hurried.is_set():
                    telemetry.log(
                        logging.WARNING,
                        "left without a goodbye; others will notice when the lease ends",
                        worker=self.id,
                        error=str(error),
                    )
                    return
                self._troubled(error)
            else:
                self._settled(acked=acked)
                return

    def _troubled(self, error: QueueUnavailable) -> None:
        self._tell()
        self._endurance.troubled(error, holding=self._held is not None)

    @property
    def _token(self) -> str:
        """What the present claim is known by, however often it has to be sent."""
        return f"{self.id}-{self._claims}"
