"""A real Redis, to be led by the tests of those who connect to it."""

import contextlib
from collections.abc import Iterator, Sequence

import redis

from support.redis_server import RedisServer
from workerpool_operator.channel import Credentials
from workerpool_operator.evidence import Report
from workerpool_operator.keys import queue_prefix
from workerpool_operator.model import Backlog
from workerpool_operator.tracking import TrackingConnection

LATER_SECONDS = 3600


class RedisStage:
    """One redis-server and an administrator's client."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = redis.Redis.from_url(server.url, socket_timeout=30)

    def connection(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout: float = 30.0,
    ) -> TrackingConnection:
        """Return a connection that is not opened yet."""
        return TrackingConnection(self.server.url, Credentials(username, password), timeout)

    def put(self, queue: str, backlog: Backlog) -> None:
        """Store jobs, claims, retries and workers as image workers do; the list in one step."""
        prefix = queue_prefix(queue)
        now = self.client.time()[0] * 1000
        past, future = now - 1000, now + LATER_SECONDS * 1000
        waiting = self.client.llen(queue)
        sets = {
            "inflight": {f"job-{n}": future for n in range(backlog.in_flight)},
            "retry": {
                **{f"due-{n}": past for n in range(backlog.due)},
                **{f"later-{n}": future for n in range(backlog.scheduled)},
            },
            "workers": {
                f"worker-{n}": past if n < backlog.orphaned else future
                for n in range(max(backlog.workers, backlog.orphaned))
            },
        }
        with self.client.pipeline() as pipeline:
            for name, members in sets.items():
                pipeline.delete(prefix + name)
                if members:
                    pipeline.zadd(prefix + name, members)
            if backlog.waiting > waiting:
                pipeline.rpush(queue, *(b"{}" for _ in range(backlog.waiting - waiting)))
            elif backlog.waiting < waiting:
                pipeline.lpop(queue, waiting - backlog.waiting)
            pipeline.execute()

    def tell(self, queue: str, report: Report) -> None:
        """Write down what a worker, the queue's only one, tells of itself."""
        self.put(queue, Backlog(0))
        prefix = queue_prefix(queue)
        deadline = (self.client.time()[0] + LATER_SECONDS) * 1000
        self.client.zadd(f"{prefix}workers", {report.worker: deadline})
        values = {
            "namespace": report.pool.namespace,
            "pool": report.pool.name,
            "pod": report.pod,
            "node": report.node,
            "affinity": ",".join(map(str, sorted(report.cpus))),
            "virtualisation": report.virtualisation,
            "stolen": "" if report.stolen is None else str(report.stolen),
        }
        pairs = [word for pair in values.items() for word in pair]
        self.client.hset(f"{prefix}worker:{report.worker}", items=pairs)

    def put_string(self, queue: str) -> None:
        """Store something else than a list."""
        self.client.set(queue, "x")

    def flush(self) -> None:
        """Delete everything."""
        self.client.flushall()

    def cut(self) -> None:
        """End every connection but the administrator's."""
        self.client.client_kill_filter(_type="normal", skipme=True)

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Let nobody get an answer."""
        return self.server.frozen()

    def refuse_tracking(self) -> None:
        """From the next connection on, refuse `CLIENT TRACKING`."""
        self._set_user("default", "-client|tracking")

    def require(self, password: str) -> None:
        """From the next connection on, ask for a password."""
        self.client.config_set("requirepass", password)

    def user(self, name: str, password: str, rules: Sequence[str]) -> None:
        """Make a user who may do what `rules` say, such as `+llen` and `~queue:*`."""
        self._set_user(name, "reset", "on", f">{password}", *rules)

    def connections(self, name: str = "workerpool-operator") -> list[dict[str, str]]:
        """Return the connections that call themselves so."""
        return [client for client in self.client.client_list() if client["name"] == name]

    def _set_user(self, name: str, *rules: str) -> None:
        # redis-py's acl_setuser takes a user's other rules away first.
        self.client.execute_command("ACL", "SETUSER", name, *rules)  # type: ignore[no-untyped-call]

    def reset(self) -> None:
        """Make it as it was: empty, open, everybody disconnected."""
        self.cut()
        everything = ("reset", "on", "nopass", "~*", "&*", "+@all")
        self._set_user("default", *everything)
        self.client.config_set("requirepass", "")
        self.client.flushall()
        self.client.config_resetstat()


@contextlib.contextmanager
def redis_stage(**config: str) -> Iterator[RedisStage]:
    """Run a redis-server and lead it."""
    with RedisServer(config) as server:
        stage = RedisStage(server)
        try:
            yield stage
        finally:
            stage.client.close()
