"""One pool's way down: idle pods are closed before they go, so that no job is ever in one.

    look → close the idle → make them the cheapest → let that be seen → offer → scale → see off
      ↘ too few are idle: hold, look again             ↘ load is back: restore

One task walks this way, from the first wish to go down until nothing is wished and nothing is
closed. Nothing of it has to be remembered: after a restart the next look finds closed pods idle
and closes them again; a mark that nobody renews ends by itself; and costs that were left on pods
do no harm, as each look undercuts them. It knows the sequence, but not why the scale is what it
is, nor how Redis and the API server are asked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from workerpool_operator import roster
from workerpool_operator.apiserver import Document
from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import ApplyFailed, Forbidden, NotFound, Unreadable
from workerpool_operator.model import Decision, Reason
from workerpool_operator.registry import DeploymentRecord, version_of
from workerpool_operator.resource import Key
from workerpool_operator.victims import Plan, Pod, costs, hold_back, plan, pods_of

log = logging.getLogger(__name__)

CLOSED = timedelta(seconds=60)
"""How long a pod stays closed if nobody calls it back; it must have been told to go by then."""
CLOSED_PER_POD = timedelta(seconds=0.1)
"""On top of it: the ReplicaSet's controller deletes some twenty pods a second."""
OFFER_SECONDS = 15.0
"""For how long closed pods are offered before their marks are renewed by another look."""
PATIENCE_SECONDS = 1.0
"""After a look that found too few idle pods, or failed."""
SEEN_SECONDS = 0.25
"""From pricing pods to lowering the scale: the ReplicaSet's controller hears of the one by its
watch of pods and of the other by its watch of ReplicaSets, and must not hear of it later."""
REFUSED_SECONDS = 0.25
"""After a scale that was not written, as the Deployment is another by then."""
SEE_OFF_SECONDS = 1.0
ROUNDS = 5
"""How often pods are chosen anew in one look, as chosen ones turn out to have a job."""
_CLOSING = (Reason.RETIRING, "idle pods are closed before they go")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is called for."""

    deployment: Key
    queue: str
    replicas: int
    """What the Deployment asks for now."""
    desired: int


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a look came to."""

    replicas: int
    """The scale that was looked at."""
    plan: Plan
    version: int = 0
    """The Deployment as it must still be when its scale is lowered."""
    seconds: float = PATIENCE_SECONDS
    """For how long it holds."""


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
        self._cluster = cluster
        self._ask = ask
        self._gate = gate
        self._changed = changed
        self._warn = warn
        self._wish: _Wish | None = None
        self._offer: _Offer | None = None
        self._held = _CLOSING
        self._queue = ""
        self._closed: frozenset[str] = frozenset()
        """Pods that are closed and were not yet seen to go."""
        self._writing = False
        self._written: bool | None = None
        """Whether the offer was taken: the scale is written, or that failed."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._warned = ""

    def allow(self, decision: Decision, deployment: DeploymentRecord, queue: str) -> Decision:
        """Return as much of a decision as may be carried out now, and prepare the rest."""
        replicas = deployment.replicas
        if decision.desired >= replicas:
            self.rest()
            return decision
        self._wish = _Wish(deployment.key, queue, replicas, decision.desired)
        offer = self._offer
        if offer is not None and offer.replicas == replicas:
            if offer.plan.blind:
                return decision
            if offer.plan.target == decision.desired:
                return decision
            if offer.plan.target > decision.desired:  # so far for now
                return hold_back(decision, offer.plan.target, *self._held)
        self._withdraw()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._descend(), name=f"retire {deployment.key}")
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
        if offer is None or offer.plan.target > replicas:
            yield None
            return
        self._writing, self._written = True, False
        try:
            yield offer.version
            self._written = True
        finally:
            # If it failed, it may have been written all the same: the next look tells.
            self._writing, self._held = False, _CLOSING
            self._withdraw()

    def close(self) -> None:
        """Do nothing any more."""
        if self._task is not None:
            self._task.cancel()

    def _withdraw(self) -> None:
        """Take the offer back, unless it is being taken."""
        if not self._writing:
            self._offer = None
            self._wake.set()

    # --- the one task

    async def _descend(self) -> None:
        """Look, offer and see off, until nothing is wished and nothing is closed."""
        while self._wish is not None or self._closed:
            wish = self._wish
            if wish is None:
                await self._restore(self._closed)
                continue
            offer = await self._look(wish)
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

    async def _look(self, wish: _Wish) -> _Offer:
        """Find pods that may go, and close them; whatever fails is said, and tried again."""
        replicas = wish.replicas
        try:
            return await self._close_idle(wish)
        except (Forbidden, Unreadable) as error:
            words = f"its idle pods cannot be found: {error}"
            if isinstance(error, Unreadable) and error.reason != "PermissionDenied":
                return _Offer(replicas, Plan(replicas, (), Reason.RETIRING, words))
            self._warn_once(f"Idle pods cannot be chosen, so a scale-in takes any: {error}")
            return _Offer(replicas, Plan(0, blind=True), seconds=OFFER_SECONDS)
        except ApplyFailed as error:
            words = f"its idle pods cannot be found: {error}"
        except Exception as error:  # the edge of a task: a defect must not end the way down
            log.exception("looking for idle pods failed unexpectedly")
            words = f"the operator failed: {error!r}"
        return _Offer(replicas, Plan(replicas, (), Reason.RETIRING, words))

    async def _close_idle(self, wish: _Wish) -> _Offer:
        """Return an offer of pods that are closed and the cheapest."""
        namespace = wish.deployment.namespace
        body = await self._gated(self._cluster.read_deployment(wish.deployment))
        if body["spec"].get("replicas", 0) != wish.replicas:
            return _Offer(wish.replicas, Plan(wish.replicas, (), *_CLOSING))  # others scaled it
        labels = body["spec"]["selector"].get("matchLabels") or {}
        pods = pods_of(await self._gated(self._cluster.list_pods(namespace, labels)))
        chosen = await self._retire(pods, wish, rolling=_rolls(body))
        names = frozenset(pod.name for pod in chosen.victims)
        self._closed &= {pod.name for pod in pods}
        if len(pods) <= wish.replicas:  # else some of them are still to go
            await self._restore(self._closed - names)
        if chosen.blind or chosen.target >= wish.replicas:
            return _Offer(wish.replicas, chosen)
        if prices := costs(pods, chosen.victims):
            await self._price(namespace, prices)
            await asyncio.sleep(SEEN_SECONDS)
        # Read before the pods were: whatever becomes of them, of the template or of the scale
        # from then on changes the Deployment, and the scale is not written.
        version = version_of(body)
        return _Offer(wish.replicas, chosen, version, OFFER_SECONDS)

    async def _retire(self, pods: tuple[Pod, ...], wish: _Wish, *, rolling: bool) -> Plan:
        """Choose idle pods and close them; what turns out to have a job is not chosen again."""
        self._queue = wish.queue
        known = await roster.read(self._ask, wish.queue)
        scale = {"replicas": wish.replicas, "desired": wish.desired}
        for _ in range(ROUNDS):
            chosen = plan(pods, known, rolling=rolling, **scale)
            names = frozenset(pod.name for pod in chosen.victims)
            if not names:
                return chosen
            ends = CLOSED + CLOSED_PER_POD * len(names)
            closed = await roster.retire(self._ask, wish.queue, names, ends)
            self._closed |= closed
            if closed == names:
                log.info("pods retired", extra={"queue": wish.queue, "pods": sorted(closed)})
                return chosen
            known = replace(known, busy=known.busy | (names - closed))
        return Plan(wish.replicas, (), Reason.BUSY, "its pods are taking jobs")

    async def _price(self, namespace: str, prices: Mapping[str, int]) -> None:
        """Have the ReplicaSet take these pods first."""

        async def write(name: str, cost: int) -> None:
            with suppress(NotFound):  # gone already
                await self._gated(self._cluster.price_pod(Key(namespace, name), cost))

        results = await asyncio.gather(
            *(write(name, cost) for name, cost in prices.items()), return_exceptions=True
        )
        for result in results:
            if result is not None:
                raise result

    async def _see_off(self, wish: _Wish) -> None:
        """Wait until closed pods are on their way; those that were spared stay in `_closed`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLOSED.total_seconds()
        while self._closed and self._wish is None and loop.time() < deadline:
            await asyncio.sleep(SEE_OFF_SECONDS)
            try:
                body = await self._gated(self._cluster.read_deployment(wish.deployment))
                labels = body["spec"]["selector"].get("matchLabels") or {}
                listed = self._cluster.list_pods(wish.deployment.namespace, labels)
                pods = pods_of(await self._gated(listed))
            except NotFound:
                self._closed = frozenset()
            except ApplyFailed as error:
                log.warning("pods not seen off yet: %s", error)
            else:
                self._closed &= {pod.name for pod in pods}
                if _settled(body, pods):
                    return

    async def _restore(self, pods: Iterable[str]) -> None:
        """Give closed pods their work back."""
        pods = frozenset(pods)
        if not pods:
            return
        try:
            await roster.restore(self._ask, self._queue, pods)
        except Unreadable as error:
            log.warning("pods stay retired until their marks end: %s", error)
        else:
            log.info("pods restored", extra={"queue": self._queue, "pods": sorted(pods)})
        self._closed -= pods

    async def _gated(self, request: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  an answer
        async with self._gate:
            return await request

    def _warn_once(self, words: str) -> None:
        if words != self._warned:
            self._warned = words
            self._warn(words)


def _rolls(deployment: Document) -> bool:
    """Return whether a Deployment has pods of an older template."""
    status = deployment.get("status") or {}
    return bool(status.get("updatedReplicas", 0) < status.get("replicas", 0))


def _settled(deployment: Document, pods: tuple[Pod, ...]) -> bool:
    """Return whether no more pods will be taken away for what a Deployment asks."""
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(seen) and len(pods) <= deployment["spec"].get("replicas", 0)
