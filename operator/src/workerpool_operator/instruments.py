"""What is counted and metered of all pools, for `/metrics`.

Knows what to read when Prometheus asks; it must not change anything of a pool.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from workerpool_operator.figures import figures
from workerpool_operator.meter import Meter
from workerpool_operator.model import Reason
from workerpool_operator.notices import Clock
from workerpool_operator.registry import Registry
from workerpool_operator.resource import Key
from workerpool_operator.rollout import complete
from workerpool_operator.state import PoolState
from workerpool_operator.telemetry import Metrics


class Instruments:
    """Counters of decisions, meters of what is asked for, gauges of how pools are now."""

    def __init__(
        self, states: Mapping[Key, PoolState], registry: Registry, clock: Clock, price: float
    ) -> None:
        """Read `states` when asked; `price` is per core-hour, 0 for none."""
        self._states = states
        self._registry = registry
        self._clock = clock
        self._price = price
        self._meter = Meter()
        self.metrics = Metrics(self._figures)

    def decided(self, key: Key, reason: Reason) -> None:
        """Count a decision that has another reason than the one before."""
        labels = {"namespace": key.namespace, "pool": key.name, "reason": str(reason)}
        self.metrics.decisions.labels(**labels).inc()

    def meter(self, state: PoolState) -> None:
        """Have the meter run at the rate of what is asked for now."""
        deployment, pool = self._registry.deployment(state.key), state.record.pool
        now, workers, cores = asyncio.get_running_loop().time(), 0, 0.0
        if pool is not None and complete(deployment, pool):
            workers = deployment.replicas * pool.policy.workers_per_replica
            cores = deployment.replicas * pool.cpu.requested
        self._meter.set(state.key, now, workers=workers, cores=cores)

    def drop(self, key: Key) -> None:
        """Tell nothing more of a pool that is gone."""
        self._meter.drop(key)
        for reason in Reason:
            with suppress(KeyError):
                self.metrics.decisions.remove(key.namespace, key.name, str(reason))

    def _figures(self) -> Mapping[tuple[str, str], Mapping[str, float]]:
        now = asyncio.get_running_loop().time()
        return {
            (key.namespace, key.name): figures(
                state.situation(self._registry.deployment(key)),
                state.learnt.pace(self._clock()).oldest_wait,
                self._meter.read(key, now),
                self._price,
            )
            for key, state in self._states.items()
        }
