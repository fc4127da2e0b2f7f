"""A real Redis Cluster of three masters, and a slot that can be moved between them.

It knows how a Cluster is made and how a slot is moved, step by step, and nothing of what is
stored in it.

    with RedisCluster() as cluster:
        cluster.client().rpush("queue:images", "…")
        with cluster.moving("queue:images"):
            ...                                # half of the slot's keys have gone
"""

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import redis
from redis.cluster import ClusterNode
from redis.crc import key_slot

from support.context import Context
from support.redis_server import CLIENT_SECONDS, RedisServer, free_port
from support.waiting import eventually

SLOTS = 16_384
MASTERS = 3
KEYS_AT_ONCE = 100
MIGRATE_MILLISECONDS = 60_000
NODE_MILLISECONDS = 60_000
"""Until nodes take another for lost: a test takes none away for so long, and one that was merely
held up with the whole machine is none."""


class RedisCluster(Context):
    """Three masters with a third of the slots each."""

    def __init__(self, **config: str) -> None:
        self._config = config
        self._stack = ExitStack()
        self.nodes: list[RedisServer] = []
        self._owners: dict[int, RedisServer] = {}

    def _begin(self) -> None:
        for _ in range(MASTERS):
            self.nodes.append(self._stack.enter_context(RedisServer(self._node_config())))
        self._join()

    def _end(self) -> None:
        self._stack.close()

    def client(self) -> Any:  # noqa: ANN401  redis-py types its answers as sync or async
        """Return a client that follows redirections; it is closed with the cluster."""
        nodes = [
            ClusterNode("127.0.0.1", node.port)  # type: ignore[no-untyped-call]
            for node in self.nodes
        ]
        client = redis.RedisCluster(startup_nodes=nodes, socket_timeout=CLIENT_SECONDS)
        self._stack.callback(client.close)
        return client

    def owner(self, key: str) -> RedisServer:
        """Return the node that has the key's slot."""
        return self._owners[self.slot(key)]

    def others(self, key: str) -> list[RedisServer]:
        """Return the nodes that have not."""
        return [node for node in self.nodes if node is not self.owner(key)]

    def slot(self, key: str) -> int:
        """Return the slot of a key."""
        return int(key_slot(key.encode()))

    def move(self, key: str) -> None:
        """Move the slot of a key to another node."""
        with self.moving(key):
            pass

    @contextlib.contextmanager
    def moving(self, key: str) -> Iterator[None]:
        """Move a slot, and stop half-way: the first half of its keys has gone.

        https://redis.io/docs/latest/commands/cluster-setslot/
        """
        slot = self.slot(key)
        source, target = self.owner(key), self.others(key)[0]
        ids = {node: self._ask(node, "CLUSTER", "MYID").decode() for node in self.nodes}
        self._ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        self._ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        half = int(self._ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot)) // 2
        if half:
            self._migrate(slot, source, target, half)
        yield
        while self._migrate(slot, source, target, KEYS_AT_ONCE):
            pass
        for node in (target, source, *self.nodes):
            self._ask(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        self._owners[slot] = target

    def _migrate(self, slot: int, source: RedisServer, target: RedisServer, most: int) -> bool:
        keys = self._ask(source, "CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            where = ("127.0.0.1", target.port, "", 0, MIGRATE_MILLISECONDS)
            self._ask(source, "MIGRATE", *where, "KEYS", *keys)
        return bool(keys)

    def _node_config(self) -> dict[str, str]:
        return {
            "cluster-enabled": "yes",
            # By default it is the port + 10000, which may be none.
            "cluster-port": str(free_port()),
            "cluster-node-timeout": str(NODE_MILLISECONDS),
            "cluster-announce-ip": "127.0.0.1",
            **self._config,
        }

    def _join(self) -> None:
        first = self.nodes[0]
        share = -(-SLOTS // MASTERS)
        bus = int(self._ask(first, "CONFIG", "GET", "cluster-port")[1])
        for number, node in enumerate(self.nodes):
            start, end = number * share, min((number + 1) * share, SLOTS) - 1
            self._ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self._ask(node, "CLUSTER", "ADDSLOTSRANGE", start, end)
            self._owners |= dict.fromkeys(range(start, end + 1), node)
            if node is not first:
                self._ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, bus)
        self.await_whole()

    def await_whole(self) -> None:
        """Wait until all nodes serve: one that was started serves nobody for two seconds."""
        for node in self.nodes:
            eventually(partial(self._is_whole, node), f"a whole cluster, seen from {node.port}")

    def _is_whole(self, node: RedisServer) -> bool:
        words = self._ask(node, "CLUSTER", "INFO").decode().split()
        return {"cluster_state:ok", f"cluster_size:{MASTERS}"} <= set(words)

    def _ask(self, node: RedisServer, *words: Any) -> Any:  # noqa: ANN401  any command's
        with redis.Redis(port=node.port, socket_timeout=CLIENT_SECONDS, protocol=2) as asked:
            # Bare: redis-py would make objects of some answers.
            asked.response_callbacks.clear()
            return asked.execute_command(*words)
