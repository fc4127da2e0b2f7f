"""A real master, its replica, and three real Sentinels that make the replica master in need.

It knows how such a group is made and when a failover is over, and nothing of what is stored.

    with SentinelGroup() as group:
        group.master.kill()
        group.await_failover()
"""

import subprocess
from contextlib import ExitStack
from functools import partial
from typing import Any

import redis

from support.certificates import Certificates
from support.context import Context
from support.redis_server import RedisServer, free_port
from support.waiting import eventually

NAME = "mymaster"
SENTINELS = 3
QUORUM = 2
DOWN_MILLISECONDS = 5_000
"""Until a silent master counts as down. Sentinels that stood still for more than 2 s know it, and
wait; after less than that, the master must not look dead to them."""
FAILOVER_SECONDS = 120.0


class SentinelGroup(Context):
    """Two servers and who watches them.

    With certificates all of them talk to each other by TLS.  The Sentinels are asked plainly all
    the same, and so are the servers by the tests.
    """

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._stack = ExitStack()
        self._certificates = certificates
        self.master = RedisServer(self._tls())
        """Who begins as the master."""
        self.replica = RedisServer()
        """Who follows it."""
        self.ports: list[int] = []
        """Where the Sentinels listen, on 127.0.0.1."""

    def _tls(self) -> dict[str, str]:
        if self._certificates is None:
            return {}
        return {
            "tls-port": str(free_port()),
            "tls-replication": "yes",
            "tls-auth-clients": "no",
            "tls-cert-file": str(self._certificates.certificate),
            "tls-key-file": str(self._certificates.key),
            "tls-ca-cert-file": str(self._certificates.ca),
        }

    @property
    def addresses(self) -> tuple[str, ...]:
        """The Sentinels, as a pool names them."""
        return tuple(f"127.0.0.1:{port}" for port in self.ports)

    def await_failover(self) -> None:
        """Wait until the replica is master, and most Sentinels say so."""
        eventually(
            partial(_is_master, self.replica.client()), "a failover", seconds=FAILOVER_SECONDS
        )
        for port in self.ports:
            asked = self._stack.enter_context(redis.Redis(port=port))
            eventually(
                partial(self._names_the_replica, asked),
                "a Sentinel that names the new master",
                seconds=FAILOVER_SECONDS,
            )

    def _names_the_replica(self, asked: redis.Redis) -> bool:
        state: Any = asked.sentinel_get_master_addr_by_name(NAME)
        return bool(state[1] == self.replica.known_port)

    def _begin(self) -> None:
        self._stack.enter_context(self.master)
        follow = {
            "replicaof": f"127.0.0.1 {self.master.known_port}",
            "repl-diskless-sync-delay": "0",
            **self._tls(),
        }
        self.replica = self._stack.enter_context(RedisServer(follow))
        self.ports = [self._sentinel() for _ in range(SENTINELS)]
        for port in self.ports:
            asked = self._stack.enter_context(redis.Redis(port=port))
            eventually(partial(_sees_all, asked), "a Sentinel that sees two others and a replica")

    def _end(self) -> None:
        self._stack.close()

    def _sentinel(self) -> int:
        # For a folder and a port that was free.
        place = self._stack.enter_context(RedisServer())
        place.kill()
        configuration = place.folder / "sentinel.conf"
        tls = "".join(f"{name} {value}\n" for name, value in self._tls().items())
        configuration.write_text(
            f"{tls}port {place.port}\nbind 127.0.0.1\ndir {place.folder}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.master.known_port} {QUORUM}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_MILLISECONDS}\n"
            f"sentinel failover-timeout {NAME} 5000\n"
        )
        process = subprocess.Popen(
            ("redis-server", str(configuration), "--sentinel"), stdout=subprocess.DEVNULL
        )
        self._stack.callback(process.wait, 10)
        self._stack.callback(process.kill)
        return place.port


def _sees_all(asked: redis.Redis) -> bool:
    try:
        state: Any = asked.sentinel_master(NAME)
    except redis.RedisError:
        return False
    return bool(state["num-other-sentinels"] == SENTINELS - 1 and state["num-slaves"] == 1)


def _is_master(client: redis.Redis) -> bool:
    try:
        state: Any = client.info("replication")
    except redis.RedisError:  # a promotion ends all connections
        return False
    return bool(state["role"] == "master")
