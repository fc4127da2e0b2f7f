"""The nouns of a decision: what is wanted, what is seen, what is remembered, what follows.

Knows nothing of Kubernetes, Redis or time's passing. `None` means *unknown*, never zero.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Reason(StrEnum):
    """Why a decision came out as it did.

    The same word is the status reason, the event reason, the metric label and the log field.
    """

    BACKLOG = "Backlog"
    """The backlog asks for exactly this many replicas."""
    MAX_WAIT = "MaxWait"
    """The oldest job has waited too long: a worker for every job."""
    IDLE = "Idle"
    """There is nothing to do now: as few replicas as `minReplicas` allows."""
    MIN_REPLICAS = "MinReplicas"
    """`minReplicas` lifted the count above the demand."""
    MAX_REPLICAS = "MaxReplicas"
    """`maxReplicas` cut the count below the demand."""
    STABILIZING = "Stabilizing"
    """Demand fell, but was higher within the stabilization window."""
    BUSY = "Busy"
    """Demand fell, but jobs in flight still need their workers."""
    STANDBY = "Standby"
    """`standbyReplicas` were added to what the backlog asks for."""
    SCHEDULE = "Schedule"
    """A schedule lifted the count above the demand."""
    SCALE_UP_LIMITED = "ScaleUpLimited"
    """`scaleUp.limit` lets the pool grow no faster."""
    SCALE_DOWN_LIMITED = "ScaleDownLimited"
    """`scaleDown.limit` lets the pool shrink no faster."""
    SCALE_DOWN_DISABLED = "ScaleDownDisabled"
    """Demand fell, but `scaleDown.disabled: true` keeps what is there."""
    DATA_LOST = "DataLost"
    """The jobs vanished with Redis' memory, so the replicas are kept for a while."""
    FALLBACK = "Fallback"
    """The backlog has been unknown for so long that `fallback.replicas` are called for."""
    INSUFFICIENT_CORES = "InsufficientCores"
    """More is called for than the nodes have room for; one pod waits for a node to come."""
    PODS_REJECTED = "PodsRejected"
    """A node turned a pod away that was bound to it; for a while none is tried, and then few."""
    RETIRING = "Retiring"
    """Demand fell, and idle pods are being closed before they go."""
    ROLLING_OUT = "RollingOut"
    """Demand fell, but no pod can be chosen while a rollout is under way."""
    PAUSED = "Paused"
    """`paused: true` holds the replicas where they are."""
    QUEUE_UNREACHABLE = "QueueUnreachable"
    """The backlog is unknown, so the replicas are held."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How far the count may move within a period: by `replicas`, or by `percent` of it."""

    period: timedelta
    replicas: int | None = None
    percent: int | None = None

    def allowance(self, count: int) -> int:
        """Return by how many replicas `count` may change; at least by one."""
        if self.replicas is not None:
            return self.replicas
        return max(1, count * (self.percent or 0) // 100)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A floor under the replicas that returns with the calendar."""

    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week."""
    zone: ZoneInfo
    duration: timedelta
    min_replicas: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """What to have at least while nobody knows what is needed."""

    replicas: int
    after: timedelta
    """How long the queue must have been unreadable."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user asked for, in the spec of a WorkerPool."""

    min_replicas: int = 0
    max_replicas: int = 10
    backlog_per_replica: int = 10
    """Jobs (waiting, due and in flight) one replica is meant to handle."""
    workers_per_replica: int = 1
    """Jobs one replica can have in flight at a time."""
    stabilization: timedelta = timedelta(seconds=60)
    """How long demand must have been lower before replicas go down."""
    paused: bool = False
    drain: timedelta | None = None
    """If set, the target instead: how soon what waits now should be done."""
    max_wait: timedelta | None = None
    """If set, how long the oldest job may wait before everything that can help is called for."""
    assumed_job: timedelta = timedelta(seconds=1)
    """How long a job takes one worker, until that has been learnt."""
    standby: int = 0
    """Replicas beyond the demand, for as long as there is any."""
    up_limit: RateLimit | None = None
    down_limit: RateLimit | None = None
    only_up: bool = False
    """Whether the pool never shrinks by itself."""
    schedules: tuple[Schedule, ...] = ()
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """One queue at one instant, in jobs."""

    waiting: int
    """On the list, or just off it to wake a worker; untouched."""
    due: int = 0
    """Failed before, and to be tried again now."""
    in_flight: int = 0
    """Claimed by a worker that has not finished."""
    orphaned: int = 0
    """Workers that vanished and may have left a job behind; somebody must come and look."""
    scheduled: int = 0
    """Failed before, to be tried again later; they need nobody yet."""
    workers: int = 0
    """Workers known to the queue, alive or vanished."""
    done: int = 0
    """Jobs done since the queue's counters began."""
    buried: int = 0
    """Jobs given up since then."""
    busy: timedelta = timedelta()
    """What the jobs done since then took of workers' time."""
    server: str = field(default="", compare=False)
    """Redis' run id, another one after each of its starts; empty if it is kept secret."""

    @property
    def finished(self) -> int:
        """Jobs that left the queue since its counters began."""
        return self.done + self.buried

    @property
    def known(self) -> int:
        """Jobs in the queue, in whatever state."""
        return self.waiting + self.due + self.scheduled + self.in_flight

    @property
    def jobs(self) -> int:
        """Everything that needs a worker now."""
        return self.waiting + self.due + self.in_flight + self.orphaned


@dataclass(frozen=True, slots=True)
class Pace:
    """What was learnt of a queue; every figure may be unknown."""

    arrivals_per_second: float | None = None
    job: timedelta | None = None
    """Mean time one job keeps one worker busy."""
    oldest_wait: timedelta | None = None
    """How long the job at the head of the list has waited; at least that, after a restart."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Redis came back without the jobs it had."""

    at: datetime
    """When that was seen; of one that a predecessor saw, when that was read."""
    jobs: int | None
    """How many were known before and are not there any more, if that is known."""

    @property
    def words(self) -> str:
        """What is missing."""
        if self.jobs is None:
            return "jobs"
        return "1 job" if self.jobs == 1 else f"{self.jobs} jobs"


@dataclass(frozen=True, slots=True)
class Places:
    """What the nodes have room for."""

    total: int
    """Replicas that have a place, or would find one."""
    cores: int
    """Whole cores that one replica takes."""
    refusal: str = ""
    """Why a node turned a pod away lately; then `total` counts those that were taken in, and…"""
    tried: int = 0
    """…those that are tried all the same."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen when a decision was due."""

    at: datetime
    """Aware UTC time."""
    replicas: int
    """What the Deployment's spec asks for now."""
    backlog: Backlog | None
    """`None` if the queue could not be read."""
    pace: Pace = Pace()
    loss: Loss | None = None
    """The last loss of data, if there was one."""
    places: Places | None = None
    """Room on the nodes; unknown, it limits nobody."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many replicas were called for, or were there, at an instant."""

    at: datetime
    replicas: int


Samples = tuple[Sample, ...]
"""Oldest first, and only those that can still be a window's extreme: for a maximum, a sample that
a later one equals or exceeds is dropped; for a minimum, one that a later one equals or undercuts.
"""


@dataclass(frozen=True, slots=True)
class History:
    """What decisions remember; the empty one, after a restart, knows nothing."""

    since: datetime | None = None
    """Since when there is a memory."""
    called: Samples = ()
    """What was called for within the stabilization window; their maximum counts."""
    highs: Samples = ()
    """What was there within the period of `scaleDown.limit`; their maximum counts."""
    lows: Samples = ()
    """What was there within the period of `scaleUp.limit`; their minimum counts."""
    unread_since: datetime | None = None
    """Since when the queue cannot be read."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there should be, and why."""

    desired: int
    reason: Reason
    demand: int | None
    """Replicas called for before any limit; `None` if unknown."""
    message: str
    """One sentence: inputs → demand → limit → result."""
    history: History
    """To be given to the next decision."""
    shortage: str = ""
    """What the nodes lack for what is called for, in a sentence; empty if nothing."""
