"""Pods of one pool, as they start, work and end. No policy, no clock of its own.

Of idle workers the one that is idle longest gets the next job, as Redis serves those who wait.
Which pod a scale-in takes away is chosen as a ReplicaSet does: those not started yet, then the
cheapest by their deletion cost, then the newest, busy or not. It goes on with its jobs and costs
for as long as its grace period lasts; a job that is longer is killed then, and goes back to the
head of the queue.
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
"""

import heapq
import itertools
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from workerpool_simulator.trace import Job


@dataclass(slots=True)
class Worker:
    """One process, which does one job at a time."""

    idle_since: float
    """When it had started, or finished its last job."""
    job: Job | None = None
    done: float = 0.0
    """When its job will be finished."""


@dataclass(slots=True)
class Pod:
    """Workers that come and go together."""

    number: int
    since: float
    """When it was asked for; it costs from then on."""
    ready: float
    workers: tuple[Worker, ...]
    cost: int = 0
    """Its deletion cost: of equals, the cheapest go first."""
    closed: bool = False
    """Whether it gets no more jobs."""
    ends: float | None = None
    """When its grace is over, once it was told to go."""

    @property
    def busy(self) -> list[Worker]:
        """Its workers that have a job."""
        return [worker for worker in self.workers if worker.job is not None]


@dataclass(slots=True)
class Fleet:
    """The pods, the queue before them, and the account of both."""

    start_seconds: float
    grace_seconds: float
    workers_per_pod: int = 1
    now: float = 0.0
    replicas: int = 0
    """What was asked for."""
    queue: deque[Job] = field(default_factory=deque)
    pods: dict[int, Pod] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    """Seconds from arrival to start, of each start of a job: one that was killed has several.

    A job that was never started has waited until the end.
    """
    worker_seconds: float = 0.0
    killed: int = 0
    done: int = 0
    busy_seconds: float = 0.0
    scalings: int = 0
    _events: list[tuple[float, int]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def in_flight(self) -> int:
        """Jobs that run."""
        return sum(len(pod.busy) for pod in self.pods.values())

    @property
    def staying(self) -> list[Pod]:
        """Pods that count as replicas: those on their way out do not."""
        return [pod for pod in self.pods.values() if pod.ends is None]

    @property
    def ready(self) -> int:
        """Pods that work or could."""
        return sum(1 for pod in self.staying if pod.ready <= self.now)

    def push(self, job: Job) -> None:
        """Take a job in."""
        self.queue.append(job)
        self._assign()

    def advance(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, number = heapq.heappop(self._events)
            pod = self.pods.get(number)
            if pod is not None:
                self._happen(pod)
            self._assign()
        self.now = until

    def scale(self, replicas: int) -> None:
        """Ask for a number of pods."""
        if replicas == self.replicas:
            return
        self.scalings += 1
        self.replicas = replicas
        staying = self.staying
        for _ in range(replicas - len(staying)):
            self._start()
        for pod in self._victims(staying)[: max(0, len(staying) - replicas)]:
            self._take_away(pod)

    def close(self, numbers: Collection[int]) -> None:
        """Give these pods, and no others, no more jobs."""
        for pod in self.pods.values():
            pod.closed = pod.number in numbers
        self._assign()

    def price(self, costs: Mapping[int, int]) -> None:
        """Give pods their deletion costs."""
        for number, cost in costs.items():
            self.pods[number].cost = cost

    def settle(self) -> None:
        """Close the account of the pods that are still there and the jobs that still wait."""
        for pod in self.pods.values():
            self._charge(pod)
        self.waits += [self.now - job.at for job in self.queue]

    def _start(self) -> None:
        ready = self.now + self.start_seconds
        workers = tuple(Worker(idle_since=ready) for _ in range(self.workers_per_pod))
        pod = Pod(next(self._numbers), self.now, ready, workers)
        self.pods[pod.number] = pod
        heapq.heappush(self._events, (ready, pod.number))

    def _victims(self, pods: list[Pod]) -> list[Pod]:
        """Return the pods in the order in which they go."""
        return sorted(pods, key=lambda pod: (pod.ready <= self.now, pod.cost, -pod.since))

    def _take_away(self, pod: Pod) -> None:
        if not pod.busy:
            self._remove(pod)
            return
        pod.ends = self.now + self.grace_seconds
        heapq.heappush(self._events, (pod.ends, pod.number))

    def _remove(self, pod: Pod) -> None:
        self._charge(pod)
        del self.pods[pod.number]

    def _charge(self, pod: Pod) -> None:
        self.worker_seconds += (self.now - pod.since) * len(pod.workers)

    def _happen(self, pod: Pod) -> None:
        """Let a pod's jobs end that are done, and the pod whose time it is."""
        for worker in pod.busy:
            if worker.done <= self.now:
                self._finish(worker)
        if pod.ends is None or (pod.busy and self.now < pod.ends):
            return
        for worker in reversed(pod.busy):
            self.killed += 1
            self.queue.extendleft(filter(None, [worker.job]))
        self._remove(pod)

    def _finish(self, worker: Worker) -> None:
        if worker.job is not None:
            self.done += 1
            self.busy_seconds += worker.job.seconds
        worker.job, worker.idle_since = None, self.now

    def _assign(self) -> None:
        """Give waiting jobs to idle workers."""
        if not self.queue:
            return
        open_pods = [p for p in self.staying if p.ready <= self.now and not p.closed]
        idle = [(w.idle_since, p.number, w) for p in open_pods for w in p.workers if not w.job]
        for _, number, worker in sorted(idle, key=lambda entry: entry[:2])[: len(self.queue)]:
            job = worker.job = self.queue.popleft()
            self.waits.append(self.now - job.at)
            worker.done = self.now + job.seconds
            heapq.heappush(self._events, (worker.done, number))
