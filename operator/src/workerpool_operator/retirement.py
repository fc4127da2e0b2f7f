"""One pool's way down: idle pods are closed before they go, so that no job is ever in one.

    look → close the idle → make them the cheapest → let that be seen → offer → scale → see off
      ↘ too few are idle: hold, look again             ↘ load is back: restore

One task walks this way, from the first wish to go down until nothing is wished and nothing is
closed. Nothing of it has to be remembered: after a restart the next look finds closed pods idle
and closes them again, and one that finds nobody to send away calls them back; a mark that nobody
renews ends by itself; and costs that were left on pods do no harm, as each look undercuts them.
It knows the sequence, but not why the scale is what it is, nor what a look consists of
(`closing`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from workerpool_operator import roster
from workerpool_operator.closing import CLOSED, CLOSING, Closing, Offer, Wish
from workerpool_operator.cluster import Cluster
from workerpool_operator.model import Decision
from workerpool_operator.registry import DeploymentRecord
from workerpool_operator.victims import hold_back

REFUSED_SECONDS = 0.25
"""After a scale that was not written, as the Deployment is another by then."""
RECALL_SECONDS = 0.5
"""After closed pods could not be called back."""
SEE_OFF_SECONDS = 1.0


class Retirement:
    """Takes one pool's Deployment down, by idle pods alone."""

    def __init__(
        self,
        cluster: Cluster,
        ask: roster.Ask,
        gate: asyncio.Semaphore,
        *,
        changed: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        """Call `changed` when more is known; `gate` bounds the requests of all pools together."""
        self._closing = Closing(cluster, ask, gate, warn=warn)
        self._changed = changed
        self._wish: Wish | None = None
        self._heir = True
        """Whether nobody has asked yet for pods that a predecessor closed."""
        self._estate: Wish | None = None
        """Where to ask for them."""
        self._offer: Offer | None = None
        self._held = CLOSING
        self._writing = False
        self._written: bool | None = None
        """Whether the offer was taken: the scale is written, or that failed."""
        self._sent = False
        """Whether closed pods may be on their way: the scale is being written, or was."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def allow(self, decision: Decision, deployment: DeploymentRecord, queue: str) -> Decision:
        """Return as much of a decision as may be carried out now, and prepare the rest."""
        replicas = deployment.replicas
        if decision.desired >= replicas:
            self.rest()
            if self._heir:
                self._heir = False
                self._estate = Wish(deployment.key, queue, replicas, replicas)
                self._walk(deployment)
            return decision
        self._wish = Wish(deployment.key, queue, replicas, decision.desired)
        offer = self._offer
        if offer is not None and offer.replicas == replicas:
            if offer.plan.blind:
                return decision
            if offer.plan.target == decision.desired:
                return decision
            if offer.plan.target > decision.desired:  # so far for now
                return hold_back(decision, offer.plan.target, *self._held)
        self._withdraw()
        self._walk(deployment)
        return hold_back(decision, replicas, *self._held)

    def rest(self) -> None:
        """Take in that nothing is to go, and have closed pods called back."""
        self._wish = None
        self._withdraw()

    @asynccontextmanager
    async def lowering(self, replicas: int) -> AsyncIterator[int | None]:
        """Lower the scale within; yields the version the Deployment must have, 0 for the latest.

        Yields `None` if it may not be lowered that far any more: to be decided anew.
        """
        offer = self._offer
        late = offer is not None and asyncio.get_running_loop().time() >= offer.until
        if offer is None or late or offer.plan.target > replicas:
            yield None
            return
        self._writing, self._written, self._sent = True, False, True
        try:
            yield offer.version
            self._written = True
        finally:
            # If it failed, it may have been written all the same: the next look tells.
            self._writing, self._held = False, CLOSING
            self._withdraw()

    def close(self) -> None:
        """Do nothing any more."""
        if self._task is not None:
            self._task.cancel()

    async def call_back(self) -> None:
        """After `close`, give those their work back whom no written scale sends away."""
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._sent:
                await self._closing.restore(self._closing.closed)

    def _withdraw(self) -> None:
        """Take the offer back, unless it is being taken."""
        if not self._writing:
            self._offer = None
            self._wake.set()

    # --- the one task

    def _walk(self, deployment: DeploymentRecord) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._descend(), name=f"retire {deployment.key}")

    async def _descend(self) -> None:
        """Look, offer and see off, until nothing is wished and nothing is closed."""
        while self._wish or self._estate or self._closing.closed:
            wish, estate = self._wish, self._estate
            if wish is None and self._closing.closed:
                await self._closing.restore(self._closing.closed)
                if self._closing.closed:  # Redis is away: they wait for nothing until it is told
                    await asyncio.sleep(RECALL_SECONDS)
                continue
            if estate is not None:
                self._estate, self._sent = None, True
                await self._closing.inherit(estate)
                await self._see_off(estate)
            if wish is None:
                continue
            self._sent = False
            offer = await self._closing.look(wish)
            if self._wish is not None:
                if offer.plan.reason is not None:
                    self._held = (offer.plan.reason, offer.plan.words)
                self._offer = offer
                self._wake.clear()
                self._changed()
                await self._until_taken(offer.seconds)
            if self._written is False:
                await asyncio.sleep(REFUSED_SECONDS)
            elif self._written:
                await self._see_off(wish)
            self._written = None

    async def _until_taken(self, seconds: float) -> None:
        """Wait until the offer was taken or withdrawn, or is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        while self._writing:
            self._wake.clear()
            await self._wake.wait()
        self._offer = None

    async def _see_off(self, wish: Wish) -> None:
        """Wait until closed pods are on their way."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSED.total_seconds()
        while self._closing.closed and self._wish is None and loop.time() < deadline:
            await asyncio.sleep(SEE_OFF_SECONDS)
            if await self._closing.gone(wish.deployment):
                return
