"""What the cluster's nodes have to give, and who has it: kept in memory, by watches of its own.

Slim records of all nodes, and of the pods that take something or were turned away. Without the
right to read them, or while the watches are down, nothing is known, and unknown limits nobody.
kopf is not asked: it watches pods in the namespaces of pools at best, and cores are taken by
everybody's.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from workerpool_operator.amounts import NOTHING, Amount
from workerpool_operator.capacity import Needs, Room, count, places, promise, room
from workerpool_operator.cluster import Cluster
from workerpool_operator.errors import ApplyFailed, Forbidden
from workerpool_operator.model import Places
from workerpool_operator.resource import Key
from workerpool_operator.stock import Node, Pod, parse_node, parse_pod

log = logging.getLogger(__name__)

PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
RETRY_SECONDS = (1.0, 3.0)
FORBIDDEN_SECONDS = 60.0


class Claim(NamedTuple):
    """How many replicas a pool has asked for, and what each of them needs."""

    needs: Needs
    replicas: int


class Inventory:
    """Nodes, pods, and the room between them.

    Replicas that a pool has asked for and that are not bound yet will take room which is still
    free: it is promised to the pools in the order in which they asked.
    """

    def __init__(self, rejected: Callable[[Key], None] = lambda _: None) -> None:
        """`rejected` hears of each pool one of whose pods is turned away from now on."""
        self._rejected = rejected
        self._nodes: dict[str, Node] = {}
        self._pods: dict[Key, Pod] = {}
        self._taken: dict[str, Amount] = {}
        self._pools: dict[Key, dict[Key, Pod]] = {}
        self._listed: set[str] = set()
        self._version = 0
        self._rooms: dict[Needs, tuple[int, Room]] = {}
        """Room found, and at which version."""
        self._claims: dict[Key, Claim] = {}
        """Of pools that lack pods, whoever asked first is first."""

    @property
    def known(self) -> bool:
        """Whether both nodes and pods are known as they are now."""
        return {NODES, PODS} <= self._listed

    def places(self, pool: Key, needs: Needs, at: datetime) -> Places | None:
        """Return how many replicas of a pool have or would find a place, if that is known."""
        if not self.known:
            return None
        needs = self._admitted(pool, needs)
        free = self._room(needs)
        promised = self._promised_before(pool) if free else {}
        pods = self._pools.get(pool, {}).values()
        return places(needs, count(needs, free, promised), pods, at)

    def claim(self, pool: Key, needs: Needs, replicas: int) -> None:
        """Keep in mind that a pool has asked for so many replicas."""
        if replicas > self._placed(pool):
            needs = self._admitted(pool, needs)
            self._claims[pool] = Claim(needs, replicas)  # one that was there keeps its turn
        else:
            self._claims.pop(pool, None)

    def waive(self, pool: Key) -> None:
        """Forget what a pool has asked for."""
        self._claims.pop(pool, None)

    def put_node(self, node: Node) -> None:
        """Keep a node."""
        if self._nodes.get(node.name) != node:
            self._nodes[node.name] = node
            self._changed()

    def drop_node(self, name: str) -> None:
        """Forget a node."""
        if self._nodes.pop(name, None):
            self._changed()

    def put_pod(self, pod: Pod) -> None:
        """Keep a pod, if it matters."""
        if self._pods.get(pod.key) == pod:
            return
        before = self._pods.get(pod.key)
        self.drop_pod(pod.key)
        if pod.over and not pod.rejection:
            return
        if pod.node or pod.pool:
            self._pods[pod.key] = pod
            self._count(pod)
            self._changed()
        if before and pod.pool and pod.rejection:
            self._rejected(pod.pool)

    def drop_pod(self, key: Key) -> None:
        """Forget a pod."""
        pod = self._pods.pop(key, None)
        if pod is None:
            return
        if pod.takes.pods:
            left = self._taken[pod.node].minus(pod.takes)
            if left.pods:
                self._taken[pod.node] = left
            else:
                del self._taken[pod.node]
        if pod.pool:
            self._pools[pod.pool].pop(key)
            if not self._pools[pod.pool]:
                del self._pools[pod.pool]
        self._changed()

    def listed(self, path: str, names: set[Any]) -> None:
        """Take in that all of a kind has been seen: what is not among `names` is gone."""
        if path == NODES:
            for name in self._nodes.keys() - names:
                self.drop_node(name)
        else:
            for key in self._pods.keys() - names:
                self.drop_pod(key)
        self._listed.add(path)

    def lost(self, path: str) -> None:
        """Take in that a kind is not watched any more."""
        self._listed.discard(path)

    def _admitted(self, pool: Key, needs: Needs) -> Needs:
        """Count what admission adds to a pod, as the pool's newest shows: overhead, sidecars.

        A RuntimeClass's overhead is in no template, and comes on top of the cores.
        """
        pods = self._pools.get(pool, {}).values()
        alike = (pod for pod in pods if pod.worker_cpu == needs.cores * 1000)
        newest = max(alike, key=lambda pod: pod.since, default=None)
        if newest is None:
            return needs
        return replace(needs, amount=needs.amount.largest(newest.amount))

    def _room(self, needs: Needs) -> Room:
        version, found = self._rooms.get(needs, (-1, {}))
        if version != self._version:
            found = room(needs, self._nodes.values(), self._taken)
            self._rooms[needs] = self._version, found
        return found

    def _promised_before(self, pool: Key) -> Mapping[str, Amount]:
        """Return the room that those will take who asked before this pool."""
        promised: dict[str, Amount] = {}
        for other, (needs, replicas) in self._claims.items():
            if other == pool:
                break
            promise(needs, replicas - self._placed(other), self._room(needs), promised)
        return promised

    def _placed(self, pool: Key) -> int:
        return sum(1 for pod in self._pools.get(pool, {}).values() if pod.placed)

    def _count(self, pod: Pod) -> None:
        if pod.takes.pods:
            self._taken[pod.node] = self._taken.get(pod.node, NOTHING).plus(pod.takes)
        if pod.pool:
            self._pools.setdefault(pod.pool, {})[pod.key] = pod

    def _changed(self) -> None:
        self._version += 1
        if len(self._rooms) > 1000:  # noqa: PLR2004  needs of pools that are long gone
            self._rooms.clear()


class Stocktaking:
    """Keeps an inventory true to the cluster."""

    def __init__(self, cluster: Cluster, inventory: Inventory) -> None:
        self._cluster = cluster
        self._inventory = inventory

    async def run(self) -> None:
        """Follow nodes and pods until cancelled."""
        await asyncio.gather(self._follow(NODES, {}), self._follow(PODS, _RUNNING))

    async def _follow(self, path: str, query: Mapping[str, str]) -> None:
        while True:
            pause = random.uniform(*RETRY_SECONDS)  # noqa: S311  jitter
            try:
                await self._watch(path, query)
            except Forbidden as error:
                log.warning(
                    "room on the nodes is unknown: %s; grant the right, or switch it off "
                    "(operator.capacity: false)",
                    error,
                )
                pause = FORBIDDEN_SECONDS
            except ApplyFailed as error:
                log.info("room on the nodes is unknown for now: %s", error)
            except Exception:  # the edge of a task: the next attempt may do better
                log.exception("following %s failed unexpectedly", path)
            self._inventory.lost(path)
            await asyncio.sleep(pause)

    async def _watch(self, path: str, query: Mapping[str, str]) -> None:
        take = self._take_node if path == NODES else self._take_pod
        names: set[Any] | None = set()
        async for kind, body in self._cluster.follow(path, query):
            if kind == "LISTED":
                self._inventory.listed(path, names or set())
                names = None
                if self._inventory.known:
                    log.info("room on the nodes is known")
                continue
            name = take(kind, body)
            if names is not None:
                names.add(name)

    def _take_node(self, kind: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401  a name
        node = parse_node(body)
        if kind == "DELETED":
            self._inventory.drop_node(node.name)
        else:
            self._inventory.put_node(node)
        return node.name

    def _take_pod(self, kind: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401  a key
        pod = parse_pod(body)
        if kind == "DELETED":
            self._inventory.drop_pod(pod.key)
        else:
            self._inventory.put_pod(pod)
        return pod.key


_RUNNING = {"fieldSelector": "status.phase!=Succeeded"}
"""A pod that has done its work takes nothing; one that failed may tell why it was turned away."""
