"""Who decides: the operator's own `decide`, and models of what else one could run.

A model follows the published algorithm of its original, at its published defaults unless it says
otherwise. What an original reads (a queue's length, with or without running jobs) the model
reads as well.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from workerpool_operator.attention import moves
from workerpool_operator.decide import NO_HISTORY, decide
from workerpool_operator.learn import NOTHING, Learnt, learn
from workerpool_operator.model import Backlog, History, Observation, Policy
from workerpool_simulator.fleet import Fleet
from workerpool_simulator.retirement import Retirement

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
TICK_SECONDS = 0.25
IDLE_SECONDS = 30.0


class Decider(Protocol):
    """What looks at a fleet every `interval` seconds and says how many pods there should be."""

    name: str
    interval: float
    grace_seconds: float
    """What a pod gets to finish its job when it is taken away."""
    told: bool
    """Whether it hears of the next arrival at once, besides looking every `interval`."""

    @property
    def low(self) -> int:
        """Pods that stay when there is nothing to do."""

    def replicas(self, fleet: Fleet) -> int:
        """Return the count to ask for."""


@dataclass(slots=True)
class Workerpool:
    """This operator: its own decision and choice of pods, told of work by Redis, then ticking."""

    policy: Policy
    name: str = "workerpool"
    interval: float = IDLE_SECONDS
    grace_seconds: float = 130.0
    """The operator derives it from `job.timeoutSeconds`, 120 by default."""
    told: bool = True
    begins: datetime = EPOCH
    """When the trace begins, for schedules."""
    _history: History = NO_HISTORY
    _learnt: Learnt = NOTHING
    _retirement: Retirement = field(default_factory=Retirement)

    @property
    def low(self) -> int:
        """Pods that stay when there is nothing to do."""
        return self.policy.min_replicas

    def replicas(self, fleet: Fleet) -> int:
        """Decide as the operator does."""
        now = self.begins + timedelta(seconds=fleet.now)
        backlog = Backlog(
            len(fleet.queue),
            in_flight=fleet.in_flight,
            done=fleet.done,
            busy=timedelta(seconds=fleet.busy_seconds),
        )
        self._learnt = learn(self._learnt, now, backlog)
        observation = Observation(now, fleet.replicas, backlog, self._learnt.pace(now))
        decision = decide(observation, self.policy, self._history)
        self._history = decision.history
        self.told = not moves(backlog, self.policy, fleet.replicas, decision, now)
        self.interval = IDLE_SECONDS if self.told else TICK_SECONDS
        return self._retirement.allow(decision.desired, fleet)


@dataclass(slots=True)
class Keda:
    """KEDA's Redis list scaler with the HPA behind it.

    KEDA itself goes from zero to one when the list is not empty, looking every
    `polling_interval`, and back to zero when it was empty for `cooldown`. In between, the HPA
    asks every 15 s for ⌈length ÷ target⌉ (running jobs are not on the list), ignores changes of
    up to 10 %, and goes to the highest count called for within five minutes, up to at most four
    pods or double. That is an HPA without a `behavior`, which KEDA makes unless it is given one:
    from zero to 40 pods it is 1, 4, 8, 16, 32, 40, as on a cluster. With one that names no limit,
    it goes up to what is called for now.
    https://keda.sh/docs/latest/concepts/scaling-deployments/
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
    Kubernetes: `normalizeDesiredReplicas` in pkg/controller/podautoscaler/horizontal.go
    """

    target: float
    low: int
    high: int
    name: str = "keda"
    polling_interval: float = 30.0
    cooldown: float = 300.0
    sync: float = 15.0
    down_window: float = 300.0
    limited_up: bool = True
    """Whether the HPA has no `behavior`."""
    lag: float = 1.0
    """Seconds from KEDA's first pod to the HPA's look at the earliest."""
    interval: float = 1.0
    grace_seconds: float = 30.0
    told: bool = False
    _polled: float = -math.inf
    _synced: float = -math.inf
    _active: float = -math.inf
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def replicas(self, fleet: Fleet) -> int:
        """Do what is due at the fleet's time."""
        now, length, replicas = fleet.now, len(fleet.queue), fleet.replicas
        if now - self._polled >= self.polling_interval:
            self._polled = now
            if length > 0:
                self._active = now
                if replicas == 0:
                    self._synced = max(self._synced, now - self.sync + self.lag)
                replicas = max(replicas, 1, self.low)
            elif replicas < self.low:
                replicas = self.low
            elif replicas > 0 and self.low == 0 and now - self._active >= self.cooldown:
                return 0
        if replicas > 0 and now - self._synced >= self.sync:
            self._synced = now
            replicas = self._hpa(now, length, replicas)
        return replicas

    def _hpa(self, now: float, length: int, replicas: int) -> int:
        ratio = length / self.target / replicas
        wanted = replicas if abs(ratio - 1) <= 0.1 else math.ceil(length / self.target)  # noqa: PLR2004
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self.down_window:
            self._wanted.popleft()
        highest = max(count for _, count in self._wanted)
        if self.limited_up:
            wanted = min(highest, max(4, replicas * 2))
        elif wanted < replicas:
            wanted = min(replicas, highest)
        return min(max(wanted, 1, self.low), self.high)


@dataclass(slots=True)
class Knative:
    """Knative's pod autoscaler (KPA), given jobs waiting and running as its concurrency.

    Every 2 s: the mean over a stable window of 60 s ÷ target; when the mean over a panic window
    of 6 s calls for twice the ready pods, that one rules for as long, and nothing goes down. Up
    by at most a thousandfold, down by at most half a time; to zero 30 s after nothing is there.
    https://knative.dev/docs/serving/autoscaling/kpa-specific/
    """

    target: float
    low: int
    high: int
    name: str = "knative-kpa"
    interval: float = 2.0
    grace_seconds: float = 30.0
    told: bool = False
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _panic_until: float = -math.inf
    _panic_peak: int = 0
    _busy_at: float = -math.inf

    def replicas(self, fleet: Fleet) -> int:
        """Decide at the fleet's time."""
        now, jobs = fleet.now, len(fleet.queue) + fleet.in_flight
        self._seen.append((now, jobs))
        while self._seen[0][0] <= now - 60:
            self._seen.popleft()
        recent = [count for at, count in self._seen if at > now - 6]
        ready = max(1, fleet.ready)
        stable = self._pods(sum(n for _, n in self._seen) / len(self._seen), ready)
        panic = self._pods(sum(recent) / len(recent), ready)
        if panic >= 2 * ready:
            self._panic_until = now + 60
        if now < self._panic_until:
            self._panic_peak = max(self._panic_peak, panic, fleet.replicas)
            return min(self.high, self._panic_peak)
        self._panic_peak = 0
        if stable > 0:
            self._busy_at = now
        elif fleet.replicas > 0 and now - self._busy_at < 30:  # noqa: PLR2004  its grace
            return max(self.low, 1)
        return min(max(stable, self.low), self.high)

    def _pods(self, jobs: float, ready: int) -> int:
        pods = math.ceil(jobs / (self.target * 0.7))
        if pods == 0:
            return 0
        return min(max(pods, ready // 2), ready * 1000)


def candidates(
    policy: Policy, target: float, begins: datetime = EPOCH
) -> list[Callable[[], Decider]]:
    """Return the policies to compare, each made anew for each trace.

    Tuned KEDA polls every second, grows without a limit, and has the pool's window.
    """
    low, high = policy.min_replicas, policy.max_replicas
    window = policy.stabilization.total_seconds()
    return [
        lambda: Workerpool(policy, begins=begins),
        lambda: Keda(target, low, high),
        lambda: Keda(
            target,
            low,
            high,
            name="keda-tuned",
            polling_interval=1,
            cooldown=window,
            down_window=window,
            limited_up=False,
            lag=0.0,
        ),
        lambda: Knative(target, low, high),
    ]
