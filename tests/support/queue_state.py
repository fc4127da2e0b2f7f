"""A queue as seen by somebody who reads Redis by hand: no code of the worker is used."""

from typing import Any

import redis

LIST = "queue:images"
PREFIX = "{queue:images}:"
# In one moment, so that no job is missed on its way from one to the other; a full Redis lets it.
LENGTHS = """#!lua flags=no-writes
local lengths = {redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2])}
for i = 3, #KEYS do lengths[i] = redis.call('ZCARD', KEYS[i]) end
return lengths
"""


class QueueState:
    """Reads, and bends time by moving deadlines into the past."""

    def __init__(self, client: redis.Redis, list_name: str = LIST, prefix: str = PREFIX) -> None:
        self.client: Any = client
        self.list = list_name
        self.prefix = prefix

    def push(self, *payloads: bytes | str) -> None:
        self.client.rpush(self.list, *payloads)

    @property
    def waiting(self) -> list[bytes]:
        return list(self.client.lrange(self.list, 0, -1))

    @property
    def landed(self) -> list[bytes]:
        return list(self.client.lrange(f"{self.prefix}landing", 0, -1))

    @property
    def results(self) -> list[bytes]:
        return list(self.client.lrange(f"{self.prefix}results", 0, -1))

    def members(self, key: str) -> dict[str, float]:
        """Return a sorted set: inflight, retry, dead or workers."""
        pairs = self.client.zrange(self.prefix + key, 0, -1, withscores=True)
        return {name.decode(): score for name, score in pairs}

    def envelope(self, lease: str) -> tuple[str, bytes]:
        """Return a job's line and its payload."""
        line, _, raw = self.client.hget(f"{self.prefix}jobs", lease).partition(b"\n")
        return line.decode(), raw

    @property
    def jobs(self) -> int:
        return int(self.client.hlen(f"{self.prefix}jobs"))

    @property
    def stats(self) -> dict[str, int]:
        pairs = self.client.hgetall(f"{self.prefix}stats").items()
        return {name.decode(): int(value) for name, value in pairs}

    def record(self, worker: str) -> dict[str, str]:
        pairs = self.client.hgetall(f"{self.prefix}worker:{worker}").items()
        return {name.decode(): value.decode() for name, value in pairs}

    @property
    def now_ms(self) -> int:
        seconds, micros = self.client.time()
        return int(seconds * 1000 + micros // 1000)

    def expire(self, key: str, member: str, by_ms: int = 1) -> None:
        """Move a deadline (inflight, workers) or a due time (retry) into the past."""
        self.client.zadd(self.prefix + key, {member: self.now_ms - by_ms})

    def expire_by_script(self, key: str, member: str) -> None:
        """Do the same in a Redis that is too full for a plain ZADD."""
        script = "#!lua flags=allow-oom\nreturn redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])"
        self.client.eval(script, 1, self.prefix + key, self.now_ms - 1, member)

    @property
    def lengths(self) -> tuple[int, int, int, int, int]:
        """Return how many jobs wait, have landed, are due or will be, run, and are buried."""
        keys = [
            self.list,
            *(self.prefix + key for key in ("landing", "retry", "inflight", "dead")),
        ]
        waiting, landed, retry, inflight, dead = self.client.eval(LENGTHS, len(keys), *keys)
        return waiting, landed, retry, inflight, dead

    @property
    def quiet(self) -> bool:
        """Say that nothing waits, is due, or runs."""
        return not any(self.lengths[:4])
