"""Pods of one pool, as they start, work and end. No policy, no clock of its own.

One pod has one worker. Which pod a scale-in takes away is chosen as Kubernetes does: those not
started yet, then the newest, busy or not. It finishes its job if that ends within the grace
period, and costs until then; otherwise the job is killed and goes back to the head of the queue.
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost
"""

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

from workerpool_simulator.trace import Job


@dataclass(slots=True)
class Pod:
    """One worker."""

    number: int
    since: float
    """When it was asked for; it costs from then on."""
    ready: float
    job: Job | None = None
    done: float = 0.0
    """When its job will be finished."""
    leaving: bool = False


@dataclass(slots=True)
class Fleet:
    """The pods, the queue before them, and the account of both."""

    start_seconds: float
    grace_seconds: float
    now: float = 0.0
    replicas: int = 0
    """What was asked for."""
    queue: deque[Job] = field(default_factory=deque)
    pods: dict[int, Pod] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    """Seconds from arrival to start, of each job; of a killed job, to its last start."""
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
        return sum(1 for pod in self.pods.values() if pod.job is not None)

    @property
    def ready(self) -> int:
        """Pods that work or could."""
        return sum(1 for p in self.pods.values() if p.ready <= self.now and not p.leaving)

    def push(self, job: Job) -> None:
        """Take a job in."""
        self.queue.append(job)
        self._assign()

    def next_event(self) -> float | None:
        """Return when something will happen by itself: a pod is ready, a job is done."""
        return self._events[0][0] if self._events else None

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
        staying = [pod for pod in self.pods.values() if not pod.leaving]
        for _ in range(replicas - len(staying)):
            pod = Pod(next(self._numbers), self.now, self.now + self.start_seconds)
            self.pods[pod.number] = pod
            heapq.heappush(self._events, (pod.ready, pod.number))
        for pod in self._victims(staying)[: max(0, len(staying) - replicas)]:
            self._take_away(pod)

    def _victims(self, pods: list[Pod]) -> list[Pod]:
        """Return the pods in the order in which they go."""
        return sorted(pods, key=lambda pod: (pod.ready <= self.now, -pod.since))

    def _take_away(self, pod: Pod) -> None:
        if pod.job is None:
            self._remove(pod)
        elif pod.done - self.now <= self.grace_seconds:
            pod.leaving = True
        else:
            self.killed += 1
            self.queue.appendleft(pod.job)
            self.worker_seconds += self.grace_seconds
            self._remove(pod)

    def _remove(self, pod: Pod) -> None:
        self.worker_seconds += self.now - pod.since
        del self.pods[pod.number]

    def _happen(self, pod: Pod) -> None:
        if pod.job is None or pod.done > self.now:
            return
        self.done += 1
        self.busy_seconds += pod.job.seconds
        pod.job = None
        if pod.leaving:
            self._remove(pod)

    def _assign(self) -> None:
        if not self.queue:
            return
        for pod in self.pods.values():
            if not self.queue:
                return
            if pod.job is None and pod.ready <= self.now and not pod.leaving:
                job = pod.job = self.queue.popleft()
                self.waits.append(self.now - job.at)
                pod.done = self.now + job.seconds
                heapq.heappush(self._events, (pod.done, pod.number))

    def close(self) -> None:
        """Settle the account of the pods that are still there."""
        for pod in list(self.pods.values()):
            self._remove(pod)
