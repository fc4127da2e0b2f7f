"""Put together what is heard during a run: the producer's counts and the Deployment's. Pure.

Knows the lines that `demo.producer run` prints and the two watches' formats; no processes, no
clock. Time is an argument.
"""

import json
from dataclasses import replace

from demo.recording import Times
from demo.view import Snapshot

DEPLOYMENT_FORMAT = 'jsonpath={.spec.replicas},{.status.replicas},{.status.readyReplicas}{"\\n"}'
"""What `kubectl get deployment -w` prints for each change; a missing number is an empty word."""
POOL_FORMAT = 'jsonpath={.status.reason}: {.status.message}{"\\n"}'
"""What `kubectl get workerpool -w` prints for each change."""


class Progress:
    """The run as known so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.times = Times()
        self._now = Snapshot(seconds=0.0)
        self._pods_left: int | None = None
        self._origin: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the jobs were pushed, and counted since."""
        return self._now.waiting is not None

    @property
    def is_drained(self) -> bool:
        """Whether every job is done or dead."""
        return self.times.all_done is not None

    @property
    def is_over(self) -> bool:
        """Whether the pool is back at zero after that."""
        return self.times.back_at_zero is not None

    def at(self, clock: float) -> Snapshot:
        """Return the snapshot of this moment."""
        seconds = 0.0 if self._origin is None else clock - self._origin
        return replace(self._now, seconds=round(seconds, 3))

    def hear_producer(self, line: str, clock: float) -> None:
        """Take in one line of the producer's."""
        words = json.loads(line)
        if words.get("event") == "pushed":
            self._origin = clock - words["t"]
            return
        done, dead = words["done"], words["dead"]
        self._now = replace(
            self._now, waiting=words["waiting"], busy=words["busy"], done=done, dead=dead
        )
        at = words["t"]
        if words["workers"] and self.times.first_worker is None:
            self.times = replace(self.times, first_worker=at)
        if words["thumbnails"] and self.times.first_thumbnail is None:
            self.times = replace(self.times, first_thumbnail=at)
        if done + dead >= self.total and self.times.all_done is None:
            self.times = replace(self.times, all_done=at)

    def hear_deployment(self, line: str, clock: float) -> None:
        """Take in one line of the Deployment's watch."""
        wanted, pods, ready = (int(word or 0) for word in line.strip().split(","))
        self._pods_left = pods
        self._now = replace(self._now, replicas=wanted, ready=ready)
        self.look(clock)

    def hear_pool(self, line: str) -> None:
        """Take in one line of the pool's watch: why the operator wants what it wants."""
        message = line.strip().removeprefix(":").strip()
        self._now = replace(self._now, message=message)

    def look(self, clock: float) -> None:
        """Note the moment when everything is done and no pod is wanted or left."""
        if (
            self.is_drained
            and not self.is_over
            and self._now.replicas == 0
            and self._pods_left == 0
            and self._origin is not None
        ):
            self.times = replace(self.times, back_at_zero=clock - self._origin)
