"""One pool's control loop: what is observed → `decide` → what is asked of its `scaling`.

Knows where each part of an observation comes from, and who hears of a decision. It must not know
when it is called, how a count is computed or how it is written.
"""

from workerpool_operator.attention import moves
from workerpool_operator.decide import decide
from workerpool_operator.instruments import Instruments
from workerpool_operator.inventory import Inventory
from workerpool_operator.model import Backlog, Observation
from workerpool_operator.notices import Clock
from workerpool_operator.registry import Registry
from workerpool_operator.resource import Pool
from workerpool_operator.state import PoolState


class Controller:
    """Decides for any pool that is handed to it, whenever it is."""

    def __init__(
        self, registry: Registry, inventory: Inventory, instruments: Instruments, clock: Clock
    ) -> None:
        self._registry = registry
        self._inventory = inventory
        self._instruments = instruments
        self._clock = clock

    def decide(self, state: PoolState, *, told: float | None) -> None:
        """Decide on a pool's scale, and have it carried out if it is another than now.

        `told` is the loop's time at which Redis reported the change that led to this, if it did.
        """
        pool, reading = state.record.pool, state.reading
        if pool is None or reading is None:
            state.scaling.rest()
            return
        replicas = self._replicas(state, pool)
        if replicas is None or "target" in state.troubles:  # its size is another's to decide
            state.scaling.rest()
            return
        now = self._clock()
        backlog = reading if isinstance(reading, Backlog) else None
        pace, loss = state.learnt.pace(now), state.learnt.loss
        places = self._inventory.places(state.key, state.needs, now) if state.needs else None
        observation = Observation(now, replicas, backlog, pace, loss, places)
        before, decision = state.decision, decide(observation, pool.policy, state.history)
        state.history = decision.history
        state.decision = decision = state.scaling.allowed(pool, decision)
        if state.needs is None or pool.dry_run:
            self._inventory.waive(state.key)
        else:
            self._inventory.claim(state.key, state.needs, decision.desired)
        if before is None or before.reason is not decision.reason:
            self._instruments.decided(state.key, decision.reason)
        if decision.desired == state.scaling.wanted:
            return
        if decision.desired == replicas or pool.dry_run:
            state.troubles.pop("scale", None)
            state.scaling.withdraw()  # what was decided before no longer holds
            if decision.desired != replicas:
                state.chronicle.change(state.record, replicas, decision, pretended=True)
            return
        deployment = self._registry.deployment(state.key)
        assert deployment is not None  # noqa: S101  it has replicas
        state.scaling.ask(deployment, decision, told)

    def moves(self, state: PoolState) -> bool:
        """Return whether the pool must be looked at though Redis reports nothing."""
        backlog, pool = state.reading, state.record.pool
        if not isinstance(backlog, Backlog) or pool is None:
            return True
        replicas = self._replicas(state, pool)
        if replicas is None:
            return True
        return moves(backlog, pool.policy, replicas, state.decision, self._clock())

    def _replicas(self, state: PoolState, pool: Pool) -> int | None:
        return state.replicas(pool, self._registry.deployment(state.key))
