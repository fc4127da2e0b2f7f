"""What pools cost: worker-seconds and core-seconds, for as long as replicas were asked for.

Pure: the time is an argument. A pod counts from its being asked for, not from its being ready:
its cores are reserved, and paid for, from about then on.
"""

from dataclasses import dataclass, replace

from workerpool_operator.resource import Key


@dataclass(frozen=True, slots=True)
class Usage:
    """What one pool used, up to `at`, and at what rate it goes on."""

    at: float
    worker_seconds: float = 0.0
    core_seconds: float = 0.0
    workers: float = 0.0
    cores: float = 0.0

    def until(self, now: float) -> "Usage":
        """Return what was used by `now`."""
        passed = max(0.0, now - self.at)
        return replace(
            self,
            at=now,
            worker_seconds=self.worker_seconds + self.workers * passed,
            core_seconds=self.core_seconds + self.cores * passed,
        )


class Meter:
    """The account of every pool."""

    def __init__(self) -> None:
        self._usages: dict[Key, Usage] = {}

    def set(self, key: Key, now: float, *, workers: float, cores: float) -> None:
        """From `now` on, a pool has so many workers and cores."""
        used = self._usages.get(key, Usage(now)).until(now)
        self._usages[key] = replace(used, workers=workers, cores=cores)

    def drop(self, key: Key) -> None:
        """Forget a pool."""
        self._usages.pop(key, None)

    def read(self, key: Key, now: float) -> Usage:
        """Return what a pool used by `now`."""
        return self._usages.get(key, Usage(now)).until(now)
