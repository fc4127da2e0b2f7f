"""One look at a Deployment's pods: idle ones are found, closed and made the cheapest to take.

Knows how Redis and the API server are asked for that, and which pods are closed; not when to look,
nor what becomes of an offer.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from workerpool_operator import roster
from workerpool_operator.apiserver import Document
from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import ApplyFailed, Forbidden, NotFound, Unreadable
from workerpool_operator.model import Reason
from workerpool_operator.registry import version_of
from workerpool_operator.resource import Key
from workerpool_operator.served import queues_of
from workerpool_operator.victims import Plan, Pod, costs, plan, pods_of

log = logging.getLogger(__name__)

CLOSED = timedelta(seconds=60)
"""How long a pod stays closed if nobody calls it back; it must have been told to go by then."""
CLOSED_PER_POD = timedelta(seconds=0.1)
"""On top of it: the ReplicaSet's controller deletes some twenty pods a second."""
OFFER_SECONDS = 15.0
"""For how long closed pods are offered before their marks are renewed by another look."""
PATIENCE_SECONDS = 1.0
"""After a look that found too few idle pods, or failed."""
TAKEN_WITHIN_SECONDS = 30.0
"""From closing pods to lowering the scale, at most: the rest of their marks' time is for being
told to go. To write many prices to a slow API server may take longer."""
SEEN_SECONDS = 0.25
"""From pricing pods to lowering the scale: the ReplicaSet's controller hears of the one by its
watch of pods and of the other by its watch of ReplicaSets, and must not hear of it later."""
ROUNDS = 5
"""How often pods are chosen anew in one look, as chosen ones turn out to have a job."""
CLOSING = (Reason.RETIRING, "idle pods are closed before they go")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is called for."""

    deployment: Key
    queue: str
    replicas: int
    """What the Deployment asks for now."""
    desired: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What a look came to."""

    replicas: int
    """The scale that was looked at."""
    plan: Plan
    version: int = 0
    """The Deployment as it must still be when its scale is lowered."""
    seconds: float = PATIENCE_SECONDS
    """For how long it holds."""
    until: float = math.inf
    """The loop's time up to which the scale may be lowered: the marks must outlast that."""


class Closing:
    """Closes one Deployment's idle pods, and calls them back."""

    def __init__(
        self,
        cluster: Cluster,
        ask: roster.Ask,
        gate: asyncio.Semaphore,
        *,
        warn: Callable[[str], None],
    ) -> None:
        """`gate` bounds the requests of all pools together."""
        self._cluster = cluster
        self._ask = ask
        self._gate = gate
        self._warn = warn
        self._warned = self._away = ""
        self._queues: tuple[str, ...] = ()
        self.closed: frozenset[str] = frozenset()
        """Pods that are closed and were not yet seen to go."""
        self._closed_at = self._marks_end = 0.0
        """The loop's times of the last closing, and of when its marks end by themselves."""

    async def look(self, wish: Wish) -> Offer:
        """Find pods that may go, and close them; whatever fails is said, and tried again."""
        replicas = wish.replicas
        try:
            return await self._close_idle(wish)
        except (Forbidden, Unreadable) as error:
            words = f"its idle pods cannot be found: {error}"
            if isinstance(error, Unreadable) and error.reason != "PermissionDenied":
                return Offer(replicas, Plan(replicas, (), Reason.RETIRING, words))
            self._warn_once(f"Idle pods cannot be chosen, so a scale-in takes any: {error}")
            return Offer(replicas, Plan(0, blind=True), seconds=OFFER_SECONDS)
        except ApplyFailed as error:
            words = f"its idle pods cannot be found: {error}"
        except Exception as error:  # the edge of a task: a defect must not end the way down
            log.exception("looking for idle pods failed unexpectedly")
            words = f"the operator failed: {error!r}"
        return Offer(replicas, Plan(replicas, (), Reason.RETIRING, words))

    async def inherit(self, wish: Wish) -> None:
        """Take pods that a predecessor closed for closed ones of our own.

        It may live, and a scale that counts on their being closed may be on its way. That one is
        refused once the Deployment is another; whoever goes for one that was written is seen off.
        """
        try:
            if not await roster.marked(self._ask, [wish.queue]):
                return  # nearly always
            key = wish.deployment
            body = await self._gated(self._cluster.read_deployment(key))
            queues = queues_of(body, wish.queue)
            names = {pod.name for pod in await self._pods(key, body)}
            names &= await roster.marked(self._ask, queues)
            if not names:
                return
            await self._gated(self._cluster.touch_deployment(key, version_of(body)))
        except (ApplyFailed, Unreadable) as error:
            log.info("pods that a predecessor closed open by themselves: %s", error)
            return
        self._queues = queues
        self._marks_end = asyncio.get_running_loop().time() + CLOSED.total_seconds()
        self.closed |= names

    async def gone(self, deployment: Key) -> bool:
        """Forget closed pods that are on their way; return whether no more will be taken.

        Those that were spared stay in `closed`.
        """
        try:
            body = await self._gated(self._cluster.read_deployment(deployment))
            pods = await self._pods(deployment, body)
        except NotFound:
            self.closed = frozenset()
            return True
        except ApplyFailed as error:
            log.warning("pods not seen off yet: %s", error)
            return False
        self.closed &= {pod.name for pod in pods}
        return _settled(body, pods)

    async def restore(self, pods: Iterable[str]) -> None:
        """Give closed pods their work back; those that could not be told stay in `closed`."""
        pods = frozenset(pods)
        if not pods:
            return
        try:
            await roster.restore(self._ask, self._queues, pods)
        except Unreadable as error:
            if str(error) != self._away:  # not with each attempt
                self._away = str(error)
                log.warning("pods cannot be called back: %s", error, extra={"pods": sorted(pods)})
            if asyncio.get_running_loop().time() < self._marks_end:
                return  # to be tried again
        else:
            log.info("pods restored", extra={"queues": self._queues, "pods": sorted(pods)})
        self._away = ""
        self.closed -= pods

    async def _close_idle(self, wish: Wish) -> Offer:
        """Return an offer of pods that are closed and the cheapest."""
        body = await self._gated(self._cluster.read_deployment(wish.deployment))
        if body["spec"].get("replicas", 0) != wish.replicas:
            return Offer(wish.replicas, Plan(wish.replicas, (), *CLOSING))  # others scaled it
        self._queues = queues_of(body, wish.queue)
        pods = await self._pods(wish.deployment, body)
        chosen = await self._retire(pods, wish, rolling=_rolls(body))
        names = frozenset(pod.name for pod in chosen.victims)
        self.closed &= {pod.name for pod in pods}
        if len(pods) <= wish.replicas:  # else some of them are still to go
            await self.restore(self.closed - names)
        if chosen.blind or chosen.target >= wish.replicas:
            return Offer(wish.replicas, chosen)
        if prices := costs(pods, chosen.victims):
            await self._price(wish.deployment.namespace, prices)
            await asyncio.sleep(SEEN_SECONDS)
        until = self._closed_at + TAKEN_WITHIN_SECONDS if names else math.inf
        if asyncio.get_running_loop().time() >= until:
            return Offer(wish.replicas, Plan(wish.replicas, (), *CLOSING))  # close them once more
        # Read before the pods were: whatever becomes of them, of the template or of the scale
        # from then on changes the Deployment, and the scale is not written.
        version = version_of(body)
        return Offer(wish.replicas, chosen, version, OFFER_SECONDS, until)

    async def _retire(self, pods: tuple[Pod, ...], wish: Wish, *, rolling: bool) -> Plan:
        """Choose idle pods and close them; what turns out to have a job is not chosen again."""
        known = await roster.read(self._ask, self._queues)
        scale = {"replicas": wish.replicas, "desired": wish.desired}
        for _ in range(ROUNDS):
            chosen = plan(pods, known, rolling=rolling, **scale)
            names = frozenset(pod.name for pod in chosen.victims)
            if not names:
                return chosen
            ends = CLOSED + CLOSED_PER_POD * len(names)
            self._closed_at = asyncio.get_running_loop().time()
            self._marks_end = self._closed_at + ends.total_seconds()
            self.closed |= names  # they may be, whatever becomes of the answer
            closed = await roster.retire(self._ask, self._queues, names, ends)
            self.closed -= names - closed
            if closed == names:
                log.info("pods retired", extra={"queues": self._queues, "pods": sorted(closed)})
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

    async def _pods(self, deployment: Key, body: Document) -> tuple[Pod, ...]:
        listed = self._cluster.list_pods(deployment.namespace, body["spec"]["selector"])
        return pods_of(await self._gated(listed), deployment.name)

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
