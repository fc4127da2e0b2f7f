"""The supervisor's heartbeat: renews all its workers and leases, and reaps for everybody.

On its own connection and thread, so that neither a busy child nor a blocked claim can stop it.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random

from image_worker import telemetry
from image_worker.backoff import Backoff
from image_worker.endurance import MARGIN_SECONDS, REDIS_BASE_SECONDS, REDIS_CAP_SECONDS
from image_worker.errors import QueueUnavailable
from image_worker.leases import REAP_LIMIT, Beat, Leases
from image_worker.lossy import AtMostOnce
from image_worker.vigil import Vigil
from image_worker.worker import Worker

BEATS_PER_LEASE = 3
JITTER = 0.1
"""A fleet that started together shall not beat together."""
REAP_ROUNDS = 20
"""At most this many batches between two beats: reaping must not starve the heart."""


class Heart:
    """Beats until stopped."""

    def __init__(  # noqa: PLR0913 (the supervisor wires it, once)
        self,
        *,
        leases: Leases | AtMostOnce,
        lease: timedelta,
        workers: Sequence[Worker],
        held: Callable[[Worker], str | None],
        perhaps: Callable[[Worker], Sequence[str]],
        describe: Callable[[Worker], Mapping[str, str]],
        metrics: telemetry.Metrics,
        health: telemetry.Health,
        chance: Random,
        queue: str,
    ) -> None:
        self._leases = leases
        self._interval = lease.total_seconds() / BEATS_PER_LEASE
        self._workers = workers
        self._held = held
        self._perhaps = perhaps
        self._name = f"heart of {queue}"
        self._obstacle = f"redis, {queue}"
        self._describe = describe
        self._metrics = metrics
        self._health = health
        self._chance = chance
        self._vigil = Vigil(round(lease / timedelta(milliseconds=1)))
        self._told: dict[str, Mapping[str, str]] = {}
        self._trouble = Backoff(
            base_seconds=REDIS_BASE_SECONDS, cap_seconds=REDIS_CAP_SECONDS, chance=chance
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._health.hinder(self._obstacle, "Redis has not answered yet")
        self._health.back_within(self._name, MARGIN_SECONDS)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Beat no more."""
        self._stopped.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                wait = self._step()
            except Exception:  # noqa: BLE001 (the edge of the task: one bug must not stop the heart)
                telemetry.log.exception("a heartbeat failed unexpectedly")
                self._metrics.add("image_worker_bugs_total")
                wait = self._trouble.next_seconds()
            self._health.back_within(self._name, wait + MARGIN_SECONDS)
            self._stopped.wait(wait)
        self._leases.close()
        self._health.ended(self._name)

    def _step(self) -> float:
        """Beat once, reap if we may; returns the seconds until the next beat."""
        # What a lost answer may have granted is renewed, too: a beat makes no lease.
        held = [
            lease
            for worker in self._workers
            for lease in (self._held(worker), *self._perhaps(worker))
            if lease is not None
        ]
        try:
            beat = self._leases.beat(
                [worker.id for worker in self._workers],
                held,
            )
            if self._vigil.begins:
                self._vigil.server_started(self._leases.server_started_ms(beat.now_ms))
                self._told.clear()
            self._vigil.beaten(beat.now_ms)
            self._tell()
            self._note_lost(beat)
            self._reap(beat)
        except QueueUnavailable as error:
            return self._troubled(error)
        self._trouble.reset()
        self._health.clear(self._obstacle)
        self._metrics.set("image_worker_redis_up", 1)
        return self._interval * self._chance.uniform(1 - JITTER, 1)

    def _reap(self, beat: Beat) -> None:
        if not self._vigil.may_reap():
            return
        for worker in beat.expired_workers:
            if self._leases.strike(worker):
                self._metrics.add("image_worker_struck_off_total")
                telemetry.log(logging.WARNING, "a silent worker was struck off", worker=worker)
        rounds = REAP_ROUNDS if beat.expired_leases else 0
        for _ in range(rounds):
            reaped, buried = self._leases.reap(blame_after_ms=self._vigil.blame_after())
            if reaped:
                self._metrics.add("image_worker_reaped_total", reaped)
                telemetry.log(
                    logging.WARNING,
                    "jobs of silent workers were taken back",
                    jobs=reaped,
                    buried=buried,
                )
            if reaped < REAP_LIMIT:
                break

    def _note_lost(self, beat: Beat) -> None:
        """Say so; there is nothing to do: the ack is fenced, and the output the same."""
        # What is held and does not run is being given up: Redis may know that before we do.
        running = {worker.running for worker in self._workers}
        for lease in beat.lost:
            if lease in running:
                telemetry.log(
                    logging.WARNING, "a running job was lost to other workers", lease=lease
                )

    def _tell(self) -> None:
        """Bring the workers' records up to date."""
        for worker in self._workers:
            facts = self._describe(worker)
            if self._told.get(worker.id) != facts:
                self._leases.record(worker.id, facts)
                self._told[worker.id] = facts

    def _troubled(self, error: QueueUnavailable) -> float:
        self._vigil.interrupted()
        self._metrics.set("image_worker_redis_up", 0)
        self._metrics.add("image_worker_redis_errors_total", reason=error.reason)
        # No hindrance: a pod that is not ready would be the first to go in a scale-in.
        wait = self._trouble.next_seconds()
        if self._trouble.failures == 1:
            telemetry.log(logging.WARNING, "no heartbeat: Redis is unavailable", error=str(error))
        return wait
