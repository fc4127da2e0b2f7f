"""The operator's way down, in a fleet: idle pods are closed before they go.

Who goes is chosen by the operator's own `plan` and made the cheapest by its own `costs`; what
lies between its steps takes as long as it does there. Requests take no time and none is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workerpool_operator.victims import Pod as Replica
from workerpool_operator.victims import Roster, Stage, costs, plan
from workerpool_simulator.fleet import Fleet, Pod

SEEN_SECONDS = 0.25
"""From pricing pods to lowering the scale, so that the ReplicaSet's controller knows the price."""
PATIENCE_SECONDS = 1.0
"""After a look that found nobody idle."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """Pods that are closed and the cheapest."""

    replicas: int
    """The scale that was looked at."""
    target: int
    """How far down they allow to go."""
    at: float
    """When that may be done."""


@dataclass(slots=True)
class Retirement:
    """Takes a fleet down, by idle pods alone."""

    _offer: _Offer | None = None
    _look_at: float = 0.0
    """No sooner than that."""

    def allow(self, desired: int, fleet: Fleet) -> int:
        """Return as much of a decision as may be carried out now, and prepare the rest."""
        if desired >= fleet.replicas:
            self._offer, self._look_at = None, 0.0
            fleet.close(())
            return desired
        offer = self._offer
        if offer is None or offer.replicas != fleet.replicas:
            self._look(desired, fleet)
        elif fleet.now >= offer.at:
            if offer.target >= desired:
                self._offer = None
                return offer.target
            self._look(desired, fleet)  # further than these allow
        return fleet.replicas

    def _look(self, desired: int, fleet: Fleet) -> None:
        """Find idle pods and close them."""
        self._offer = None
        if fleet.now < self._look_at:
            return
        pods = [_replica(pod, fleet.now) for pod in fleet.staying]
        chosen = plan(
            pods,
            _roster(fleet.staying, fleet.now),
            replicas=fleet.replicas,
            desired=desired,
            rolling=False,
        )
        fleet.close({int(pod.name) for pod in chosen.victims})
        if chosen.target >= fleet.replicas:
            self._look_at = fleet.now + PATIENCE_SECONDS
            return
        prices = costs(pods, chosen.victims)
        fleet.price({int(name): cost for name, cost in prices.items()})
        at = fleet.now + SEEN_SECONDS if prices else fleet.now
        self._offer = _Offer(fleet.replicas, chosen.target, at)


def _replica(pod: Pod, now: float) -> Replica:
    stage = Stage.READY if pod.ready <= now else Stage.PENDING
    return Replica(str(pod.number), "", stage, pod.cost)


def _roster(pods: Sequence[Pod], now: float) -> Roster:
    """Return what Redis would know of them."""
    started = [pod for pod in pods if pod.ready <= now]
    return Roster(
        busy=frozenset(str(pod.number) for pod in started if pod.busy),
        idle_since={str(pod.number): _idle_since(pod) for pod in started if not pod.busy},
    )


def _idle_since(pod: Pod) -> int:
    return round(1000 * max(worker.idle_since for worker in pod.workers))
