"""What the queue's keys say, as frozen records.

Pure.  It knows the envelope's format (`docs/protocol.md`); times are milliseconds of Redis's
own clock, as they are stored.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

_HEAD = re.compile(rb"(\S+) (\d+) (\d+) (\d+)(?: (\S*) ?(.*))?")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A job that left the list, with what the queue knows of it."""

    job_id: str
    attempts: int
    crashes: int
    first_seen_ms: int
    reason: str
    sentence: str
    raw: bytes
    """What the producer pushed, byte for byte."""

    @classmethod
    def parse(cls, packed: bytes) -> Self | None:
        """Read an envelope; None if it is none."""
        line, end, raw = packed.partition(b"\n")
        match = _HEAD.fullmatch(line)
        if not end or match is None:
            return None
        job_id, attempts, crashes, seen, reason, sentence = match.groups(b"")
        return cls(
            job_id=_text(job_id),
            attempts=int(attempts),
            crashes=int(crashes),
            first_seen_ms=int(seen),
            reason=_text(reason),
            sentence=_text(sentence),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter."""

    id: str
    died_ms: int
    envelope: Envelope | None
    """None: it cannot be read, so it can be dropped but not requeued."""

    @property
    def names(self) -> frozenset[str]:
        """What it may be called by: its own id, or the job's."""
        return frozenset({self.id, self.envelope.job_id} if self.envelope else {self.id})

    @property
    def reason(self) -> str:
        """Why it was buried, in one word."""
        return self.envelope.reason if self.envelope else "Unreadable"

    @property
    def raw(self) -> bytes:
        """The job as it was pushed."""
        return self.envelope.raw if self.envelope else b""


@dataclass(frozen=True, slots=True)
class Stats:
    """The queue's counters since it exists; they only grow."""

    done: int = 0
    failed: int = 0
    """Attempts that failed."""
    crashed: int = 0
    """Attempts that ended with the worker's death."""
    dead: int = 0
    """Burials: a requeued job may be buried again."""
    busy_ms: int = 0
    """Time spent on jobs that were done."""

    @property
    def mean_job_seconds(self) -> float | None:
        """Return how long a job took on average, if any was done."""
        return self.busy_ms / self.done / 1000 if self.done else None


@dataclass(frozen=True, slots=True)
class Deadline:
    """A worker or a lease, and until when it is believed to be alive."""

    id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole queue at one instant."""

    now_ms: int
    waiting: int
    """In the list, or landed with a worker that has not claimed it yet."""
    due: int
    scheduled: int
    next_retry_ms: int | None
    """When the first of `due` and `scheduled` is due."""
    dead: int
    in_flight: tuple[Deadline, ...]
    workers: tuple[Deadline, ...]
    stats: Stats

    @property
    def unfinished(self) -> int:
        """Jobs that somebody will still work on."""
        return self.waiting + self.due + self.scheduled + len(self.in_flight)

    @property
    def live_leases(self) -> int:
        """Jobs in flight whose worker was heard of within its lease."""
        return sum(lease.at_ms > self.now_ms for lease in self.in_flight)

    def live_leases_in(self, pods: Collection[str]) -> int:
        """Count those of them whose worker says that it is in one of these pods."""
        return sum(
            lease.at_ms > self.now_ms and pod_of(worker_of(lease.id)) in pods
            for lease in self.in_flight
        )

    @property
    def live_workers(self) -> int:
        """Workers that were heard of within their lease."""
        return sum(worker.at_ms > self.now_ms for worker in self.workers)


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process, as it describes itself; an empty word is unknown."""

    id: str
    silent: bool
    """It missed its deadline; another worker will give back what it held."""
    namespace: str
    pool: str
    pod: str
    node: str
    cpu: str
    started_ms: int | None
    job: Envelope | None


def worker_of(lease: str) -> str:
    """Return the worker a lease was granted to: a claim's token begins with its id."""
    return lease.rpartition("-")[0]


def pod_of(worker: str) -> str | None:
    """Return the pod that a worker's id names, if it is in one."""
    _, at, pod = worker.rpartition("@")
    return pod if at else None


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
