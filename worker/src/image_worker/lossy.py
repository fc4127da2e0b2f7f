"""Delivery at most once: jobs are taken off a plain list, and no book is kept of them.

For queues of others, who would not have keys beside their list or know leases.  It speaks as
`Leases` does, and promises the contrary: whatever ends a worker, its connection or its job, the
job is gone.  `docs/protocol.md` says when to choose it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from image_worker.envelope import Lease
from image_worker.keys import Keys
from image_worker.leases import BLOCK_LONGEST, NOTHING_FINISHED, Beat, Claim
from image_worker.link import Link

DROPPED = "dropped"
"""What becomes of every job that was not done."""


class AtMostOnce:
    """What a worker and its heart need of `Leases`, by BLPOP."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._taken: bytes | None = None
        """By BLPOP, for the next claim."""
        self._running: bytes | None = None

    def claim(
        self,
        worker: str,  # noqa: ARG002  as of `Leases`
        token: str,
        *,
        finished: tuple[str, int] = NOTHING_FINISHED,
        result: str = "",  # noqa: ARG002  likewise
        retries_first: bool = False,  # noqa: ARG002  likewise
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Claim:
        """Take the next job, if there is one; there is nothing to acknowledge."""
        meanwhile()
        raw, self._taken = self._taken, None
        if raw is None:
            (raw,) = self._link.call(("LPOP", self._keys.list))
        self._running = raw
        lease = None if raw is None else Lease(token, token, 0, 0, raw)
        return Claim(acked=finished != NOTHING_FINISHED, lease=lease, due_in=None)

    def wait(self, worker: str, longest: timedelta) -> bool:  # noqa: ARG002  as of `Leases`
        """Wait until a job is there (True, and the next claim gets it) or time is up (False)."""
        seconds = max(min(longest, BLOCK_LONGEST).total_seconds(), 0.001)  # 0 would be for ever
        (taken,) = self._link.call(("BLPOP", self._keys.list, f"{seconds:.3f}"))
        if taken is None:
            return False
        self._taken = taken[1]
        return True

    def admit(self, lease: str, *, job_id: str | None, not_before_ms: int | None) -> str:  # noqa: ARG002
        """Let every job be done: there is nowhere to wait, and no memory of ids."""
        return "go"

    def acknowledge(self, finished: tuple[str, int], *, result: str = "") -> bool:  # noqa: ARG002
        """Be content: nobody waits for it."""
        return True

    def finish(
        self,
        finished: tuple[str, int],  # noqa: ARG002
        *,
        job_id: str,  # noqa: ARG002
        kept: timedelta,  # noqa: ARG002
        result: str = "",  # noqa: ARG002
    ) -> bool:
        """Be content: nobody waits for it."""
        return True

    def fail(
        self,
        lease: str,  # noqa: ARG002
        *,
        reason: str,  # noqa: ARG002
        sentence: str,  # noqa: ARG002
        max_attempts: int,  # noqa: ARG002
        delay: timedelta,  # noqa: ARG002
    ) -> str:
        """Drop the job; its reason is in the log."""
        return DROPPED

    def bury(self, lease: str, *, reason: str, sentence: str) -> str:  # noqa: ARG002
        """Drop the job; its reason is in the log."""
        return DROPPED

    def crash(self, lease: str, *, reason: str, sentence: str) -> str:  # noqa: ARG002
        """Drop the job; its reason is in the log."""
        return DROPPED

    def release(self, lease: str) -> str:  # noqa: ARG002
        """Drop the job: it may have been begun, and twice is not at most once."""
        return DROPPED

    def hand_back(self, lease: str) -> str:  # noqa: ARG002
        """Put back a job that was not begun; once, for the answer to that may be lost, too."""
        raw, self._running = self._running, None
        if raw is None:
            return DROPPED
        self._link.call(("LPUSH", self._keys.list, raw))
        return "list"

    def withdraw(self, token: str) -> None:
        """Do nothing: whether a lost answer held a job, nobody knows."""

    def leave(
        self,
        worker: str,  # noqa: ARG002
        finished: tuple[str, int] = NOTHING_FINISHED,  # noqa: ARG002
        result: str = "",  # noqa: ARG002
    ) -> bool:
        """Put back what was taken and never begun; once, for its answer may be lost, too."""
        raw, self._taken = self._taken, None
        if raw is not None:
            self._link.call(("LPUSH", self._keys.list, raw))
        return True

    def beat(self, workers: Sequence[str], leases: Sequence[str]) -> Beat:  # noqa: ARG002
        """Prove that Redis is there; nothing is renewed."""
        self._link.call(("PING",))
        return Beat(now_ms=0, lost=(), expired_leases=0, expired_workers=())

    def record(self, worker: str, fields: Mapping[str, str]) -> None:
        """Tell nobody: there is no key to write it to."""

    def strike(self, worker: str) -> bool:  # noqa: ARG002
        """Strike nobody off."""
        return False

    def reap(self, *, blame_after_ms: int) -> tuple[int, int]:  # noqa: ARG002
        """Take nothing back."""
        return 0, 0

    def server_started_ms(self, now_ms: int) -> int | None:  # noqa: ARG002
        """Not know: nobody will be blamed."""
        return None

    def close(self) -> None:
        """Drop the connection."""
        self._link.close()
