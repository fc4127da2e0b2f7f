"""One per pod: starts a worker for each core, and ends them in good order.

It knows signals, threads and who needs whom; it must not know Redis's commands or images.
As process 1 of a container it also buries whatever orphans it is left with.
"""

import logging
import signal
from collections.abc import Callable, Mapping
from random import Random

from image_worker import machine, memory, orphans, telemetry, wire
from image_worker.endpoints import Server
from image_worker.endurance import MARGIN_SECONDS
from image_worker.evidence import Witness
from image_worker.heart import Heart
from image_worker.keeper import CHILD_COMMAND, Keeper
from image_worker.keys import served
from image_worker.leases import Leases
from image_worker.link import Link, connect
from image_worker.lossy import AtMostOnce
from image_worker.queues import Queues, lane_of
from image_worker.seating import Seating
from image_worker.service import keep_secrets
from image_worker.settings import CHILD_MEMORY, PREFIX, Delivery, Queue, Settings
from image_worker.stop import Stop
from image_worker.wear import Reason, Wear
from image_worker.worker import Worker

ENDS = frozenset({signal.SIGTERM, signal.SIGINT})
SIGNALS = ENDS | {signal.SIGCHLD, signal.SIGALRM}
TICK_SECONDS = 1.0
DRAIN_TICK_SECONDS = 0.05
DRAIN_MARGIN_SECONDS = 5.0
"""On top of the job timeout; the pod's grace period has twice as much."""
HURRY_SECONDS = 3.0
SECRETS = frozenset({"WORKERPOOL_REDIS_USERNAME", "WORKERPOOL_REDIS_PASSWORD"})


class Supervisor:
    """Wires the workers together and runs them until a signal says otherwise."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        chance: Random,
        child_command: tuple[str, ...] = CHILD_COMMAND,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._child_command = child_command
        self._child_environ = {k: v for k, v in environ.items() if k not in SECRETS}
        self._started = str(round(wall_clock() * 1000))
        self._stop = Stop()
        self._metrics = declared(telemetry.Metrics())
        self._health = telemetry.Health(clock)
        self._seating = Seating(settings.cpu, machine.read_topology)
        self._witness = Witness(
            settings.cpu.policy,
            lambda: self._seating.grant,
            lambda: self._seating.topology,
            machine.virtualisation(machine.read_texts()),
            clock,
        )
        slots = self._seating.layout.slots
        granted, carried = memory.granted(), settings.images.carried
        self._child_memory = settings.images.memory_bytes or memory.share(
            granted, len(slots), carried=carried
        )
        self._shortage = memory.shortage(granted, len(slots), self._child_memory, carried=carried)
        resident = settings.child_resident_bytes
        self._wear = Wear(
            jobs=settings.child_jobs,
            resident_bytes=(
                memory.worn(self._child_memory, carried=carried) if resident is None else resident
            ),
        )
        self._child_environ[f"{PREFIX}{CHILD_MEMORY}"] = str(self._child_memory >> 20)
        self._workers = [self._worker(cpu) for cpu in slots]
        self._hearts = [self._heart(number) for number in range(len(settings.queues))]

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; returns the process's exit code.

        Call from the main thread, before any other thread exists: the signals are blocked
        here, every thread and child inherits that, and only this loop receives them.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        keep_secrets()
        _tick(TICK_SECONDS)
        server = Server(self._settings.http_port, self._health, self._metrics)
        telemetry.log(
            logging.INFO,
            f"starting: {self._seating.layout.sentence}",
            queue=", ".join(queue.keys.list for queue in self._settings.queues),
            workers=[worker.id for worker in self._workers],
            http_port=server.port,
            child_memory_megabytes=self._child_memory >> 20,
        )
        if self._shortage is not None:
            telemetry.log(logging.WARNING, self._shortage)
        for worker in self._workers:
            worker.child.start()
        for heart in self._hearts:
            heart.start()
        for worker in self._workers:
            worker.start()
        self._until_told_to_stop()
        self._drain()
        server.close()
        return 0

    def _until_told_to_stop(self) -> None:
        while not self._stop.draining.is_set():
            self._seating.keep(self._workers)
            if self._received() in ENDS:
                self._stop.draining.set()

    def _drain(self) -> None:
        """Let running jobs finish; when time is up, or told again, hand them back."""
        self._health.hinder("drain", "draining: no new jobs are taken")
        limit = self._settings.job_timeout.total_seconds() + DRAIN_MARGIN_SECONDS
        deadline = self._clock() + limit
        telemetry.log(logging.INFO, "draining: finishing what runs", seconds=limit)
        _tick(DRAIN_TICK_SECONDS)
        while not all(worker.join(0) for worker in self._workers):
            if self._received() in ENDS or self._clock() > deadline:
                self._hurry()
                break
        for heart in self._hearts:
            heart.stop(HURRY_SECONDS)
        for worker in self._workers:
            worker.child.stop()
        telemetry.log(logging.INFO, "stopped")

    def _hurry(self) -> None:
        telemetry.log(logging.WARNING, "time is up: handing running jobs back")
        self._stop.hurried.set()
        for worker in self._workers:
            worker.child.kill()
        deadline = self._clock() + HURRY_SECONDS
        for worker in self._workers:
            worker.join(deadline - self._clock())

    def _received(self) -> signal.Signals:
        """Wait for a signal or a tick, and bury orphans; our children have keepers."""
        self._health.back_within("supervisor", TICK_SECONDS + MARGIN_SECONDS)
        received = signal.sigwait(SIGNALS)
        orphans.bury(lambda pid: any(worker.child.keeps(pid) for worker in self._workers))
        return signal.Signals(received)

    def _worker(self, cpu: int | None) -> Worker:
        child = Keeper(
            cpu,
            environ=self._child_environ,
            chance=self._chance,
            on_start=self._child_started,
            on_death=self._child_died,
            on_recycle=self._child_worn,
            wear=self._wear,
            command=self._child_command,
        )
        return Worker(
            leases=self._calls(),
            child=child,
            stop=self._stop,
            job_timeout=self._settings.job_timeout,
            max_attempts=self._settings.max_attempts,
            metrics=self._metrics,
            health=self._health,
            clock=self._clock,
            chance=self._chance,
            ids_kept=self._settings.ids_kept,
            place=self._place(),
        )

    def _heart(self, number: int) -> Heart:
        """Make the heartbeat of one queue: each has leases, workers and outages of its own."""
        queue = self._settings.queues[number]
        several = len(self._settings.queues)

        def held(worker: Worker) -> str | None:
            lease = worker.held
            return lease if lease is not None and lane_of(lease, several) == number else None

        def perhaps(worker: Worker) -> list[str]:
            return [lease for lease in worker.unanswered if lane_of(lease, several) == number]

        return Heart(
            leases=self._one("heart", queue),
            lease=self._settings.lease,
            workers=self._workers,
            held=held,
            perhaps=perhaps,
            describe=self._describe,
            metrics=self._metrics,
            health=self._health,
            chance=self._chance,
            queue=queue.keys.list,
        )

    def _calls(self) -> Leases | Queues | AtMostOnce:
        queues = self._settings.queues
        if len(queues) == 1:
            return self._one("worker", queues[0])
        lanes = [(self._leases("worker", queue), queue.weight) for queue in queues]
        return Queues(lanes, clock=self._clock)

    def _one(self, who: str, queue: Queue) -> Leases | AtMostOnce:
        if self._settings.delivery is Delivery.AT_MOST_ONCE:
            return AtMostOnce(self._link(who), queue.keys)
        return self._leases(who, queue)

    def _link(self, who: str) -> Link:
        return connect(self._settings.redis, f"image-worker:{who}")

    def _leases(self, who: str, queue: Queue) -> Leases:
        return Leases(
            self._link(who),
            queue.keys,
            self._settings.lease,
            results_kept=self._settings.images.results_kept,
        )

    def _place(self) -> str:
        """Return what a worker's id ends with: by it, a queue knows which pods are at work."""
        lists = [queue.keys.list for queue in self._settings.queues]
        return f"{served(lists)}@{self._settings.origin.pod or ''}"

    def _describe(self, worker: Worker) -> dict[str, str]:
        """Say what a worker's record in Redis shall hold."""
        origin = self._settings.origin
        return {
            "namespace": origin.namespace or "",
            "pool": origin.pool or "",
            "pod": origin.pod or "",
            "node": origin.node or "",
            "region": origin.region or "",
            "cpu": "" if worker.child.cpu is None else str(worker.child.cpu),
            "pid": str(worker.child.pid or ""),
            "started": self._started,
            # Until it has pinned itself, a child is wherever its supervisor is.
            **self._witness.testify(worker.id, worker.child.seated),
        }

    def _child_started(self, ready: wire.Ready) -> None:
        self._metrics.add("image_worker_child_starts_total")
        telemetry.log(logging.INFO, "a child is ready", pid=ready.pid, cpus=ready.cpus)
        if self._seating.layout.pinned and len(ready.cpus) > 1:
            telemetry.log(logging.ERROR, "a child is not pinned", pid=ready.pid, cpus=ready.cpus)
        self._health.clear("start")

    def _child_died(self, how: str) -> None:
        self._metrics.add("image_worker_child_deaths_total")
        telemetry.log(logging.WARNING, f"a child {how}; starting the next one")

    def _child_worn(self, pid: int, reason: Reason) -> None:
        self._metrics.add("image_worker_child_recycles_total", reason=str(reason))
        telemetry.log(
            logging.INFO,
            "a child has served its time; starting the next one",
            pid=pid,
            reason=str(reason),
        )


def _tick(seconds: float) -> None:
    """Have SIGALRM interrupt every wait for signals so often.

    A timer, and not `signal.sigtimedwait`: that one makes signals up when the process was
    stopped and continued meanwhile (seen with CPython 3.11).
    """
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def declared(metrics: telemetry.Metrics) -> telemetry.Metrics:
    """Declare all metrics of a worker pod."""
    for name, kind, text in (
        ("jobs_total", "counter", "Jobs by what became of this attempt."),
        ("job_seconds", "histogram", "Seconds from handing a job to the child to its outcome."),
        (
            *("wait_seconds", "histogram"),
            "Seconds from `pushedAt` to the first claim, of jobs that were done and say it.",
        ),
        ("in_flight", "gauge", "Jobs that run now."),
        ("busy_seconds_total", "counter", "Seconds spent on jobs, by core."),
        ("child_starts_total", "counter", "Decoding children that became ready."),
        ("child_deaths_total", "counter", "Decoding children that ended unasked."),
        ("child_recycles_total", "counter", "Decoding children replaced between two jobs."),
        ("leases_lost_total", "counter", "Jobs finished after others had taken them over."),
        ("reaped_total", "counter", "Jobs taken back from silent workers, of any pod."),
        ("struck_off_total", "counter", "Silent workers struck off, of any pod."),
        ("redis_up", "gauge", "1 if the last heartbeat was answered."),
        ("redis_errors_total", "counter", "Calls that Redis did not answer as needed."),
        ("bugs_total", "counter", "Exceptions nobody foresaw; should stay 0."),
    ):
        metrics.declare(f"image_worker_{name}", kind, text)
    return metrics
